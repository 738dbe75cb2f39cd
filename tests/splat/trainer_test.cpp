#include "splat/trainer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/threads.h"
#include "splat/evaluation.h"
#include "splat/start_points.h"
#include "splat/training_state.h"
#include "support/counting_backend.h"
#include "support/device_fixture.h"
#include "support/expect_error.h"
#include "support/limited_backend.h"
#include "support/temporary_folder.h"
#include "support/tiny_lpips.h"
#include "support/tiny_options.h"
#include "support/tiny_scene.h"

namespace eg4d {
namespace {

struct TrainingRun {
  explicit TrainingRun(const ReconstructOptions& options, bool guard = false, int width = 33, int height = 25)
      : TrainingRun(options, test::make_test_backend({.guard_memory = guard}), width, height) {}
  TrainingRun(const ReconstructOptions& options, std::unique_ptr<Backend> on, int width = 33, int height = 25)
      : backend(std::move(on)), views(test::tiny_scene(*backend, 5, 3, width, height)) {
    if (options.loss.lpips != 0) {
      const test::TinyLpips tiny = test::tiny_lpips(Lpips::Network::alex);
      lpips = std::make_unique<Lpips>(*backend, tiny.backbone, tiny.heads);
    }
    std::vector<Camera> cameras;
    for (const TrainingView& view : views) cameras.push_back(view.camera);
    Philox random(1);
    trainer =
        std::make_unique<Trainer>(*backend, options, views, random_points(options.start.count, 1.0f, random),
                                  cameras_extent(cameras), lpips.get());
  }
  void steps(int count) {
    for (int i = 0; i < count && !trainer->finished(); ++i) trainer->step();
  }
  std::vector<float> result() const {
    std::vector<float> all;
    for (const Tensor* tensor : trainer->gaussians().tensors()) {
      const auto values = tensor->to_host();
      all.insert(all.end(), values.begin(), values.end());
    }
    for (const Tensor* tensor : {&trainer->field().grid, &trainer->field().box, &trainer->field().network}) {
      const auto values = tensor->to_host();
      all.insert(all.end(), values.begin(), values.end());
    }
    return all;
  }
  std::unique_ptr<Backend> backend;
  TrainingViews views;
  std::unique_ptr<Lpips> lpips;
  std::unique_ptr<Trainer> trainer;
};

TEST(TrainerOnCpu, SameBitsForAnyNumberOfThreadsAndWithGuardedMemory) {
  const int threads = thread_count();
  std::vector<std::vector<float>> results;
  for (int count : {1, 2, 3}) {
    set_thread_count(count);
    TrainingRun run(test::busy_options(), count == 2);
    run.steps(1000);
    EXPECT_TRUE(run.trainer->finished());
    EXPECT_GT(run.trainer->gaussian_count(), 60);
    results.push_back(run.result());
  }
  set_thread_count(threads);
  EXPECT_EQ(results[0], results[1]);
  EXPECT_EQ(results[0], results[2]);
}

EG4D_DEVICE_SUITE(TrainerTest);

TEST_P(TrainerTest, ResumesToTheSameBitsFromAnyIteration) {
  ReconstructOptions options = test::busy_options();
  options.schedule.average_from = 20;
  options.density.error = 1e-3f;
  options.density.prune_weight = 0.1f;
  options.density.measured = 4;
  TrainingRun whole(options);
  whole.steps(1000);
  const test::TemporaryFolder folder;
  for (int stop : {7, 30, 31, 55, 89}) {
    TrainingRun first(options);
    first.steps(stop);
    first.trainer->prepare_state("kept").write(folder.path() / "state.safetensors");
    TrainingRun second(options);
    EXPECT_EQ(second.trainer->load_state(folder.path() / "state.safetensors"), "kept");
    EXPECT_EQ(second.trainer->total_done(), stop);
    second.steps(1000);
    EXPECT_EQ(second.result(), whole.result()) << "stopped after " << stop;
    EXPECT_EQ(second.trainer->model_gaussians().positions.to_host(),
              whole.trainer->model_gaussians().positions.to_host());
  }
}

TEST_P(TrainerTest, GaussiansThatAreWorthLittleDoNotGrowOrStay) {
  const auto gaussians = [](float error, float weight) {
    ReconstructOptions options = test::busy_options();
    options.density.error = error;
    options.density.prune_weight = weight;
    options.density.measured = 4;
    TrainingRun run(options);
    run.steps(1000);
    return run.trainer->gaussian_count();
  };
  const int64_t all = gaussians(0, 0);
  EXPECT_GT(gaussians(1e-9f, 0), gaussians(1e6f, 0));
  EXPECT_LT(gaussians(1e6f, 0), all);
  EXPECT_LT(gaussians(0, 1), all);
}

// Limits are per picture: of those that were measured, not of those that were asked for.
TEST_P(TrainerTest, NoMorePicturesAreCountedThanThereAreBetweenTwoEvents) {
  const auto result = [](int measured) {
    ReconstructOptions options = test::busy_options();
    options.density.from =
        options.density.interval - 1;  // the first event is as far from the start as others
    options.density.error = 1e-3f;
    options.density.prune_weight = 0.5f;
    options.density.measured = measured;
    TrainingRun run(options);
    run.steps(1000);
    return run.result();
  };
  const int interval = test::busy_options().density.interval;
  EXPECT_EQ(result(10 * interval), result(interval));
}

TEST(Trainer, TheHostReadsOnceInAnIterationWithDensityControlAndNeverElse) {
  auto counting = std::make_unique<test::CountingBackend>();
  test::CountingBackend& counting_backend = *counting;
  TrainingRun run(test::busy_options(), std::move(counting));
  int events = 0;
  while (!run.trainer->finished()) {
    counting_backend.take();
    run.steps(1);
    const test::CountingBackend::Counts counts = counting_backend.take();
    const bool event = counts.calls.contains("density decisions");
    EXPECT_EQ(counts.copies_to_host, event ? 1 : 0) << run.trainer->total_done();
    events += event;
  }
  EXPECT_GE(events, 4);
  EXPECT_GT(run.trainer->gaussian_count(), 60);
}

TEST_P(TrainerTest, SeveralViewsPerIterationAndTheOtherSwitches) {
  ReconstructOptions options = test::busy_options();
  options.schedule.views = 3;
  options.schedule.coarse_time = 0;
  options.hexplane.full_time_axis = true;
  options.deformation.zero_start = true;
  options.deformation.opacity = true;
  options.density.after_update = true;
  options.gaussian.flat = true;
  options.loss.dssim = 0.2f;
  TrainingRun run(options, true);
  run.steps(1000);
  EXPECT_TRUE(run.trainer->finished());
  for (float value : run.result()) ASSERT_TRUE(std::isfinite(value));
}

TEST_P(TrainerTest, LearnsAMovingScene) {
  ReconstructOptions options = test::busy_options();
  options.schedule.coarse_iterations = 100;
  options.schedule.fine_iterations = 900;
  options.schedule.random_resolution = false;
  options.density.reset_interval = 0;
  options.density.reset_at_start = false;
  options.density.gradient = 2e-4f;
  TrainingRun run(options);
  const auto psnr = [&] {
    return evaluate(*run.backend, run.trainer->gaussians(), run.trainer->active_field(), options, run.views)
        .psnr;
  };
  const double before = psnr();
  run.steps(2000);
  EXPECT_GT(psnr(), before + 5);
  EXPECT_GT(psnr(), 22);
}

TEST_P(TrainerTest, LpipsIsPartOfTheLoss) {
  ReconstructOptions options = test::busy_options();
  options.schedule.random_resolution = false;
  options.density.reset_interval = 0;
  TrainingRun without(options, false, 36, 40);
  without.steps(90);
  EXPECT_EQ(without.trainer->last_loss().lpips, 0);
  options.loss.lpips = 0.5f;
  TrainingRun with(options, true, 36, 40);
  std::vector<double> epochs;  // of 15 pictures
  for (int i = 0; i < 90; ++i) {
    with.steps(1);
    if (i % 15 == 0) epochs.push_back(0);
    epochs.back() += with.trainer->last_loss().lpips;
  }
  EXPECT_GT(epochs.front(), 0);
  EXPECT_LT(epochs.back(), epochs.front());
  EXPECT_NE(with.result(), without.result());
}

TEST_P(TrainerTest, LpipsNeedsLargeEnoughPictures) {
  ReconstructOptions options = test::busy_options();
  options.loss.lpips = 1;
  EXPECT_ERROR(TrainingRun(options, false, 36, 40),
               "rendered down to 9: set loss.lpips to 0 or schedule.random_resolution to false");
}

float largest_opacity(const TrainingRun& run) {
  const std::vector<float> logits = run.trainer->gaussians().opacity_logits.to_host();
  return 1 / (1 + std::exp(-*std::max_element(logits.begin(), logits.end())));
}

TEST_P(TrainerTest, OpacityIsResetBeforeResetUntilAndNotAtIt) {
  ReconstructOptions options = test::busy_options();
  options.density.from = 1000;
  options.density.reset_interval = 10;
  options.density.reset_until = 20;
  TrainingRun run(options);
  run.steps(9);
  EXPECT_GT(largest_opacity(run), 0.02f);
  run.steps(1);
  EXPECT_LE(largest_opacity(run), 0.01001f);
  run.steps(9);
  const float before = largest_opacity(run);
  EXPECT_GT(before, 0.011f);
  run.steps(1);
  EXPECT_GT(largest_opacity(run), 0.011f);
  // The published numbers: fine 12000 is the last reset, 15000 none.
  EXPECT_EQ(ReconstructOptions().density.reset_until, 15000);
  EXPECT_EQ(ReconstructOptions().density.reset_interval, 3000);
}

TEST_P(TrainerTest, TheLastFineIterationChangesNothingWhenItIsSkipped) {
  ReconstructOptions options = test::busy_options();
  options.density.from = 1000;
  options.density.reset_interval = 0;
  const auto before_and_after_the_last = [&] {
    TrainingRun run(options);
    run.steps(89);
    std::vector<float> before = run.result();
    run.steps(1);
    EXPECT_TRUE(run.trainer->finished());
    return std::pair{before, run.result()};
  };
  const auto skipped = before_and_after_the_last();
  EXPECT_TRUE(skipped.first == skipped.second);
  options.schedule.skip_last_update = false;
  const auto made = before_and_after_the_last();
  EXPECT_TRUE(made.first == skipped.first);
  EXPECT_FALSE(made.first == made.second);
  // The coarse stage's last one is made in both.
  TrainingRun coarse(test::busy_options());
  coarse.steps(29);
  const std::vector<float> before = coarse.result();
  coarse.steps(1);
  EXPECT_FALSE(before == coarse.result());
}

TEST_P(TrainerTest, GaussiansHaveNoLimitUnlessOneIsSet) {
  ReconstructOptions options = test::busy_options();
  options.density.reset_interval = 0;
  TrainingRun limited(options);
  limited.steps(1000);
  options.density.max_gaussians = 0;
  TrainingRun free(options);
  free.steps(1000);
  EXPECT_GT(free.trainer->gaussian_count(), 2 * limited.trainer->gaussian_count());
}

TEST(Trainer, WithoutMemoryForTheGaussiansItSaysSo) {
  ReconstructOptions options = test::busy_options();
  options.density.max_gaussians = 0;
  options.density.reset_interval = 0;
  TrainingRun run(options, std::make_unique<test::LimitedBackend>(size_t{3} << 20));
  EXPECT_ERROR(run.steps(1000), "Gaussians; set density.max_gaussians");
}

TEST_P(TrainerTest, MomentsOfColoursAndHexplaneAreSavedAndReadBack) {
  const test::TemporaryFolder folder;
  TrainingRun run(test::busy_options());
  run.steps(70);
  const NamedMoments moments = run.trainer->color_moments();
  ASSERT_EQ(moments.size(), 4u);
  EXPECT_EQ(moments.at("grid").steps, 40);
  EXPECT_GT(moments.at("sh_dc").steps, 0);
  EXPECT_LT(moments.at("sh_dc").steps, 40);  // density control takes steps away
  const auto path = moments_file(folder / "best.safetensors");
  EXPECT_EQ(path, folder / "best_moments.safetensors");
  EXPECT_FALSE(load_moments(*run.backend, path, 70));
  save_moments(path, moments, 70);
  EXPECT_FALSE(load_moments(*run.backend, path, 71));  // of another state of the model
  const auto read = load_moments(*run.backend, path, 70);
  ASSERT_TRUE(read);
  ASSERT_EQ(read->size(), 4u);
  for (const auto& [name, state] : moments) {
    EXPECT_EQ(read->at(name).steps, state.steps) << name;
    EXPECT_EQ(read->at(name).first.shape(), state.first.shape()) << name;
    EXPECT_TRUE(read->at(name).first.to_host() == state.first.to_host()) << name;
    EXPECT_TRUE(read->at(name).second.to_host() == state.second.to_host()) << name;
  }
  const Tensor nothing = Tensor::from_host<float>(*run.backend, {1}, std::vector<float>{NAN});
  save_moments(path, {{"grid", {nothing, nothing, 3}}}, 70);
  EXPECT_ERROR(load_moments(*run.backend, path, 70), "is damaged");
}

TEST_P(TrainerTest, AStateOfOtherSettingsIsRefused) {
  const test::TemporaryFolder folder;
  TrainingRun run(test::busy_options());
  run.steps(35);
  run.trainer->prepare_state("").write(folder.path() / "state.safetensors");
  ReconstructOptions other = test::busy_options();
  other.deformation.width = 32;
  TrainingRun wider(other);
  EXPECT_THROW(wider.trainer->load_state(folder.path() / "state.safetensors"), std::runtime_error);
}

// Whatever is wrong with a checkpoint is noticed before anything of the trainer changes.
TEST_P(TrainerTest, ADamagedStateIsToldAndChangesNothing) {
  const test::TemporaryFolder folder;
  const std::filesystem::path path = folder / "state.safetensors";
  TrainingRun run(test::busy_options());
  run.steps(35);
  run.trainer->prepare_state("kept").write(path);
  const std::string whole = test::read_text(path);
  TrainingRun other(test::busy_options());
  other.steps(12);
  const auto before = other.result();
  const auto refuses = [&](const std::string& contents, const char* sentence) {
    test::write_text(path, contents);
    EXPECT_ERROR(other.trainer->load_state(path), sentence);
    EXPECT_EQ(other.trainer->total_done(), 12);
    EXPECT_EQ(other.trainer->stage(), Stage::coarse);
    EXPECT_EQ(other.result(), before);
  };
  const auto changed = [&](const std::string& from, const std::string& to) {
    std::string text = whole;
    const size_t place = text.find(from);
    EXPECT_NE(place, std::string::npos) << from;
    return text.replace(place, from.size(), to);
  };
  std::string overwritten = whole;
  overwritten.replace(whole.size() / 2, 400, std::string(400, '\xff'));
  refuses(overwritten, "is damaged (its checksum does not fit its content): delete it, and the same command");
  std::string bit = whole;
  bit.back() = static_cast<char>(bit.back() ^ 1);
  refuses(bit, "its checksum does not fit");
  refuses(changed("kept", "lost"), "its checksum does not fit");
  refuses(whole.substr(0, whole.size() / 2), "is damaged");
  refuses("", "is damaged");
  refuses(std::string(5000, '\0'), "is damaged");

  // Older files have no checksum. `crc32c` becomes an entry that nobody looks at.
  const auto unchecked = [&](std::string text) { return text.replace(text.find("crc32c"), 6, "unused"); };
  refuses(unchecked(overwritten), "holds NaN or infinity");
  refuses(unchecked(changed(R"(\"iteration\":5)", R"(\"iteration\":-)")), "its counters cannot be read");
  test::write_text(path, unchecked(whole));
  EXPECT_EQ(other.trainer->load_state(path), "kept");
  EXPECT_EQ(other.result(), run.result());
}

TEST_P(TrainerTest, AStateThatIsNotFiniteIsNotSaved) {
  const test::TemporaryFolder folder;
  const std::filesystem::path path = folder / "state.safetensors";
  TrainingRun run(test::busy_options());
  run.steps(5);
  run.trainer->prepare_state("good").write(path);
  const std::string good = test::read_text(path);
  const Tensor& positions = run.trainer->gaussians().positions;
  std::vector<float> values = positions.to_host();
  values[4] = std::numeric_limits<float>::quiet_NaN();
  Tensor(positions).copy_from_host(values.data(), positions.bytes());
  EXPECT_THROW(run.trainer->prepare_state("bad").write(path), NotFinite);
  EXPECT_EQ(test::read_text(path), good);
}

// In every precision: with a network whose products a GPU does on its tensor cores.
class TrainerBitsTest : public test::OnEachDevice {};

TEST_P(TrainerBitsTest, OfTwoRunsAndOfAResumedOneAreTheSame) {
  ReconstructOptions options = test::busy_options();
  options.deformation.width = 64;
  TrainingRun whole(options), second(options), first_part(options), resumed(options);
  whole.steps(1000);
  second.steps(1000);
  EXPECT_TRUE(second.result() == whole.result());
  // Operation by operation instead of what was recorded, which a GPU makes graphs of.
  TrainingRun direct(options, std::make_unique<test::CountingBackend>(
                                  test::make_test_backend(), test::CountingBackend::Recordings::rerun));
  direct.steps(1000);
  EXPECT_TRUE(direct.result() == whole.result());
  const test::TemporaryFolder folder;
  first_part.steps(55);
  first_part.trainer->prepare_state("").write(folder.path() / "state.safetensors");
  resumed.trainer->load_state(folder.path() / "state.safetensors");
  resumed.steps(1000);
  EXPECT_TRUE(resumed.result() == whole.result());
}

INSTANTIATE_TEST_SUITE_P(, TrainerBitsTest, testing::ValuesIn(test::test_devices_by_precision()),
                         test::DeviceLabel());

}  // namespace
}  // namespace eg4d
