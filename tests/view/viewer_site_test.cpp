#include "view/viewer_site.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "support/expect_error.h"

namespace eg4d {
namespace {

class FakeContent : public ViewerContent {
 public:
  std::string info() override { return "{\"title\":\"it\"}"; }
  std::shared_ptr<const GrowingBytes> scene() override { return scene_; }
  std::string cameras() override { throw Error("the dataset is gone"); }
  std::string status() override { return "{}"; }
  std::optional<bool> command(const std::string& word) override {
    if (word != "stop" && word != "pause") return {};
    return word == "stop";
  }
  std::optional<std::string> picture(const std::string& split, size_t index) override {
    asked_ = split;
    if (split != "train" || index > 2) return {};
    return "PNG" + std::to_string(index);
  }
  std::string asked_;
  std::shared_ptr<GrowingBytes> scene_ = std::make_shared<GrowingBytes>();
};

class FakeLibrary : public ViewerLibrary {
 public:
  explicit FakeLibrary(std::shared_ptr<FakeContent> content) : content_(std::move(content)) {}
  std::string home() override { return "{}"; }
  std::string list() override { return "[]"; }
  std::optional<std::string> describe(const std::string& run) override {
    if (run != "it") return {};
    return "{\"name\":\"it\"}";
  }
  std::shared_ptr<ViewerContent> open(const std::string& run) override {
    asked_ = run;
    if (run != "it") return nullptr;
    return content_;
  }
  std::optional<std::string> picture(const std::string& run, const RunPicture& which) override {
    if (run != "it" || which.moment > 2 || which.view > 3) return {};
    return "PNG" + std::to_string(which.moment) + std::to_string(which.view);
  }
  std::optional<bool> command(const std::string& run, const std::string& word) override {
    if (run != "it" || (word != "cancel" && word != "resume")) return {};
    return word == "cancel";
  }
  std::string upload(const std::string& preset, const std::string& name, std::string_view bytes) override {
    if (preset != "mini") throw Refusal(415, "no such preset");
    return name + ":" + std::string(bytes);
  }
  std::string asked_;

 private:
  const std::shared_ptr<FakeContent> content_;
};

class ViewerSiteTest : public testing::Test {
 protected:
  static HttpRequest request(const std::string& path,
                             std::vector<std::pair<std::string, std::string>> headers = {}) {
    HttpRequest request;
    request.method = "GET";
    EXPECT_TRUE(parse_path(path, request.path));
    request.headers = std::move(headers);
    if (request.header("host").empty()) request.headers.emplace_back("host", "127.0.0.1:8400");
    return request;
  }
  int status(const std::string& path, std::vector<std::pair<std::string, std::string>> headers = {}) {
    return site_.answer(request(path, std::move(headers))).status;
  }

  int post(const std::string& path, std::vector<std::pair<std::string, std::string>> headers) {
    HttpRequest asked = request(path, std::move(headers));
    asked.method = "POST";
    return site_.answer(asked).status;
  }

  const std::shared_ptr<FakeContent> content_ = std::make_shared<FakeContent>();
  FakeLibrary library_{content_};
  const ViewerSite site_{"<html>", "default-src 'none'", {8400, true, "secret"}, library_};
  const ViewerSite network_{"<html>", "default-src 'none'", {8400, false, "secret"}, library_};
};

TEST_F(ViewerSiteTest, GivesThePageAndTheObject) {
  const HttpResponse page = site_.answer(request("/"));
  EXPECT_EQ(*page.shared, "<html>");
  EXPECT_EQ(page.type, "text/html; charset=utf-8");
  EXPECT_EQ(site_.answer(request("/api/runs/it/info")).body, "{\"title\":\"it\"}");
  EXPECT_EQ(site_.answer(request("/api/runs/it/scene")).growing, content_->scene_);
  const HttpResponse picture = site_.answer(request("/api/runs/it/picture/train/2"));
  EXPECT_EQ(picture.body, "PNG2");
  EXPECT_EQ(picture.type, "image/png");
}

TEST_F(ViewerSiteTest, EveryAnswerSaysThatNothingComesFromElsewhere) {
  for (const char* path : {"/", "/api/runs/it/info", "/nothing"}) {
    const HttpResponse response = site_.answer(request(path));
    const auto has = [&](const char* name, const char* value) {
      for (const auto& [key, text] : response.headers)
        if (key == name && test::contains(text, value)) return true;
      return false;
    };
    EXPECT_TRUE(has("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"));
    EXPECT_TRUE(has("X-Content-Type-Options", "nosniff"));
    EXPECT_TRUE(has("Cross-Origin-Resource-Policy", "same-origin"));
  }
}

TEST_F(ViewerSiteTest, WhatIsNotThereIsNotFound) {
  for (const char* path :
       {"/index.html", "/api", "/api/", "/api/other", "/api/runs/it/scene/x", "/api/runs/it/picture/train",
        "/api/runs/it/picture/train/3", "/api/runs/it/picture/train/-1", "/api/runs/it/picture/train/1x",
        "/api/runs/it/picture/train/99999999999999999999", "/etc/passwd"})
    EXPECT_EQ(status(path), 404) << path;
  EXPECT_EQ(status("/api/runs/it/picture/etc%20passwd/0"), 404);
  EXPECT_EQ(content_->asked_, "etc passwd") << "a name to look up, never a path";
}

TEST_F(ViewerSiteTest, TellsOfRunsAndTheirPictures) {
  EXPECT_EQ(site_.answer(request("/api/home")).body, "{}");
  EXPECT_EQ(site_.answer(request("/api/runs")).body, "[]");
  EXPECT_EQ(site_.answer(request("/api/runs/it")).body, "{\"name\":\"it\"}");
  EXPECT_EQ(site_.answer(request("/api/runs/it/thumbnail")).body, "PNG00");
  EXPECT_EQ(site_.answer(request("/api/runs/it/frame/2")).body, "PNG20");
  EXPECT_EQ(site_.answer(request("/api/runs/it/view/1/3")).body, "PNG13");
  for (const char* path : {"/api/runs/other", "/api/runs/other/info", "/api/runs/other/thumbnail",
                           "/api/runs/it/frame/3", "/api/runs/it/frame/x", "/api/runs/it/view/1",
                           "/api/runs/it/view/1/9", "/api/runs/it/view/-1/0", "/api/runs/it/log"})
    EXPECT_EQ(status(path), 404) << path;
  EXPECT_EQ(status("/api/runs/etc%20passwd/info"), 404);
  EXPECT_EQ(library_.asked_, "etc passwd") << "a name to look up, never a path";
}

TEST_F(ViewerSiteTest, BeforeTheFirstModelThereIsNoScene) {
  content_->scene_ = nullptr;
  EXPECT_EQ(status("/api/runs/it/scene"), 404);
}

TEST_F(ViewerSiteTest, UploadsAndJobsNeedTheTokenAndTheOwnOrigin) {
  const std::pair<std::string, std::string> token = {"x-eg4d-token", "secret"};
  HttpRequest upload = request("/api/jobs/mini/My%20cat.png", {token, {"origin", "http://127.0.0.1:8400"}});
  upload.method = "POST";
  upload.body = "bytes";
  EXPECT_EQ(site_.answer(upload).body, "My cat.png:bytes");
  EXPECT_EQ(post("/api/jobs/other/a.png", {token}), 415) << "a refusal keeps its status";
  EXPECT_EQ(post("/api/runs/it/job/cancel", {token}), 200);
  EXPECT_EQ(post("/api/runs/it/job/resume", {token}), 409);
  EXPECT_EQ(post("/api/runs/it/job/explode", {token}), 404);
  EXPECT_EQ(post("/api/runs/other/job/cancel", {token}), 404);
  for (const char* path : {"/api/jobs/mini/a.png", "/api/runs/it/job/cancel"}) {
    EXPECT_EQ(post(path, {}), 403) << path;
    EXPECT_EQ(post(path, {{"x-eg4d-token", "guess!"}}), 403) << path;
    EXPECT_EQ(post(path, {token, {"origin", "http://evil.example"}}), 403) << path;
    EXPECT_EQ(post(path, {token, {"sec-fetch-site", "cross-site"}}), 403) << path;
    EXPECT_EQ(post(path, {token, {"host", "evil.example:8400"}}), 421) << path;
    EXPECT_EQ(status(path, {token}), 405) << path;
  }
}

TEST_F(ViewerSiteTest, OnlyWhoMayUploadMaySendMuch) {
  const std::pair<std::string, std::string> token = {"x-eg4d-token", "secret"};
  const auto limit = [&](const std::string& path, std::vector<std::pair<std::string, std::string>> headers,
                         const char* method = "POST") {
    HttpRequest head = request(path, std::move(headers));
    head.method = method;
    return site_.body_limit(head);
  };
  EXPECT_EQ(limit("/api/jobs/mini/a.png", {token}), ViewerSite::kMostUpload);
  EXPECT_EQ(limit("/api/jobs/mini/a.png", {}), 0u);
  EXPECT_EQ(limit("/api/jobs/mini/a.png", {token}, "GET"), 0u);
  EXPECT_EQ(limit("/api/jobs/mini/a.png", {token, {"origin", "http://evil.example"}}), 0u);
  EXPECT_EQ(limit("/api/runs/it/job/cancel", {token}), 0u);
}

TEST_F(ViewerSiteTest, FailuresAreSentences) {
  const HttpResponse response = site_.answer(request("/api/runs/it/cameras"));
  EXPECT_EQ(response.status, 500);
  EXPECT_EQ(response.body, "the dataset is gone\n");
}

TEST_F(ViewerSiteTest, OnlyItsOwnNameIsAnswered) {
  for (const char* host : {"localhost:8400", "127.0.0.1:8400", "[::1]:8400"})
    EXPECT_EQ(status("/", {{"host", host}}), 200) << host;
  for (const char* host :
       {"evil.example:8400", "127.0.0.1", "127.0.0.1:80", "127.0.0.1.evil.example:8400", "10.0.0.5:8400", ""})
    EXPECT_EQ(status("/api/runs/it/info", {{"host", host}, {"host", "x"}}), 421) << host;
  EXPECT_EQ(network_.answer(request("/", {{"host", "10.0.0.5:8400"}})).status, 200);
  EXPECT_EQ(network_.answer(request("/", {{"host", "[fe80::1]:8400"}})).status, 200);
  EXPECT_EQ(network_.answer(request("/", {{"host", "evil.example:8400"}})).status, 421);
}

TEST_F(ViewerSiteTest, PagesOfOtherSitesGetNothing) {
  EXPECT_EQ(status("/api/runs/it/info", {{"sec-fetch-site", "cross-site"}}), 403);
  EXPECT_EQ(status("/api/runs/it/info", {{"sec-fetch-site", "same-site"}}), 403);
  EXPECT_EQ(status("/api/runs/it/info", {{"sec-fetch-site", "same-origin"}}), 200);
  EXPECT_EQ(status("/", {{"sec-fetch-site", "cross-site"}}), 200) << "a link to the page may stand anywhere";
}

TEST_F(ViewerSiteTest, OnTheNetworkReadingNeedsTheToken) {
  EXPECT_EQ(network_.answer(request("/")).status, 200) << "the page itself is no secret";
  for (const char* token : {"", "secre", "secret1", "Secret"})
    EXPECT_EQ(network_.answer(request("/api/runs/it/info", {{"x-eg4d-token", token}})).status, 403) << token;
  EXPECT_EQ(network_.answer(request("/api/runs/it/info", {{"x-eg4d-token", "secret"}})).status, 200);
}

TEST_F(ViewerSiteTest, WhatChangesSomethingNeedsTheTokenAndTheOwnOrigin) {
  const auto command = [&](const std::string& word, std::vector<std::pair<std::string, std::string>> headers,
                           const char* method = "POST") {
    HttpRequest asked = request("/api/runs/it/training/" + word, std::move(headers));
    asked.method = method;
    return site_.answer(asked).status;
  };
  const std::pair<std::string, std::string> token = {"x-eg4d-token", "secret"};
  EXPECT_EQ(command("stop", {token, {"origin", "http://127.0.0.1:8400"}}), 200);
  EXPECT_EQ(command("pause", {token}), 409) << "nothing is being trained";
  EXPECT_EQ(command("explode", {token}), 404);
  EXPECT_EQ(command("stop", {}), 403);
  EXPECT_EQ(command("stop", {{"x-eg4d-token", "guess!"}}), 403);
  for (const char* origin :
       {"http://evil.example", "http://127.0.0.1:8401", "null", "https://127.0.0.1:8400"})
    EXPECT_EQ(command("stop", {token, {"origin", origin}}), 403) << origin;
  EXPECT_EQ(command("stop", {token, {"sec-fetch-site", "cross-site"}}), 403);
  EXPECT_EQ(command("stop", {token, {"host", "evil.example:8400"}}), 421);
  EXPECT_EQ(command("stop", {token}, "GET"), 405) << "a picture's address must not be enough";
}

TEST_F(ViewerSiteTest, OnlyReadingIsPossibleElsewhere) {
  for (const char* method : {"POST", "PUT", "DELETE", "OPTIONS", "TRACE"}) {
    HttpRequest asked = request("/api/runs/it/info");
    asked.method = method;
    EXPECT_EQ(site_.answer(asked).status, 405) << method;
  }
}

TEST(ViewerAccess, TokensAndLoopback) {
  EXPECT_EQ(random_token().size(), 32u);
  EXPECT_NE(random_token(), random_token());
  EXPECT_TRUE(is_loopback("127.0.0.1") && is_loopback("127.1.2.3") && is_loopback("::1"));
  EXPECT_FALSE(is_loopback("0.0.0.0") || is_loopback("::") || is_loopback("192.168.1.2"));
}

}  // namespace
}  // namespace eg4d
