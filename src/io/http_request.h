#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace eg4d {

// One request of HTTP/1.1 as a local server takes it: strictly, and within limits, because anyone may send
// anything.
struct HttpRequest {
  std::string method;                                        // "GET"
  std::vector<std::string> path;                             // segments, decoded: "/a%20b/c" is {"a b", "c"}
  std::string query;                                         // behind '?', as it came
  std::vector<std::pair<std::string, std::string>> headers;  // names in small letters
  std::string body;
  bool version_1_1 = true;
  bool keep_alive = true;  // whether the connection may carry another request

  // The header's value; empty when it is not there.
  std::string_view header(std::string_view name) const;
};

struct HttpLimits {
  size_t head_bytes = 16384;  // request line and headers
  size_t headers = 64;
  size_t body_bytes = 65536;
};

// How long the body of a request may be whose head has come and that tells more than HttpLimits::body_bytes.
using BodyLimit = std::function<size_t(const HttpRequest& head)>;

// What a connection sent so far. Lines end in CR LF. The path begins with '/' and has no segment "." or "..",
// no NUL, control character, slash or backslash that was encoded; the body's size is told by one
// Content-Length; HTTP/1.1 needs one Host. Everything else is refused.
class HttpRequestParser {
 public:
  // Without `body_limit` no body is longer than limits.body_bytes.
  explicit HttpRequestParser(const HttpLimits& limits = {}, BodyLimit body_limit = {})
      : limits_(limits), body_limit_(std::move(body_limit)) {}

  enum class State {
    incomplete,  // more bytes are needed
    complete,    // request() is whole; next() goes on to the one behind it
    refused,     // status() says why; the connection should end
  };
  State add(std::string_view bytes);
  State state() const { return state_; }
  const HttpRequest& request() const { return request_; }
  int status() const { return status_; }  // of a refused one: 400, 411, 413, 414, 431, 501 or 505
  bool has_begun() const { return !buffer_.empty(); }
  // Whether a body is coming, or there, that is longer than usual.
  bool is_large() const { return body_bytes_ > limits_.body_bytes; }
  // Forgets the complete request and looks at what came behind it.
  State next();

 private:
  State look();
  State refuse(int status);
  bool parse_head(std::string_view head);
  bool parse_request_line(std::string_view line);
  bool parse_header(std::string_view line);
  bool take_framing();

  const HttpLimits limits_;
  const BodyLimit body_limit_;
  std::string buffer_;
  size_t head_end_ = 0;  // behind the empty line; 0 while it has not come
  size_t body_bytes_ = 0;
  State state_ = State::incomplete;
  int status_ = 0;
  HttpRequest request_;
};

// Segments of a path that begins with '/'; false when it is none that is taken (see above).
bool parse_path(std::string_view path, std::vector<std::string>& segments);

}  // namespace eg4d
