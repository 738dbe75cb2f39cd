#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>

#include "backend/backend.h"
#include "support/device_fixture.h"
#include "support/expect_error.h"
#include "support/http_client.h"
#include "support/run_program.h"
#include "support/scene_decoder.h"
#include "support/tiny_model.h"

namespace eg4d::test {
namespace {

class ViewCommand : public testing::Test {
 protected:
  ViewCommand() {
    const std::unique_ptr<Backend> backend = make_test_backend();
    const Model model = tiny_model(*backend, 50, 2);
    save_model(model_, model.info, model.gaussians, model.active_field());
    write_text(folder_ / "page.html",
               "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'\">the "
               "page<!--eg4d-object-->");
  }

  const TemporaryFolder folder_;
  const std::string model_ = folder_ / "model.safetensors";
  const std::vector<std::string> environment_ = {"EG4D_VIEWER_PAGE=" + (folder_ / "page.html").string()};
};

int port_in(const std::string& said) {
  const std::string before = "http://127.0.0.1:";
  const size_t place = said.find(before);
  if (place == std::string::npos || said.find('/', place + before.size()) == std::string::npos) return 0;
  return std::atoi(said.c_str() + place + before.size());
}

// When it has told its link.
int port_of(const RunningProgram& program) {
  for (int i = 0; i < 1000; ++i) {
    if (const int port = port_in(program.errors_so_far()); port > 0) return port;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return 0;
}

std::string body_of(const std::string& answer) {
  return answer.substr(std::min(answer.find("\r\n\r\n") + 4, answer.size()));
}

std::string without_chunks(const std::string& body) {
  std::string bytes;
  for (size_t at = 0; at < body.size();) {
    size_t digits = 0;
    const size_t length = std::stoul(body.substr(at, 16), &digits, 16);
    if (length == 0) break;
    bytes += body.substr(at + digits + 2, length);
    at += digits + 2 + length + 2;
  }
  return bytes;
}

TEST_F(ViewCommand, ServesUntilCtrlC) {
  RunningProgram program({"view", model_, "--no-open", "--port", "0", "--device", "cpu", "--frames", "3"},
                         environment_);
  const int port = port_of(program);
  ASSERT_GT(port, 0) << program.errors_so_far();
  EXPECT_TRUE(contains(body_of(HttpClient(port).get("/")), "the page"));
  EXPECT_TRUE(
      contains(body_of(HttpClient(port).get("/api/runs/object/info")), "\"title\":\"model.safetensors\""));
  EXPECT_TRUE(
      contains(body_of(HttpClient(port).get("/api/runs/object/cameras")), "it is not known which dataset"));
  const auto scene = take_apart(without_chunks(body_of(HttpClient(port).get("/api/runs/object/scene"))));
  EXPECT_EQ(scene.head["times"].size(), 3u);
  program.signal(SIGINT);
  EXPECT_EQ(program.wait().exit_code, 0);
}

TEST_F(ViewCommand, AFolderOfRunsIsAList) {
  std::filesystem::create_directories(folder_ / "runs/robot/coarse");
  std::filesystem::copy_file(model_, folder_ / "runs/robot/coarse/best.safetensors");
  write_text(folder_ / "runs/robot/coarse/manifest.json", "{}");
  RunningProgram program(
      {"view", folder_ / "runs", "--no-open", "--port", "0", "--device", "cpu", "--frames", "2"},
      environment_);
  const int port = port_of(program);
  ASSERT_GT(port, 0) << program.errors_so_far();
  EXPECT_TRUE(contains(body_of(HttpClient(port).get("/api/home")), "\"title\":\"runs\""));
  const auto runs = nlohmann::json::parse(body_of(HttpClient(port).get("/api/runs")))["runs"];
  ASSERT_EQ(runs.size(), 1u);
  EXPECT_EQ(runs[0]["name"], "robot");
  EXPECT_EQ(runs[0]["state"], "unfinished");
  const std::string object = "/api/runs/" + runs[0]["id"].get<std::string>();
  for (int i = 0; i < 1000 && contains(body_of(HttpClient(port).get(object + "/status")), "\"version\":0");
       ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  const auto scene = take_apart(without_chunks(body_of(HttpClient(port).get(object + "/scene"))));
  EXPECT_EQ(scene.head["times"].size(), 2u);
  program.signal(SIGINT);
  EXPECT_EQ(program.wait().exit_code, 0);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "runs/.lock"));
}

TEST_F(ViewCommand, ARunBeforeItsFirstModelIsWaitedFor) {
  std::filesystem::create_directories(folder_ / "run/coarse");
  write_text(folder_ / "run/coarse/manifest.json", "{}");
  RunningProgram program({"view", folder_ / "run", "--no-open", "--port", "0", "--device", "cpu"},
                         environment_);
  const int port = port_of(program);
  ASSERT_GT(port, 0) << program.errors_so_far();
  const auto status = [&] { return body_of(HttpClient(port).get("/api/runs/object/status")); };
  EXPECT_TRUE(contains(status(), "\"version\":0,"));
  EXPECT_TRUE(HttpClient(port).get("/api/runs/object/scene").starts_with("HTTP/1.1 404 "));
  std::filesystem::copy_file(model_, folder_ / "run/coarse/best.safetensors");
  int asked = 0;
  while (contains(status(), "\"version\":0,") && ++asked < 1000)
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_FALSE(contains(status(), "\"version\":0,"));
}

// What --view of a command that trains starts.
TEST_F(ViewCommand, EndsWithTheProcessThatStartedIt) {
  RunningProgram program({"view", folder_ / "to-come", "--no-open", "--port", "0", "--device", "cpu",
                          "--beside", "1"},  // which is not what started it
                         environment_);
  EXPECT_EQ(program.wait().exit_code, 0);
}

TEST_F(ViewCommand, ExportsAPageWithTheObjectInside) {
  const std::string page = folder_ / "viewer.html";
  const ProgramResult result = run_program({"export", model_, "-o", page, "--device", "cpu"}, environment_);
  ASSERT_EQ(result.exit_code, 0) << result.errors;
  EXPECT_TRUE(contains(result.errors, "opens in any browser")) << result.errors;
  EXPECT_TRUE(contains(read_text(page), "the page<script type=\"application/json\" id=\"eg4d-info\">"));
  EXPECT_TRUE(contains(read_text(page), "id=\"eg4d-scene\">RUc0RFZJRVc")) << "EG4DVIEW";
}

TEST_F(ViewCommand, WhatIsMissingIsASentence) {
  const auto fails = [&](const std::vector<std::string>& words, const std::string& page,
                         const std::string& part) {
    const ProgramResult result = run_program(words, {"EG4D_VIEWER_PAGE=" + page});
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_TRUE(contains(result.errors, part)) << result.errors;
  };
  fails({"view", folder_ / "nothing"}, "", "there is no");
  fails({"view", model_, "--no-open"}, folder_ / "no.html", "no.html");
  fails({"export", model_, "-o", folder_ / "a.html"}, folder_ / "no.html", "no.html");
  fails({"view", model_, "--no-open", "--address", "localhost"}, folder_ / "page.html", "in numbers");
}

}  // namespace
}  // namespace eg4d::test
