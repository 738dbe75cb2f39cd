#include "view/viewer_site.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <sys/random.h>

#include <charconv>

#include "core/error.h"

namespace eg4d {
namespace {

HttpResponse plain(int status, std::string sentence) {
  HttpResponse response;
  response.status = status;
  response.body = std::move(sentence) + "\n";
  return response;
}

HttpResponse json(std::string text) {
  HttpResponse response;
  response.type = "application/json";
  response.body = std::move(text);
  return response;
}

bool is_numeric_address(const std::string& text) {
  unsigned char bytes[sizeof(in6_addr)];
  if (text.size() > 2 && text.front() == '[' && text.back() == ']')
    return inet_pton(AF_INET6, text.substr(1, text.size() - 2).c_str(), bytes) == 1;
  return inet_pton(AF_INET, text.c_str(), bytes) == 1;
}

// Takes as long for any two texts of one length.
bool same_secret(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  unsigned difference = 0;
  for (size_t i = 0; i < a.size(); ++i) difference |= static_cast<unsigned char>(a[i] ^ b[i]);
  return difference == 0;
}

std::optional<size_t> parse_index(const std::string& text) {
  size_t index = 0;
  const char* const end = text.data() + text.size();
  const auto read = std::from_chars(text.data(), end, index);
  if (text.empty() || text.front() == '-' || read.ec != std::errc() || read.ptr != end) return {};
  return index;
}

}  // namespace

std::string random_token() {
  unsigned char bytes[16];
  if (getrandom(bytes, sizeof bytes, 0) != sizeof bytes) throw Error("the system gives no random numbers");
  std::string token;
  for (const unsigned char byte : bytes) token += fmt::format("{:02x}", byte);
  return token;
}

bool is_loopback(const std::string& address) {
  return address.starts_with("127.") || address == "::1";
}

ViewerSite::ViewerSite(std::string page, const std::string& policy, ViewerAccess access,
                       ViewerContent& content)
    : page_(std::make_shared<const std::string>(std::move(page))),
      policy_(policy + "; frame-ancestors 'none'"),
      access_(std::move(access)),
      content_(content) {}

// Names can be pointed anywhere by whoever owns them; numbers and localhost cannot.
bool ViewerSite::is_own_host(std::string_view host) const {
  const std::string port = fmt::format(":{}", access_.port);
  if (!host.ends_with(port) && access_.port != 80) return false;
  if (host.ends_with(port)) host.remove_suffix(port.size());
  if (host == "localhost" || host == "127.0.0.1" || host == "[::1]") return true;
  return !access_.loopback && is_numeric_address(std::string(host));
}

bool ViewerSite::has_token(const HttpRequest& request) const {
  return same_secret(request.header("x-eg4d-token"), access_.token);
}

HttpResponse ViewerSite::answer(const HttpRequest& request) const {
  HttpResponse response = route(request);
  response.headers.insert(response.headers.end(), {{"Content-Security-Policy", policy_},
                                                   {"X-Content-Type-Options", "nosniff"},
                                                   {"Referrer-Policy", "no-referrer"},
                                                   {"Cross-Origin-Resource-Policy", "same-origin"},
                                                   {"Cross-Origin-Opener-Policy", "same-origin"},
                                                   {"Cache-Control", "no-store"}});
  return response;
}

HttpResponse ViewerSite::route(const HttpRequest& request) const {
  if (!is_own_host(request.header("host")))
    return plain(421, "this viewer is not reached by that name; open the link that eg4d printed");
  const bool is_command =
      request.path.size() == 3 && request.path[0] == "api" && request.path[1] == "training";
  if (is_command ? request.method != "POST" : request.method != "GET" && request.method != "HEAD") {
    const char* allowed = is_command ? "POST" : "GET, HEAD";
    HttpResponse response = plain(405, fmt::format("only {} is answered here", allowed));
    response.headers.emplace_back("Allow", allowed);
    return response;
  }
  if (request.path.empty()) {
    HttpResponse response;
    response.type = "text/html; charset=utf-8";
    response.shared = page_;
    return response;
  }
  if (request.path.front() != "api") return plain(404, "there is nothing of that name");
  if (request.header("sec-fetch-site") == "cross-site" || request.header("sec-fetch-site") == "same-site")
    return plain(403, "pages of other sites get nothing here");
  if ((!access_.loopback || is_command) && !has_token(request))
    return plain(403, "the link's token is missing; open the link that eg4d printed");
  return is_command ? command(request) : from_content(request);
}

// The page sends its own origin along; where there is another one, or none is said by a browser, it is not
// it.
HttpResponse ViewerSite::command(const HttpRequest& request) const {
  const std::string_view origin = request.header("origin"), host = request.header("host");
  if (!origin.empty() && origin != fmt::format("http://{}", host))
    return plain(403, "pages of other sites change nothing here");
  try {
    const std::optional<bool> done = content_.command(request.path[2]);
    if (done) return *done ? json("{}") : plain(409, "nothing is being trained");
  } catch (const Error& error) {
    return plain(500, error.what());
  }
  return plain(404, "there is nothing of that name");
}

HttpResponse ViewerSite::from_content(const HttpRequest& request) const {
  const std::string name = request.path.size() > 1 ? request.path[1] : "";
  try {
    if (request.path.size() == 2 && name == "info") return json(content_.info());
    if (request.path.size() == 2 && name == "cameras") return json(content_.cameras());
    if (request.path.size() == 2 && name == "status") return json(content_.status());
    if (request.path.size() == 2 && name == "scene") {
      HttpResponse response;
      response.type = "application/octet-stream";
      response.growing = content_.scene();
      return response;
    }
    if (request.path.size() == 4 && name == "picture") {
      const std::optional<size_t> index = parse_index(request.path[3]);
      std::optional<std::string> picture;
      if (index) picture = content_.picture(request.path[2], *index);
      if (picture) {
        HttpResponse response;
        response.type = "image/png";
        response.body = std::move(*picture);
        return response;
      }
    }
  } catch (const Error& error) {
    return plain(500, error.what());
  }
  return plain(404, "there is nothing of that name");
}

}  // namespace eg4d
