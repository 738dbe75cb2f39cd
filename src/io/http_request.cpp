#include "io/http_request.h"

#include <algorithm>
#include <charconv>

namespace eg4d {
namespace {

constexpr std::string_view kLineEnd = "\r\n", kHeadEnd = "\r\n\r\n";
constexpr size_t kLongestTarget = 4096;

bool is_control(char c) {
  return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
}

bool is_token(std::string_view text) {
  constexpr std::string_view kOther = "!#$%&'*+-.^_`|~";
  return !text.empty() && std::all_of(text.begin(), text.end(), [&](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           kOther.find(c) != std::string_view::npos;
  });
}

std::string small_letters(std::string_view text) {
  std::string small(text);
  for (char& c : small)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return small;
}

std::string_view without_spaces(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

bool decode_segment(std::string_view encoded, std::string& segment) {
  for (size_t i = 0; i < encoded.size(); ++i) {
    char c = encoded[i];
    if (c == '%') {
      if (i + 3 > encoded.size()) return false;
      unsigned value = 0;
      const char* const end = encoded.data() + i + 3;
      if (std::from_chars(end - 2, end, value, 16).ptr != end) return false;
      c = static_cast<char>(value);
      i += 2;
    }
    if (is_control(c) || c == '/' || c == '\\') return false;
    segment += c;
  }
  return segment != "." && segment != "..";
}

}  // namespace

bool parse_path(std::string_view path, std::vector<std::string>& segments) {
  segments.clear();
  if (path.empty() || path.front() != '/') return false;
  path.remove_prefix(1);
  while (!path.empty()) {
    const size_t end = std::min(path.find('/'), path.size());
    std::string segment;
    if (!decode_segment(path.substr(0, end), segment)) return false;
    segments.push_back(std::move(segment));
    path.remove_prefix(std::min(end + 1, path.size()));
  }
  return true;
}

std::string_view HttpRequest::header(std::string_view name) const {
  for (const auto& [key, value] : headers)
    if (key == name) return value;
  return {};
}

HttpRequestParser::State HttpRequestParser::refuse(int status) {
  status_ = status;
  buffer_.clear();
  body_bytes_ = 0;
  return state_ = State::refused;
}

HttpRequestParser::State HttpRequestParser::add(std::string_view bytes) {
  if (state_ == State::refused) return state_;
  buffer_ += bytes;
  return state_ == State::complete ? state_ : look();
}

HttpRequestParser::State HttpRequestParser::next() {
  buffer_.erase(0, head_end_ + body_bytes_);
  if (is_large()) buffer_.shrink_to_fit();
  head_end_ = body_bytes_ = 0;
  request_ = {};
  state_ = State::incomplete;
  return look();
}

HttpRequestParser::State HttpRequestParser::look() {
  if (head_end_ == 0) {
    const size_t end = buffer_.find(kHeadEnd);
    if (std::min(end, buffer_.size()) > limits_.head_bytes) return refuse(431);
    if (end == std::string::npos) return state_;
    status_ = 400;
    if (!parse_head(std::string_view(buffer_).substr(0, end))) return refuse(status_);
    head_end_ = end + kHeadEnd.size();
    buffer_.reserve(head_end_ + body_bytes_);
  }
  if (buffer_.size() - head_end_ < body_bytes_) return state_;
  request_.body = buffer_.substr(head_end_, body_bytes_);
  return state_ = State::complete;
}

bool HttpRequestParser::parse_head(std::string_view head) {
  size_t end = std::min(head.find(kLineEnd), head.size());
  if (!parse_request_line(head.substr(0, end))) return false;
  while (end < head.size()) {
    head.remove_prefix(end + kLineEnd.size());
    end = std::min(head.find(kLineEnd), head.size());
    if (!parse_header(head.substr(0, end))) return false;
  }
  return take_framing();
}

bool HttpRequestParser::parse_request_line(std::string_view line) {
  const size_t first = line.find(' '), last = line.rfind(' ');
  if (first == std::string_view::npos || first == last) return false;
  request_.method = line.substr(0, first);
  const std::string_view target = line.substr(first + 1, last - first - 1), version = line.substr(last + 1);
  if (!is_token(request_.method)) return false;
  if (version != "HTTP/1.1" && version != "HTTP/1.0") {
    status_ = version.starts_with("HTTP/") ? 505 : 400;
    return false;
  }
  request_.version_1_1 = version == "HTTP/1.1";
  if (target.size() > kLongestTarget) {
    status_ = 414;
    return false;
  }
  if (std::any_of(target.begin(), target.end(), [](char c) { return is_control(c) || c == ' '; }))
    return false;
  const size_t mark = std::min(target.find('?'), target.size());
  if (mark < target.size()) request_.query = target.substr(mark + 1);
  return parse_path(target.substr(0, mark), request_.path);
}

bool HttpRequestParser::parse_header(std::string_view line) {
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos || !is_token(line.substr(0, colon))) return false;
  if (request_.headers.size() == limits_.headers) {
    status_ = 431;
    return false;
  }
  const std::string_view value = without_spaces(line.substr(colon + 1));
  if (std::any_of(value.begin(), value.end(), [](char c) { return is_control(c) && c != '\t'; }))
    return false;
  request_.headers.emplace_back(small_letters(line.substr(0, colon)), value);
  return true;
}

// Where the request ends, and what becomes of the connection.
bool HttpRequestParser::take_framing() {
  const auto count = [&](std::string_view name) {
    return std::count_if(request_.headers.begin(), request_.headers.end(),
                         [&](const auto& header) { return header.first == name; });
  };
  if (count("transfer-encoding") > 0) {
    status_ = 501;
    return false;
  }
  if (count("host") > 1 || (request_.version_1_1 && count("host") == 0)) return false;
  if (count("content-length") > 1) return false;
  if (count("content-length") == 1) {
    const std::string_view length = request_.header("content-length");
    const char* const end = length.data() + length.size();
    const auto read = std::from_chars(length.data(), end, body_bytes_);
    if (length.empty() || length.front() == '-' || read.ptr != end) return false;
    const bool fits =
        read.ec == std::errc() && (!is_large() || (body_limit_ && body_bytes_ <= body_limit_(request_)));
    if (!fits) {
      status_ = 413;
      return false;
    }
  } else if (request_.method == "POST" || request_.method == "PUT") {
    status_ = 411;
    return false;
  }
  const std::string connection = small_letters(request_.header("connection"));
  request_.keep_alive =
      request_.version_1_1 ? connection.find("close") == std::string::npos : connection == "keep-alive";
  return true;
}

}  // namespace eg4d
