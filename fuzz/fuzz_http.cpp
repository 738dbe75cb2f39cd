// Bytes that arrive at the viewer's server: whatever they are, its parser keeps within its limits, and its
// handlers give an answer that shows only what they offer.

#include <string_view>

#include "fuzz.h"
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

void check(const eg4d::HttpRequest& request, const eg4d::ViewerSite& site) {
  for (const std::string& segment : request.path) {
    eg4d::fuzz::require(segment != ".." && segment != ".");
    eg4d::fuzz::require(segment.find_first_of(std::string_view("/\\\0\r\n", 5)) == std::string::npos);
  }
  const eg4d::HttpResponse response = site.answer(request);
  eg4d::fuzz::require(response.status >= 200 && response.status < 600);
  const std::string head = eg4d::http_head(response, 0, false, true);
  eg4d::fuzz::require(head.find("\r\n\r\n") == head.size() - 4);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static Content content;
  static const eg4d::ViewerSite local("<html>", "default-src 'none'", {8400, true, "token"}, content);
  static const eg4d::ViewerSite network("<html>", "default-src 'none'", {8400, false, "token"}, content);
  using State = eg4d::HttpRequestParser::State;
  if (size < 1) return 0;
  // The first byte says in how large pieces they arrive.
  const size_t piece = data[0] == 0 ? size : data[0];
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  eg4d::HttpRequestParser parser({1024, 16, 256});
  for (size_t at = 0; at < bytes.size(); at += piece) {
    State state = parser.add(bytes.substr(at, piece));
    while (state == State::complete) {
      check(parser.request(), local);
      check(parser.request(), network);
      state = parser.next();
    }
    if (state == State::refused) break;
  }
  return 0;
}
