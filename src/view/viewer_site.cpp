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

HttpResponse png(std::string bytes) {
  HttpResponse response;
  response.type = "image/png";
  response.body = std::move(bytes);
  return response;
}

HttpResponse nothing() {
  return plain(404, "there is nothing of that name");
}

bool is_upload(const std::vector<std::string>& path) {
  return path.size() == 4 && path[0] == "api" && path[1] == "jobs";
}
// What changes something.
bool is_command(const std::vector<std::string>& path) {
  return is_upload(path) || (path.size() == 5 && path[0] == "api" && path[1] == "runs" &&
                             (path[3] == "training" || path[3] == "job"));
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
                       ViewerLibrary& library)
    : page_(std::make_shared<const std::string>(std::move(page))),
      policy_(policy + "; frame-ancestors 'none'"),
      access_(std::move(access)),
      library_(library) {}

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

// Why a request gets nothing, if so.
std::optional<HttpResponse> ViewerSite::refused(const HttpRequest& request) const {
  const std::string_view host = request.header("host"), origin = request.header("origin");
  if (!is_own_host(host))
    return plain(421, "this viewer is not reached by that name; open the link that eg4d printed");
  const bool changes = is_command(request.path);
  if (changes ? request.method != "POST" : request.method != "GET" && request.method != "HEAD") {
    const char* allowed = changes ? "POST" : "GET, HEAD";
    HttpResponse response = plain(405, fmt::format("only {} is answered here", allowed));
    response.headers.emplace_back("Allow", allowed);
    return response;
  }
  if (request.path.empty()) return {};
  if (request.path.front() != "api") return nothing();
  if (request.header("sec-fetch-site") == "cross-site" || request.header("sec-fetch-site") == "same-site")
    return plain(403, "pages of other sites get nothing here");
  if ((!access_.loopback || changes) && !has_token(request))
    return plain(403, "the link's token is missing; open the link that eg4d printed");
  // The page sends its own origin along; where there is another one, it is not it.
  if (changes && !origin.empty() && origin != fmt::format("http://{}", host))
    return plain(403, "pages of other sites change nothing here");
  return {};
}

size_t ViewerSite::body_limit(const HttpRequest& head) const {
  return is_upload(head.path) && !refused(head) ? kMostUpload : 0;
}

HttpResponse ViewerSite::route(const HttpRequest& request) const {
  if (std::optional<HttpResponse> refusal = refused(request)) return std::move(*refusal);
  if (request.path.empty()) {
    HttpResponse response;
    response.type = "text/html; charset=utf-8";
    response.shared = page_;
    return response;
  }
  try {
    return is_command(request.path) ? command(request) : from_library(request);
  } catch (const Refusal& refusal) {
    return plain(refusal.status, refusal.what());
  } catch (const Error& error) {
    return plain(500, error.what());
  }
}

HttpResponse ViewerSite::command(const HttpRequest& request) const {
  const std::vector<std::string>& path = request.path;
  if (is_upload(path)) return json(library_.upload(path[2], path[3], request.body));
  std::optional<bool> done;
  if (path[3] == "job")
    done = library_.command(path[2], path[4]);
  else if (const std::shared_ptr<ViewerContent> content = library_.open(path[2]))
    done = content->command(path[4]);
  if (!done) return nothing();
  return *done ? json("{}")
               : plain(409, path[3] == "job" ? "that is not possible now" : "nothing is being trained");
}

HttpResponse ViewerSite::from_library(const HttpRequest& request) const {
  const std::vector<std::string>& path = request.path;
  if (path.size() == 2 && path[1] == "home") return json(library_.home());
  if (path.size() < 2 || path[1] != "runs") return nothing();
  if (path.size() == 2) return json(library_.list());
  if (path.size() > 3) return from_run(request);
  std::optional<std::string> run = library_.describe(path[2]);
  return run ? json(std::move(*run)) : nothing();
}

HttpResponse ViewerSite::from_run(const HttpRequest& request) const {
  const std::string &run = request.path[2], &name = request.path[3];
  const size_t length = request.path.size();
  const auto index = [&](size_t place) { return parse_index(request.path[place]); };
  const auto picture = [](std::optional<std::string> bytes) {
    return bytes ? png(std::move(*bytes)) : nothing();
  };
  using Kind = RunPicture::Kind;
  if (length == 4 && name == "thumbnail") return picture(library_.picture(run, {Kind::thumbnail}));
  if (length == 5 && name == "frame" && index(4))
    return picture(library_.picture(run, {Kind::frame, *index(4)}));
  if (length == 6 && name == "view" && index(4) && index(5))
    return picture(library_.picture(run, {Kind::view, *index(4), *index(5)}));
  const bool of_object = name == "info" || name == "cameras" || name == "status" || name == "scene";
  const bool of_dataset = length == 6 && name == "picture" && index(5);
  if (!of_dataset && (length != 4 || !of_object)) return nothing();
  const std::shared_ptr<ViewerContent> content = library_.open(run);
  if (!content) return nothing();
  if (of_dataset) return picture(content->picture(request.path[4], *index(5)));
  if (name == "info") return json(content->info());
  if (name == "cameras") return json(content->cameras());
  if (name == "status") return json(content->status());
  HttpResponse response;
  response.type = "application/octet-stream";
  response.growing = content->scene();
  return response.growing ? response : plain(404, "there is no model yet");
}

}  // namespace eg4d
