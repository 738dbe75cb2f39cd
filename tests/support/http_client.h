#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <string_view>

namespace eg4d::test {

// A connection to 127.0.0.1 that sends what it is told.
class HttpClient {
 public:
  explicit HttpClient(int port)
      : host_("127.0.0.1:" + std::to_string(port)),
        socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
    const timeval patience{20, 0};
    setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  }
  ~HttpClient() { close(socket_); }
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  bool connected() const { return connected_; }
  bool send(std::string_view bytes) const {
    return ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size());
  }
  // Until the server closes the connection, or `end` has come.
  std::string receive(std::string_view end = {}) const {
    std::string bytes;
    char buffer[16384];
    while (end.empty() || bytes.find(end) == std::string::npos) {
      const ssize_t count = recv(socket_, buffer, sizeof buffer, 0);
      if (count <= 0) break;
      bytes.append(buffer, static_cast<size_t>(count));
    }
    return bytes;
  }
  // Reads until the server ends the connection; false when it does not, for long enough to be sure.
  bool is_ended() const {
    char buffer[16384];
    ssize_t count = 0;
    while ((count = recv(socket_, buffer, sizeof buffer, 0)) > 0) continue;
    return count == 0 || errno == ECONNRESET;
  }
  // A whole exchange on a connection that ends with it.
  std::string get(const std::string& path, const std::string& headers = {}) const {
    send("GET " + path + " HTTP/1.1\r\nHost: " + host_ + "\r\nConnection: close\r\n" + headers + "\r\n");
    return receive();
  }

 private:
  const std::string host_;
  int socket_;
  bool connected_ = false;
};

}  // namespace eg4d::test
