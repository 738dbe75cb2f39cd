#include "io/download.h"

#include <curl/curl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <chrono>
#include <exception>
#include <map>
#include <memory>
#include <thread>

#include "core/interrupt.h"
#include "io/partial_file.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;

std::optional<int64_t> parse_integer(std::string_view text) {
  int64_t value = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  if (result.ec != std::errc() || result.ptr != text.data() + text.size() || value < 0) return {};
  return value;
}

// An entity tag without quotes and weakness mark.
std::string plain_tag(std::string tag) {
  if (tag.rfind("W/", 0) == 0) tag.erase(0, 2);
  std::erase(tag, '"');
  return tag;
}

bool is_sha256(const std::string& text) {
  return text.size() == 64 &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isxdigit(c); });
}

bool is_this_machine(const std::string& url) {
  for (const std::string host : {"http://127.0.0.1", "http://localhost", "http://[::1]"}) {
    if (url.rfind(host, 0) != 0) continue;
    const std::string rest = url.substr(host.size(), 1);
    if (rest.empty() || rest == ":" || rest == "/") return true;
  }
  return false;
}

// Headers of the last response, and of the whole chain of redirections for those that only the first hop
// sends.
class Headers {
 public:
  void add(std::string_view line) {
    if (line.rfind("HTTP/", 0) == 0) {
      last_.clear();
      return;
    }
    const size_t colon = line.find(':');
    if (colon == std::string_view::npos) return;
    std::string name(line.substr(0, colon)), value(line.substr(colon + 1));
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
    const auto is_space = [](unsigned char c) { return std::isspace(c); };
    value.erase(value.begin(), std::find_if_not(value.begin(), value.end(), is_space));
    value.erase(std::find_if_not(value.rbegin(), value.rend(), is_space).base(), value.end());
    last_[name] = value;
    if (name.rfind("x-linked-", 0) == 0 || name.rfind("x-error-", 0) == 0) chain_[name] = value;
  }

  std::string last(const std::string& name) const { return find(last_, name); }
  std::string chain(const std::string& name) const { return find(chain_, name); }

 private:
  static std::string find(const std::map<std::string, std::string>& headers, const std::string& name) {
    const auto found = headers.find(name);
    return found == headers.end() ? std::string() : found->second;
  }
  std::map<std::string, std::string> last_, chain_;
};

enum class Outcome { complete, broken_off, start_anew };

// One request for what is missing of a file.
class Attempt {
 public:
  Attempt(const DownloadRequest& request, PartialFile& part, Progress& progress)
      : request_(request), part_(part), progress_(progress), offset_(part.size()) {}

  Outcome run();
  const std::string& reason() const { return reason_; }  // why it broke off

 private:
  static size_t on_header(char* data, size_t, size_t bytes, void* self);
  static size_t on_body(char* data, size_t, size_t bytes, void* self);
  static int on_tick(void* self, curl_off_t, curl_off_t, curl_off_t, curl_off_t);
  void configure(CURL* handle, char* error_text);
  void receive(const char* data, size_t bytes);
  void check_response();
  RemoteFile described() const;
  long status() const;

  const DownloadRequest& request_;
  PartialFile& part_;
  Progress& progress_;
  const int64_t offset_;
  CURL* handle_ = nullptr;
  Headers headers_;
  bool checked_ = false, start_anew_ = false;
  std::exception_ptr failure_;
  std::string reason_;
};

size_t Attempt::on_header(char* data, size_t, size_t bytes, void* self) {
  static_cast<Attempt*>(self)->headers_.add({data, bytes});
  return bytes;
}

// Exceptions must not pass through libcurl: they wait in failure_.
size_t Attempt::on_body(char* data, size_t, size_t bytes, void* self) {
  auto* attempt = static_cast<Attempt*>(self);
  try {
    attempt->receive(data, bytes);
  } catch (...) {
    attempt->failure_ = std::current_exception();
  }
  return attempt->failure_ || attempt->start_anew_ ? 0 : bytes;
}

int Attempt::on_tick(void*, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  return interrupt_requested() ? 1 : 0;
}

long Attempt::status() const {
  long status = 0;
  curl_easy_getinfo(handle_, CURLINFO_RESPONSE_CODE, &status);
  return status;
}

RemoteFile Attempt::described() const {
  RemoteFile remote{request_.url, headers_.chain("x-linked-etag"), {}, request_.sha256};
  if (remote.identity.empty()) remote.identity = headers_.last("etag");
  remote.identity = plain_tag(remote.identity);
  if (!remote.sha256 && is_sha256(remote.identity)) remote.sha256 = remote.identity;
  const std::string range = headers_.last("content-range");  // bytes 5-9/10
  if (status() == 206 && range.find('/') != std::string::npos)
    remote.size = parse_integer(range.substr(range.find('/') + 1));
  else if (const auto length = parse_integer(headers_.last("content-length")))
    remote.size = *length;
  const auto linked = parse_integer(headers_.chain("x-linked-size"));
  if (linked && remote.size && *linked != *remote.size)
    throw Error(
        fmt::format("{}: the server says the file has {} bytes and then that it has {}; try again later",
                    request_.url, *linked, *remote.size));
  if (linked) remote.size = linked;
  return remote;
}

// Before the first byte is kept: does what comes continue what is there?
void Attempt::check_response() {
  checked_ = true;
  const RemoteFile remote = described();
  if (offset_ > 0) {
    const bool continues =
        status() == 206 && headers_.last("content-range").rfind(fmt::format("bytes {}-", offset_), 0) == 0;
    const auto& before = part_.remote();
    const bool same_file = before && !before->identity.empty() && before->identity == remote.identity &&
                           (!before->size || !remote.size || *before->size == *remote.size);
    if (!continues || !same_file) {
      start_anew_ = true;
      return;
    }
  }
  if (remote.size) {
    std::error_code error;
    const auto space = fs::space(fs::absolute(request_.destination).parent_path(), error);
    const auto missing = *remote.size - offset_;
    if (!error && missing > 0 && static_cast<uint64_t>(missing) > space.available)
      throw Error(fmt::format(
          "{} needs {:.1f} GB more, and the disk has {:.1f} GB left; free some or choose another "
          "folder",
          request_.destination.string(), missing / 1e9, static_cast<double>(space.available) / 1e9));
  }
  part_.describe(remote);
  progress_.begin(remote.size.value_or(0), request_.label, offset_);
  progress_.in_bytes();
}

void Attempt::receive(const char* data, size_t bytes) {
  if (status() >= 400) return;
  if (!checked_) check_response();
  if (start_anew_) return;
  part_.append(data, bytes);
  progress_.update(part_.size());
}

void Attempt::configure(CURL* handle, char* error_text) {
  const bool local = is_this_machine(request_.url);
  curl_easy_setopt(handle, CURLOPT_URL, request_.url.c_str());
  curl_easy_setopt(handle, CURLOPT_ERRORBUFFER, error_text);
  curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(handle, CURLOPT_FOLLOWLOCATION, 1L);
  curl_easy_setopt(handle, CURLOPT_MAXREDIRS, 8L);
  curl_easy_setopt(handle, CURLOPT_PROTOCOLS_STR, local ? "http" : "https");
  curl_easy_setopt(handle, CURLOPT_REDIR_PROTOCOLS_STR, local ? "http" : "https");
  if (local) curl_easy_setopt(handle, CURLOPT_NOPROXY, "*");
  curl_easy_setopt(handle, CURLOPT_USERAGENT, "eg4d");
  curl_easy_setopt(handle, CURLOPT_CONNECTTIMEOUT, 30L);
  curl_easy_setopt(handle, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(handle, CURLOPT_LOW_SPEED_TIME, 60L);
  curl_easy_setopt(handle, CURLOPT_HEADERFUNCTION, on_header);
  curl_easy_setopt(handle, CURLOPT_HEADERDATA, this);
  curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, on_body);
  curl_easy_setopt(handle, CURLOPT_WRITEDATA, this);
  curl_easy_setopt(handle, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(handle, CURLOPT_XFERINFOFUNCTION, on_tick);
  if (offset_ > 0) curl_easy_setopt(handle, CURLOPT_RANGE, fmt::format("{}-", offset_).c_str());
  if (!request_.token.empty()) {
    curl_easy_setopt(handle, CURLOPT_HTTPAUTH, CURLAUTH_BEARER);
    curl_easy_setopt(handle, CURLOPT_XOAUTH2_BEARER, request_.token.c_str());
  }
}

bool worth_another_attempt(CURLcode code) {
  switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_PARTIAL_FILE:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
      return true;
    default:
      return false;
  }
}

Outcome Attempt::run() {
  const std::unique_ptr<CURL, void (*)(CURL*)> handle(curl_easy_init(), curl_easy_cleanup);
  if (!handle) throw Error("cannot start libcurl");
  handle_ = handle.get();
  char error_text[CURL_ERROR_SIZE] = {};
  configure(handle_, error_text);
  const CURLcode code = curl_easy_perform(handle_);
  if (failure_) std::rethrow_exception(failure_);
  if (start_anew_) return Outcome::start_anew;
  if (code == CURLE_ABORTED_BY_CALLBACK)
    throw Interrupted(
        fmt::format("interrupted; {} bytes of {} are kept, and the same command goes on from there",
                    part_.size(), request_.destination.filename().string()));
  reason_ = error_text[0] ? error_text : curl_easy_strerror(code);
  if (code != CURLE_OK) {
    if (worth_another_attempt(code)) return Outcome::broken_off;
    throw Error(fmt::format("cannot download {}: {}", request_.url, reason_));
  }
  if (const long answer = status(); answer >= 400) {
    if (answer == 416 && offset_ > 0) return Outcome::start_anew;
    reason_ = fmt::format("the server answers {} {}", answer, headers_.chain("x-error-message"));
    if (answer == 408 || answer == 429 || answer >= 500) return Outcome::broken_off;
    throw HttpError(static_cast<int>(answer), fmt::format("cannot download {}: {}", request_.url, reason_));
  }
  if (!checked_) check_response();  // an empty body
  return start_anew_ ? Outcome::start_anew : Outcome::complete;
}

void pause(double seconds) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  while (std::chrono::steady_clock::now() < end) {
    if (interrupt_requested()) throw Interrupted("interrupted; the same command goes on from here");
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

// Asks again until all bytes are there.
void transfer(const DownloadRequest& request, PartialFile& part, Progress& progress) {
  double seconds = request.first_pause;
  bool started_anew = false;
  for (int fruitless = 0;;) {
    const int64_t before = part.size();
    Attempt attempt(request, part, progress);
    const Outcome outcome = attempt.run();
    const bool whole = !part.remote() || !part.remote()->size || part.size() == *part.remote()->size;
    if (outcome == Outcome::complete && whole) return;
    if (outcome == Outcome::start_anew) {
      part.restart();
      if (started_anew)
        throw Error(
            fmt::format("{}: the server contradicts itself about the file's length, or the file changes all "
                        "the time; try again later",
                        request.url));
      started_anew = true;
      continue;
    }
    if (part.size() > before) {
      fruitless = 0;
      seconds = request.first_pause;
    }
    if (++fruitless >= request.attempts)
      throw Error(fmt::format(
          "cannot download {}: {} ({} of {} bytes are kept; the same command goes on from there)",
          request.url, attempt.reason(), part.size(),
          part.remote() && part.remote()->size ? std::to_string(*part.remote()->size) : "unknown"));
    pause(seconds);
    seconds *= 2;
  }
}

}  // namespace

DownloadResult download(const DownloadRequest& request, Progress& progress) {
  if (request.url.rfind("https://", 0) != 0 && !is_this_machine(request.url))
    throw UsageError(fmt::format("{}: only https addresses are downloaded from", request.url));
  static const CURLcode started = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (started != CURLE_OK) throw Error("cannot start libcurl");
  PartialFile part(request.destination);
  if (part.remote() && part.remote()->url != request.url) part.restart();
  DownloadResult result;
  result.resumed = part.size() > 0;
  const bool complete = part.remote() && part.remote()->size && part.size() == *part.remote()->size;
  if (!complete) transfer(request, part, progress);

  const auto expected = request.sha256 ? request.sha256 : part.remote()->sha256;
  result.bytes = part.size();
  result.sha256 = part.sha256();
  result.verified = expected.has_value();
  if (expected && *expected != result.sha256) {
    part.discard();
    throw Error(fmt::format(
        "{}: what arrived has SHA-256 {} and not {}: it is damaged or another file, and was thrown "
        "away; run the command again",
        request.url, result.sha256, *expected));
  }
  part.commit();
  return result;
}

}  // namespace eg4d
