// Bytes that arrive at the viewer's server: whatever they are, its parser keeps within its limits, and its
// handlers give an answer that shows only what they offer.

#include <algorithm>
#include <memory>
#include <string_view>

#include "fuzz.h"
#include "io/clip.h"
#include "view/viewer_site.h"

namespace {

class Content : public eg4d::ViewerContent {
 public:
  std::string info() override { return "{}"; }
  std::shared_ptr<const eg4d::GrowingBytes> scene() override {
    return std::make_shared<eg4d::GrowingBytes>();
  }
  std::string cameras() override { throw eg4d::Error("none"); }
  std::string status() override { return "{}"; }
  std::optional<bool> command(const std::string& word) override {
    if (word != "stop" && word != "pause") return {};
    return word == "stop";
  }
  std::optional<std::string> picture(const std::string& split, size_t index) override {
    if (split != "train" || index > 3) return {};
    return "PNG";
  }
};

class Library : public eg4d::ViewerLibrary {
 public:
  std::string home() override { return "{}"; }
  std::string list() override { return "[]"; }
  std::optional<std::string> describe(const std::string& run) override {
    if (run != "it") return {};
    return "{}";
  }
  std::shared_ptr<eg4d::ViewerContent> open(const std::string& run) override {
    if (run != "it") return nullptr;
    return content_;
  }
  std::optional<std::string> picture(const std::string& run, const eg4d::RunPicture& which) override {
    if (run != "it" || which.moment > 3) return {};
    return "PNG";
  }
  std::optional<bool> command(const std::string& run, const std::string& word) override {
    if (run != "it" || word != "cancel") return {};
    return true;
  }
  // What an upload goes through before it becomes a file.
  std::string upload(const std::string& preset, const std::string& name, std::string_view bytes) override {
    if (preset != "mini") throw eg4d::Refusal(404, "none");
    if (bytes.empty()) throw eg4d::Error("nothing");
    eg4d::fuzz::require(!name.empty());
    size_t length = 0;
    for (const std::string_view frame : eg4d::clip_frames(bytes, 25)) {
      eg4d::fuzz::require(frame.data() >= bytes.data());
      length += frame.size();
    }
    eg4d::fuzz::require(length < bytes.size());
    return "{}";
  }

 private:
  const std::shared_ptr<Content> content_ = std::make_shared<Content>();
};

void check(const eg4d::HttpRequest& request, const eg4d::ViewerSite& site) {
  for (const std::string& segment : request.path) {
    eg4d::fuzz::require(segment != ".." && segment != ".");
    eg4d::fuzz::require(segment.find_first_of(std::string_view("/\\\0\r\n", 5)) == std::string::npos);
  }
  const eg4d::HttpResponse response = site.answer(request);
  // Whoever may send much may send an upload, and nobody else.
  if (site.body_limit(request) > 0) {
    eg4d::fuzz::require(request.method == "POST" && request.path.size() == 4 && request.path[1] == "jobs");
    eg4d::fuzz::require(request.header("x-eg4d-token") == "token" && response.status != 403);
  }
  eg4d::fuzz::require(response.status >= 200 && response.status < 600);
  const std::string head = eg4d::http_head(response, 0, false, true);
  eg4d::fuzz::require(head.find("\r\n\r\n") == head.size() - 4);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static Library library;
  static const eg4d::ViewerSite local("<html>", "default-src 'none'", {8400, true, "token"}, library);
  static const eg4d::ViewerSite network("<html>", "default-src 'none'", {8400, false, "token"}, library);
  using State = eg4d::HttpRequestParser::State;
  if (size < 1) return 0;
  // The first byte says in how large pieces they arrive.
  const size_t piece = data[0] == 0 ? size : data[0];
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  // Of bodies that are longer than usual, those of uploads are taken, up to so many bytes here.
  eg4d::HttpRequestParser parser({1024, 16, 256}, [](const eg4d::HttpRequest& head) {
    return std::min<size_t>(local.body_limit(head), 4096);
  });
  for (size_t at = 0; at < bytes.size(); at += piece) {
    State state = parser.add(bytes.substr(at, piece));
    while (state == State::complete) {
      eg4d::fuzz::require(parser.request().body.size() <= 4096);
      check(parser.request(), local);
      check(parser.request(), network);
      state = parser.next();
    }
    if (state == State::refused) break;
  }
  return 0;
}
