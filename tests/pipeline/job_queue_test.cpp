#include "pipeline/job_queue.h"

#include <gtest/gtest.h>

#include <thread>

#include "io/image.h"
#include "support/expect_error.h"
#include "support/temporary_folder.h"
#include "view/viewer_content.h"

namespace eg4d {
namespace {

using test::contains;
using test::read_text;

std::string png_of(int width, int height) {
  const std::vector<uint8_t> bytes = encode_png(Picture(width, height, 3));
  return {bytes.begin(), bytes.end()};
}

// A queue whose program is a script: $2 is the picture, $4 the run folder, $6 the preset.
class JobQueueTest : public testing::Test {
 protected:
  JobQueueTest() { script("exit 0"); }
  void script(const std::string& text) {
    const std::string file = scripts_ / "generate";
    test::write_text(file, "#!/bin/sh\n" + text + "\n");
    std::filesystem::permissions(file, std::filesystem::perms::owner_all);
  }
  std::unique_ptr<JobQueue> queue(JobQueue::Arguments arguments = {}) const {
    return std::make_unique<JobQueue>(folder_.path(), std::move(arguments), scripts_ / "generate");
  }
  static void wait(JobQueue& queue, const std::string& run, Job::State state) {
    for (int i = 0; i < 2000 && queue.find(run)->state != state; ++i) {
      queue.tick();
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    ASSERT_STREQ(name_of(queue.find(run)->state), name_of(state));
  }
  static int status_of(JobQueue& queue, const std::string& bytes, std::string& sentence) {
    try {
      queue.add("mini", "a.png", bytes);
    } catch (const Refusal& refusal) {
      sentence = refusal.what();
      return refusal.status;
    }
    return 200;
  }

  const test::TemporaryFolder folder_, scripts_;
};

TEST_F(JobQueueTest, APictureBecomesAJobThatRunsGenerate) {
  script("echo \"$@\" > $4/words");
  const auto queue = this->queue({"--threads", "1"});
  const std::string run = queue->add("mini", "My cat (2).JPG", png_of(600, 300));
  EXPECT_EQ(run, "My-cat-2");
  EXPECT_STREQ(name_of(queue->find(run)->state), "waiting");
  wait(*queue, run, Job::State::done);
  const std::filesystem::path place = folder_ / run;
  EXPECT_EQ(read_text(place / "words"), "generate " + (place / "job/My-cat-2.png").string() + " -o " +
                                            place.string() + " --preset mini --log-json --threads 1\n");
  EXPECT_EQ(read_text(place / "job/My-cat-2.png"), png_of(600, 300)) << "as it came";
  EXPECT_EQ(picture_size(job_thumbnail(place)).width, 256);
  EXPECT_TRUE(is_job(place));
}

std::string clip_of(const std::vector<std::string>& frames) {
  const auto number = [](size_t value) {
    return std::string{static_cast<char>(value), static_cast<char>(value >> 8),
                       static_cast<char>(value >> 16), 0};
  };
  std::string bytes = "EG4DCLIP" + number(frames.size());
  for (const std::string& frame : frames) bytes += number(frame.size()) + frame;
  return bytes;
}

TEST_F(JobQueueTest, AVideoIsItsFrames) {
  script("echo \"$1 $2\" > $5/words");
  auto queue = this->queue();
  const std::string run = queue->add("mini", "walk.mp4", clip_of({png_of(600, 300), png_of(64, 64)}));
  EXPECT_EQ(run, "walk");
  queue.reset();
  queue = this->queue();  // its record tells what it is
  wait(*queue, run, Job::State::done);
  EXPECT_EQ(read_text(folder_ / "walk/words"), "generate --video\n");
  EXPECT_EQ(read_text(folder_ / "walk/job/walk/frame_000.png"), png_of(600, 300));
  EXPECT_EQ(read_text(folder_ / "walk/job/walk/frame_001.png"), png_of(64, 64));
  EXPECT_EQ(picture_size(job_thumbnail(folder_ / run)).width, 256);
}

TEST_F(JobQueueTest, NamesStayInTheFolderAndDoNotMeet) {
  const auto queue = this->queue();
  EXPECT_EQ(queue->add("mini", "..", png_of(8, 8)), "object");
  EXPECT_EQ(queue->add("mini", "../../etc/passwd.png", png_of(8, 8)), "etc-passwd");
  EXPECT_EQ(queue->add("mini", "-o.png", png_of(8, 8)), "o");
  EXPECT_EQ(queue->add("mini", "o.png", png_of(8, 8)), "o-2");
  EXPECT_EQ(queue->add("mini", std::string(200, 'n') + ".png", png_of(8, 8)), std::string(40, 'n'));
  EXPECT_EQ(queue->add("mini", "\xE7\x8C\xAB.png", png_of(8, 8)), "object-2");
}

TEST_F(JobQueueTest, WhatIsNoPictureIsRefusedWithASentence) {
  const auto queue = this->queue();
  std::string sentence;
  EXPECT_EQ(status_of(*queue, "plain text", sentence), 415);
  EXPECT_TRUE(contains(sentence, "no picture that can be read")) << sentence;
  EXPECT_EQ(status_of(*queue, std::string("\0\0\0\x20", 4) + "ftypisom and so on", sentence), 415);
  EXPECT_TRUE(contains(sentence, "a video is sent as its frames")) << sentence;
  EXPECT_EQ(status_of(*queue, clip_of({png_of(8, 8), "plain text"}), sentence), 415)
      << "every frame is looked at";
  EXPECT_EQ(status_of(*queue, clip_of({png_of(8, 8), png_of(2001, 2000)}), sentence), 415);
  EXPECT_EQ(status_of(*queue, clip_of({png_of(8, 8)}), sentence), 415);
  EXPECT_EQ(status_of(*queue, clip_of(std::vector(26, png_of(8, 8))), sentence), 415);
  EXPECT_TRUE(contains(sentence, "2 to 25")) << sentence;
  EXPECT_EQ(status_of(*queue, png_of(64, 64).substr(0, 60), sentence), 415);
  EXPECT_TRUE(contains(sentence, "'a.png'")) << sentence;
  EXPECT_EQ(status_of(*queue, png_of(16000, 2501), sentence), 415) << "more than 40 million pixels";
  EXPECT_FALSE(std::filesystem::exists(folder_ / "a"));
  EXPECT_EQ(status_of(*queue, png_of(8, 8), sentence), 200);
  for (size_t i = 1; i < JobQueue::kMostWaiting; ++i) status_of(*queue, png_of(8, 8), sentence);
  EXPECT_EQ(status_of(*queue, png_of(8, 8), sentence), 429);
}

TEST_F(JobQueueTest, FailuresAreSentencesAndCanBeTriedAgain) {
  script("echo '{\"event\":\"message\"}'; echo 'error: the weights are gone' >&2; exit 1");
  const auto queue = this->queue();
  const std::string run = queue->add("mini", "a.png", png_of(8, 8));
  wait(*queue, run, Job::State::failed);
  EXPECT_EQ(queue->find(run)->message, "the weights are gone");
  script("exit 0");
  EXPECT_FALSE(queue->cancel(run));
  EXPECT_TRUE(queue->resume(run));
  wait(*queue, run, Job::State::done);
  EXPECT_FALSE(queue->resume(run));
  EXPECT_FALSE(queue->resume("other"));
}

TEST_F(JobQueueTest, OneAtATimeInTheirOrderAndCancelled) {
  script("trap 'exit 130' INT; touch $4/began; while :; do sleep 0.02; done");
  const auto queue = this->queue();
  const std::string first = queue->add("mini", "b.png", png_of(8, 8)),
                    second = queue->add("mini", "a.png", png_of(8, 8));
  EXPECT_EQ(queue->place_of(second), 1);
  wait(*queue, first, Job::State::running);
  EXPECT_STREQ(name_of(queue->find(second)->state), "waiting");
  while (!std::filesystem::exists(folder_ / first / "began"))
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_TRUE(queue->cancel(first));
  EXPECT_STREQ(name_of(queue->find(first)->state), "stopping");
  wait(*queue, first, Job::State::cancelled);
  EXPECT_TRUE(queue->cancel(second)) << "while it waits";
  EXPECT_FALSE(std::filesystem::exists(folder_ / second / "began"));
}

TEST_F(JobQueueTest, GoesOnAfterARestart) {
  script("trap 'exit 130' INT; touch $4/began; while :; do sleep 0.02; done");
  auto queue = this->queue();
  const std::string run = queue->add("mini", "a.png", png_of(8, 8)),
                    other = queue->add("mini", "b.png", png_of(8, 8));
  wait(*queue, run, Job::State::running);
  queue->cancel(other);
  EXPECT_ERROR(this->queue(), "is in use by another process");
  queue.reset();
  script("exit 0");
  queue = this->queue();
  EXPECT_STREQ(name_of(queue->find(run)->state), "waiting");
  EXPECT_STREQ(name_of(queue->find(other)->state), "cancelled");
  wait(*queue, run, Job::State::done);
}

TEST_F(JobQueueTest, DamagedAndHostileRecordsAreNoJobs) {
  const char* records[] = {"",
                           "[]",
                           "{",
                           R"({"state":"waiting","preset":7,"picture":"a.png"})",
                           R"({"state":"waiting","preset":"mini","picture":"../../secret.png"})",
                           R"({"state":"waiting","preset":"mini","picture":".."})",
                           R"({"state":"waiting","preset":"mini","picture":"a.png","order":"x"})"};
  int number = 0;
  for (const char* record : records) {
    const std::filesystem::path job = folder_ / ("run" + std::to_string(number++)) / "job";
    std::filesystem::create_directories(job);
    test::write_text(job / "job.json", record);
  }
  const auto queue = this->queue();
  for (int i = 0; i < number; ++i) EXPECT_EQ(queue->find("run" + std::to_string(i)), nullptr) << records[i];
}

TEST_F(JobQueueTest, TellsHowFarItIs) {
  const std::filesystem::path log = folder_ / "run" / "job" / "output.log";
  std::filesystem::create_directories(log.parent_path());
  test::write_text(log,
                   "{\"event\":\"warning\",\"text\":\"a background\"}\n"
                   "{\"event\":\"progress\",\"label\":\"1/5 animate: denoising\",\"step\":1,\"total\":4}\n"
                   "no JSON\n[1]\n{\"event\":7}\n"
                   "{\"event\":\"progress\",\"label\":\"2/5 multiview: denoising\",\"step\":3,\"total\":10,"
                   "\"figures\":{\"minutes left in all\":1.5}}\n{\"event\":\"progr");
  const JobProgress progress = progress_of_job(folder_ / "run");
  EXPECT_EQ(progress.label, "2/5 multiview: denoising");
  EXPECT_EQ(progress.step, 3);
  EXPECT_EQ(progress.total, 10);
  EXPECT_EQ(progress.seconds_left, 90);
  EXPECT_EQ(progress.warning, "a background");
  EXPECT_EQ(progress_of_job(folder_ / "other").label, "");
}

}  // namespace
}  // namespace eg4d
