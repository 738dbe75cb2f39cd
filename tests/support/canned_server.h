#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace eg4d::test {

// A server on 127.0.0.1 for one test that answers with exactly the bytes it is told to, lies included, and
// then closes the connection.
class CannedServer {
 public:
  // Gets the request's head (request line and headers), returns the raw response.
  using Handler = std::function<std::string(const std::string& request)>;
  explicit CannedServer(Handler handler);
  ~CannedServer();
  CannedServer(const CannedServer&) = delete;
  CannedServer& operator=(const CannedServer&) = delete;

  std::string url(const std::string& path) const;
  std::vector<std::string> requests() const;  // so far

 private:
  void serve();
  Handler handler_;
  int socket_ = -1, port_ = 0;
  std::atomic<bool> stop_{false};
  mutable std::mutex mutex_;
  std::vector<std::string> requests_;
  std::thread thread_;
};

// "HTTP/1.1 200 OK" with a true Content-Length unless `headers` holds one.
std::string http_response(int status, const std::string& headers, const std::string& body);
// The first number of "Range: bytes=N-", 0 when there is none.
size_t range_start(const std::string& request);

}  // namespace eg4d::test
