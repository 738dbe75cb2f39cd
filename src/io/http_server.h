#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "io/growing_bytes.h"
#include "io/http_request.h"

namespace eg4d {

struct HttpResponse {
  int status = 200;
  std::string type = "text/plain; charset=utf-8";
  std::vector<std::pair<std::string, std::string>> headers;
  // One of these.
  std::string body;
  std::shared_ptr<const std::string> shared;
  std::shared_ptr<const GrowingBytes> growing;  // sent as it grows
};
using HttpHandler = std::function<HttpResponse(const HttpRequest&)>;

// Status line and headers; `length` below 0: not known before.
std::string http_head(const HttpResponse& response, int64_t length, bool chunked, bool keep_alive);

struct HttpServerLimits {
  HttpLimits request = {};
  size_t connections = 96;  // one more ends the one that has been waiting for a request for the longest time
  std::chrono::milliseconds request_time{
      10000};                                  // for a whole request, from the connection or its first byte
  std::chrono::milliseconds idle_time{30000};  // between two requests
  std::chrono::milliseconds slow_time{20000};  // in which a reader must take slow_bytes of what is there
  size_t slow_bytes = 65536;
  size_t large_bodies = 2;                       // that may be on their way at once
  std::chrono::milliseconds large_time{300000};  // for a request with such a body
};

using ServerClock = std::function<std::chrono::steady_clock::time_point()>;

// A server of one thread: connections are bounded in number, and each in memory and time, so that slow
// readers, half-open connections and floods of them cost others little. The handler is called in that thread
// and should not take long.
class HttpServer {
 public:
  // Listens at a numeric address of this machine, at `port` or the next one that is free. `body_limit`: which
  // requests may have large bodies, and how large. `clock`: what its limits are measured by. Throws Error.
  HttpServer(const std::string& address, int port, HttpHandler handler, const HttpServerLimits& limits = {},
             BodyLimit body_limit = {}, ServerClock clock = std::chrono::steady_clock::now);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  int port() const { return port_; }
  // Serves until `stop`, which is asked ten times a second.
  void run(const std::function<bool()>& stop);

 private:
  class Connection;
  void listen_at(const std::string& address, int port);
  int wait() const;
  void accept_all();
  void make_room();
  size_t body_limit_of(const HttpRequest& head) const;

  const HttpHandler handler_;
  const HttpServerLimits limits_;
  const BodyLimit body_limit_;
  const ServerClock clock_;
  int socket_ = -1, port_ = 0;
  std::vector<std::unique_ptr<Connection>> connections_;
};

}  // namespace eg4d
