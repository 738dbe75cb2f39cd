#include "io/http_server.h"

#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/error.h"

namespace eg4d {
namespace {

using Clock = std::chrono::steady_clock;
constexpr size_t kPiece = 65536;                  // that is read or made ready to send at once
constexpr int kPorts = 100;                       // that are tried
constexpr int kAcceptedAtOnce = 32;               // before others are served again
constexpr int kLongWait = 100, kGrowthWait = 10;  // milliseconds

const char* reason_of(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 204:
      return "No Content";
    case 400:
      return "Bad Request";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 409:
      return "Conflict";
    case 411:
      return "Length Required";
    case 413:
      return "Content Too Large";
    case 414:
      return "URI Too Long";
    case 415:
      return "Unsupported Media Type";
    case 421:
      return "Misdirected Request";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 503:
      return "Service Unavailable";
    case 505:
      return "HTTP Version Not Supported";
    case 507:
      return "Insufficient Storage";
    default:
      return "";
  }
}

bool would_block() {
  return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

struct AddressList {
  addrinfo* first = nullptr;
  ~AddressList() {
    if (first) freeaddrinfo(first);
  }
};

// A listening socket, or -1 with errno.
int listening_socket(const addrinfo& address) {
  const int socket = ::socket(address.ai_family, address.ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (socket < 0) return -1;
  const int yes = 1;
  setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (bind(socket, address.ai_addr, address.ai_addrlen) == 0 && listen(socket, 64) == 0) return socket;
  const int failure = errno;
  close(socket);
  errno = failure;
  return -1;
}

int port_of(int socket) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size);
  return ntohs(address.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6&>(address).sin6_port
                                             : reinterpret_cast<sockaddr_in&>(address).sin_port);
}

}  // namespace

std::string http_head(const HttpResponse& response, int64_t length, bool chunked, bool keep_alive) {
  std::string head = fmt::format("HTTP/1.1 {} {}\r\n", response.status, reason_of(response.status));
  const auto add = [&](std::string_view name, std::string_view value) {
    head += fmt::format("{}: {}\r\n", name, value);
  };
  add("Content-Type", response.type);
  if (length >= 0) add("Content-Length", std::to_string(length));
  if (chunked) add("Transfer-Encoding", "chunked");
  add("Connection", keep_alive ? "keep-alive" : "close");
  for (const auto& [name, value] : response.headers) add(name, value);
  return head + "\r\n";
}

// ---------------------------------------------------------------- one connection

class HttpServer::Connection {
 public:
  Connection(int socket, const HttpHandler& handler, const HttpServerLimits& limits, BodyLimit body_limit,
             Clock::time_point now)
      : socket_(socket),
        handler_(handler),
        limits_(limits),
        parser_(limits.request, std::move(body_limit)),
        since_(now) {}
  ~Connection() { close(socket_); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  int socket() const { return socket_; }
  bool waits_for_request() const { return !answering_ && !is_large(); }
  bool is_large() const { return parser_.is_large(); }
  bool waits_for_growth() const { return answering_ && out_.size() == sent_; }
  Clock::time_point since() const { return since_; }
  short events() const { return !answering_ ? POLLIN : waits_for_growth() ? short{0} : POLLOUT; }

  // Does what can be done now; false when the connection is over.
  bool serve(short ready, Clock::time_point now) {
    if (ready & (POLLERR | POLLNVAL)) return false;
    if ((ready & POLLHUP) && !(ready & POLLIN)) return false;
    if (!answering_ && (ready & POLLIN) && !receive(now)) return false;
    if (answering_ && !answer(now)) return false;
    return in_time(now);
  }

 private:
  bool receive(Clock::time_point now) {
    char buffer[16384];
    const ssize_t count = recv(socket_, buffer, sizeof buffer, 0);
    if (count == 0 || (count < 0 && !would_block())) return false;
    if (count < 0) return true;
    if (!parser_.has_begun()) since_ = now;
    take(parser_.add({buffer, static_cast<size_t>(count)}), now);
    return true;
  }

  void take(HttpRequestParser::State state, Clock::time_point now) {
    if (state == HttpRequestParser::State::incomplete) return;
    HttpResponse response;
    bool head_only = false, chunks = true;
    keep_alive_ = state == HttpRequestParser::State::complete && parser_.request().keep_alive;
    if (state == HttpRequestParser::State::refused) {
      response.status = parser_.status();
      response.body = "this is no request that is taken here\n";
    } else {
      head_only = parser_.request().method == "HEAD";
      chunks = parser_.request().version_1_1;
      try {
        response = handler_(parser_.request());
      } catch (const std::exception&) {
        response = {};
        response.status = 500;
        response.body = "that did not work\n";
      }
    }
    begin(std::move(response), head_only, chunks, now);
  }

  void begin(HttpResponse response, bool head_only, bool chunks, Clock::time_point now) {
    chunked_ = response.growing && chunks;
    if (response.growing && !chunks) keep_alive_ = false;
    if (!response.growing && !response.shared)
      response.shared = std::make_shared<const std::string>(std::move(response.body));
    const int64_t length = response.growing ? -1 : static_cast<int64_t>(response.shared->size());
    out_ = http_head(response, length, chunked_, keep_alive_);
    shared_ = head_only ? nullptr : response.shared;
    growing_ = head_only ? nullptr : response.growing;
    sent_ = taken_ = window_bytes_ = 0;
    answering_ = true;
    window_ = now;
  }

  // Sends what the socket takes, then goes on to the next request.
  bool answer(Clock::time_point now) {
    for (;;) {
      if (sent_ == out_.size() && !refill(now)) return false;
      if (!answering_ || sent_ == out_.size()) return true;
      const ssize_t count = send(socket_, out_.data() + sent_, out_.size() - sent_, MSG_NOSIGNAL);
      if (count < 0) return would_block();
      sent_ += static_cast<size_t>(count);
      window_bytes_ += static_cast<size_t>(count);
      if (sent_ < out_.size()) return true;
    }
  }

  // Makes the next piece ready; false when the connection is over with this answer.
  bool refill(Clock::time_point now) {
    out_.clear();
    sent_ = 0;
    if (shared_) {
      out_ = shared_->substr(taken_, kPiece);
      taken_ += out_.size();
      if (!out_.empty()) return true;
    } else if (growing_) {
      GrowingBytes::Part part = growing_->read(taken_, kPiece);
      taken_ += part.bytes.size();
      if (part.bytes.empty() && part.failed) return false;  // the missing end tells the client
      if (part.bytes.empty() && !part.finished) window_ = now, window_bytes_ = 0;
      if (!part.bytes.empty())
        out_ = chunked_ ? fmt::format("{:x}\r\n{}\r\n", part.bytes.size(), part.bytes) : part.bytes;
      if (part.bytes.empty() && part.finished && chunked_) out_ = "0\r\n\r\n";
      if (part.finished && part.bytes.empty()) growing_ = nullptr;
      if (!out_.empty() || growing_) return true;
    }
    return finish(now);
  }

  bool finish(Clock::time_point now) {
    shared_ = nullptr;
    growing_ = nullptr;
    answering_ = false;
    if (!keep_alive_) return false;
    since_ = now;
    take(parser_.next(), now);
    return true;
  }

  // Whether it has not been too slow.
  bool in_time(Clock::time_point now) {
    if (!answering_) {
      const bool between = answered_once() && !parser_.has_begun();
      return now - since_ < (between      ? limits_.idle_time
                             : is_large() ? limits_.large_time
                                          : limits_.request_time);
    }
    if (now - window_ < limits_.slow_time) return true;
    if (window_bytes_ < limits_.slow_bytes) return false;
    window_ = now;
    window_bytes_ = 0;
    return true;
  }
  bool answered_once() const { return window_ != Clock::time_point(); }

  const int socket_;
  const HttpHandler& handler_;
  const HttpServerLimits& limits_;
  HttpRequestParser parser_;
  Clock::time_point since_;   // the wait for a request, or its first byte
  Clock::time_point window_;  // since when window_bytes_ were sent
  size_t window_bytes_ = 0;
  bool answering_ = false, keep_alive_ = false, chunked_ = false;
  std::string out_;  // ready to send, of which sent_ are gone
  size_t sent_ = 0;
  std::shared_ptr<const std::string> shared_;  // of which taken_ went to out_
  std::shared_ptr<const GrowingBytes> growing_;
  size_t taken_ = 0;
};

// ---------------------------------------------------------------- all of them

HttpServer::HttpServer(const std::string& address, int port, HttpHandler handler,
                       const HttpServerLimits& limits, BodyLimit body_limit, ServerClock clock)
    : handler_(std::move(handler)),
      limits_(limits),
      body_limit_(std::move(body_limit)),
      clock_(std::move(clock)) {
  listen_at(address, port);
}

size_t HttpServer::body_limit_of(const HttpRequest& head) const {
  // While connections are served and ended, places in the list are empty.
  const auto large = std::count_if(connections_.begin(), connections_.end(), [](const auto& connection) {
    return connection && connection->is_large();
  });
  // The one that asks counts: its parser has read the length.
  return body_limit_ && static_cast<size_t>(large) <= limits_.large_bodies ? body_limit_(head) : 0;
}

HttpServer::~HttpServer() {
  connections_.clear();
  if (socket_ >= 0) close(socket_);
}

void HttpServer::listen_at(const std::string& address, int port) {
  for (int tried = port; tried < port + kPorts && tried <= 65535; ++tried) {
    addrinfo hints{};
    hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE;
    hints.ai_socktype = SOCK_STREAM;
    AddressList list;
    if (getaddrinfo(address.c_str(), std::to_string(tried).c_str(), &hints, &list.first) != 0)
      throw Error(
          fmt::format("'{}' is no address; give one of this machine in numbers, such as 127.0.0.1", address));
    socket_ = listening_socket(*list.first);
    if (socket_ >= 0) {
      port_ = port_of(socket_);
      return;
    }
    if (errno != EADDRINUSE && errno != EACCES)
      throw Error(fmt::format("cannot listen at {} port {}: {}", address, tried, std::strerror(errno)));
  }
  throw Error(fmt::format("no port from {} on is free at {}; choose another with --port", port, address));
}

int HttpServer::wait() const {
  for (const auto& connection : connections_)
    if (connection->waits_for_growth()) return kGrowthWait;
  return kLongWait;
}

// Ends the connection that has been waiting for a request for the longest time, or the oldest.
void HttpServer::make_room() {
  const auto longest =
      std::min_element(connections_.begin(), connections_.end(), [](const auto& a, const auto& b) {
        return std::pair(!a->waits_for_request(), a->since()) <
               std::pair(!b->waits_for_request(), b->since());
      });
  if (longest != connections_.end()) connections_.erase(longest);
}

void HttpServer::accept_all() {
  for (int i = 0; i < kAcceptedAtOnce; ++i) {
    const int socket = accept4(socket_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (socket < 0 && (errno == EMFILE || errno == ENFILE) && !connections_.empty()) {
      make_room();
      continue;
    }
    if (socket < 0) return;
    const int yes = 1;
    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    if (connections_.size() >= limits_.connections) make_room();
    connections_.push_back(std::make_unique<Connection>(
        socket, handler_, limits_, [this](const HttpRequest& head) { return body_limit_of(head); },
        clock_()));
  }
}

void HttpServer::run(const std::function<bool()>& stop) {
  std::vector<pollfd> polled;
  while (!stop()) {
    polled.assign(1, {socket_, POLLIN, 0});
    for (const auto& connection : connections_)
      polled.push_back({connection->socket(), connection->events(), 0});
    if (poll(polled.data(), polled.size(), wait()) < 0 && errno != EINTR)
      throw Error(fmt::format("cannot wait for connections: {}", std::strerror(errno)));
    const Clock::time_point now = clock_();
    size_t place = 0;
    std::erase_if(connections_,
                  [&](const auto& connection) { return !connection->serve(polled[++place].revents, now); });
    if (polled[0].revents) accept_all();
  }
}

}  // namespace eg4d
