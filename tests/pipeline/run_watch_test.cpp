#include "pipeline/run_watch.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "io/file_lock.h"
#include "support/temporary_folder.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;

class RunWatchTest : public testing::Test {
 protected:
  RunWatchTest() {
    fs::create_directories(coarse_);
    test::write_text(coarse_ / "manifest.json",
                     R"({"options": {"schedule": {"coarse_iterations": 100, "fine_iterations": 900}}})");
  }
  void log(const std::string& text) { std::ofstream(coarse_ / "log.jsonl", std::ios::app) << text; }
  nlohmann::json status() { return nlohmann::json::parse(watch_.status()); }
  static std::string line(int iteration, double psnr) {
    return "{\"gaussians\":50.0,\"l1\":0.01,\"psnr\":" + std::to_string(psnr) +
           ",\"stage\":\"fine\",\"total\":" + std::to_string(iteration) + "}\n";
  }

  const test::TemporaryFolder folder_;
  const fs::path coarse_ = folder_ / "coarse";
  RunWatch watch_{folder_.path()};
};

TEST_F(RunWatchTest, TellsWhatTheLogTells) {
  EXPECT_EQ(status()["iteration"], 0);
  log(line(10, 20) + line(20, 22));
  log("{\"test\":{\"iteration\":10,\"psnr\":21.5,\"ssim\":0.9,\"l1\":0.02},\"total\":20}\n{\"total\":30");  // unfinished
  auto now = status();
  EXPECT_EQ(now["state"], "ended");
  EXPECT_EQ(now["iteration"], 20);
  EXPECT_EQ(now["iterations"], 1000);
  EXPECT_EQ(now["gaussians"], 50);
  EXPECT_EQ(now["curve"].size(), 2u);
  EXPECT_EQ(now["psnr"], 22) << "of the training pictures";
  EXPECT_EQ(now["tests"], nlohmann::json::parse("[[20,21.5]]"));
  log(",\"l1\":0.5,\"psnr\":23}\n");
  now = status();
  EXPECT_EQ(now["iteration"], 30);
  EXPECT_EQ(now["curve"].back()[2], 23);
}

TEST_F(RunWatchTest, ARefinementHasAnEndToo) {
  fs::create_directories(folder_ / "refined");
  test::write_text(folder_ / "refined/manifest.json", R"({"options": {"iterations": 15000}})");
  test::write_text(folder_ / "refined/log.jsonl", line(10, 20));
  const auto now = status();
  EXPECT_EQ(now["stage"], "refined");
  EXPECT_EQ(now["iterations"], 15000);
}

TEST_F(RunWatchTest, ALogThatBeganAnewIsReadAnew) {
  log(line(10, 20) + line(20, 22));
  status();
  test::write_text(coarse_ / "log.jsonl", line(10, 19));
  const auto now = status();
  EXPECT_EQ(now["curve"].size(), 1u);
  EXPECT_EQ(now["psnr"], 19);
}

TEST_F(RunWatchTest, LongRunsAreThinnedOut) {
  for (int i = 1; i <= 5000; ++i) log(line(10 * i, 20));
  const auto now = status();
  EXPECT_LE(now["curve"].size(), RunWatch::kMostPoints);
  EXPECT_GE(now["curve"].size(), RunWatch::kMostPoints / 2);
  EXPECT_EQ(now["iteration"], 50000);
}

TEST_F(RunWatchTest, DamagedLinesAreNoObstacle) {
  log("nonsense\n[1,2]\n{\"total\":\"x\"}\n{\"total\":1e99}\n{\"test\":3}\n" + std::string(3 << 20, 'a') +
      "\n" + line(10, 20));
  EXPECT_EQ(status()["iteration"], 10);
}

TEST_F(RunWatchTest, KnowsWhoTrainsAndSendsSignals) {
  EXPECT_FALSE(watch_.send(RunWatch::Signal::pause));
  const fs::path lock = FileLock::of_folder(coarse_);
  test::write_text(lock, std::to_string(getpid()) + "\n");  // left by a process that was killed
  EXPECT_EQ(lock_holder(lock), 0);
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  if (child == 0) {
    const FileLock held(lock, "it");
    signal(SIGINT, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    [[maybe_unused]] const ssize_t written = write(ready[1], "x", 1);
    for (;;) pause();
  }
  char byte = 0;
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  EXPECT_EQ(lock_holder(lock), child);
  EXPECT_EQ(status()["state"], "running");
  EXPECT_TRUE(watch_.send(RunWatch::Signal::pause));
  int ended = 0;
  ASSERT_EQ(waitpid(child, &ended, WUNTRACED), child);
  EXPECT_TRUE(WIFSTOPPED(ended));
  EXPECT_EQ(status()["state"], "paused");
  EXPECT_TRUE(watch_.send(RunWatch::Signal::stop)) << "a paused one, too";
  ASSERT_EQ(waitpid(child, &ended, 0), child);
  EXPECT_TRUE(WIFSIGNALED(ended) && WTERMSIG(ended) == SIGINT);
  EXPECT_EQ(status()["state"], "ended");
  close(ready[0]);
  close(ready[1]);
}

}  // namespace
}  // namespace eg4d
