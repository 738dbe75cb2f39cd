// Refinements that were interrupted, are finished already, or find a folder that is not theirs.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/interrupt.h"
#include "pipeline/diffusion_painter.h"
#include "support/expect_error.h"
#include "support/interrupt_after.h"
#include "support/refine_fixture.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using test::Darker;
using test::Refine;
using test::Same;
using test::SwappedColors;

TEST_P(Refine, InterruptedAndContinuedGivesTheSameFiles) {
  fs::copy(folder_ / "run", folder_ / "parts", fs::copy_options::recursive);
  SwappedColors painter;
  refine(*backend_, job(folder_ / "run"), painter, nullptr, quiet_);
  for (int64_t stop : {10, 20, 30}) {
    test::InterruptAfter progress(stop);
    EXPECT_THROW(refine(*backend_, job(folder_ / "parts"), painter, nullptr, progress), Interrupted);
    clear_interrupt();
  }
  EXPECT_TRUE(refine(*backend_, job(folder_ / "parts"), painter, nullptr, quiet_).resumed);
  EXPECT_EQ(outcome(folder_ / "parts"), outcome(folder_ / "run"));
}

// Targets are written beside the training: a checkpoint waits for those that it relies on, and so does the
// end.
TEST_P(Refine, ACheckpointHasItsTargetsAndAFailureIsTold) {
  SwappedColors painter;
  test::InterruptAfter progress(10);
  EXPECT_THROW(refine(*backend_, job(folder_ / "run"), painter, nullptr, progress), Interrupted);
  clear_interrupt();
  ASSERT_FALSE(painter.painted.empty());
  for (const size_t view : painter.painted)
    EXPECT_TRUE(fs::exists(folder_ / "run/refined/targets" / fmt::format("{:06}.png", view)));

  // Paints once, and then there is no folder.
  class Vanishing : public Same {
   public:
    explicit Vanishing(fs::path folder) : folder_(std::move(folder)) {}
    Picture paint(const Picture& reference, size_t, Background) override {
      fs::remove_all(folder_);
      return reference;
    }

   private:
    const fs::path folder_;
  };
  RefineJob anew = job(folder_ / "run");
  anew.overwrite = true;
  Vanishing vanishing(folder_ / "run/refined/targets");
  EXPECT_ERROR(refine(*backend_, anew, vanishing, nullptr, quiet_), "No such file or directory");
  EXPECT_FALSE(fs::exists(folder_ / "run/refined/metrics.json"));
}

TEST_P(Refine, AFinishedRefinementIsRecognisedWithoutWeights) {
  Darker painter;
  const RefineJob whole = job(folder_ / "run");
  EXPECT_FALSE(finished_refinement(whole, painter.identity(), false));
  refine(*backend_, whole, painter, nullptr, quiet_);
  EXPECT_TRUE(finished_refinement(whole, painter.identity(), false));
  EXPECT_ERROR(finished_refinement(job(folder_ / "run", 41), painter.identity(), false), "iterations is 41");
  EXPECT_ERROR(finished_refinement(whole, painter.identity(), true), "other settings");
}

// As versions before wrote it: the painter's settings within the text that identifies its weights.
TEST_P(Refine, AnOlderManifestIsUnderstood) {
  Darker painter;
  const RefineJob whole = job(folder_ / "run");
  refine(*backend_, whole, painter, nullptr, quiet_);
  const fs::path file = folder_ / "run/refined/manifest.json";
  json manifest = json::parse(test::read_text(file));
  DiffusionPainterOptions options;
  options.prompt = "a, {toy}";
  const StageSettings settings = settings_of(options);
  manifest["model"] = "weights 7 , " + settings.given + ", LPIPS";
  test::write_text(file, manifest.dump());
  EXPECT_TRUE(finished_refinement(whole, {"weights 7 ", settings}, true));
  options.prompt = "a boat";
  EXPECT_ERROR(finished_refinement(whole, {"weights 7 ", settings_of(options)}, true),
               R"(prompt is "a boat", it was "a, {toy}")");
}

TEST_P(Refine, AnotherRunsCheckpointOrADamagedOneIsRefused) {
  Darker painter;
  const auto start = [&](int iterations) {
    test::InterruptAfter progress(10);
    EXPECT_THROW(refine(*backend_, job(folder_ / "run", iterations), painter, nullptr, progress),
                 Interrupted);
    clear_interrupt();
  };
  const fs::path file = folder_ / "run/refined/checkpoint.safetensors";
  start(40);
  const std::string other = test::read_text(file);
  fs::remove_all(folder_ / "run/refined");
  start(41);
  std::string ours = test::read_text(file);
  const auto refine_again = [&] { refine(*backend_, job(folder_ / "run", 41), painter, nullptr, quiet_); };
  test::write_text(file, other);
  EXPECT_ERROR(refine_again(), "belongs to a run of other settings");
  std::string damaged = ours;
  damaged.replace(ours.size() / 2, 100, std::string(100, '\xff'));
  test::write_text(file, damaged);
  EXPECT_ERROR(refine_again(), "is damaged (its checksum does not fit its content)");
  // Trailing letters are no part of a number.
  const size_t iteration = ours.find(R"("iteration":"10")");
  ASSERT_NE(iteration, std::string::npos);
  damaged = ours.replace(iteration + 14, 1, "x");
  damaged.replace(damaged.find("crc32c"), 6, "unused");
  test::write_text(file, damaged);
  EXPECT_ERROR(refine_again(), "its 'iteration' cannot be read");
}

}  // namespace
}  // namespace eg4d
