// Iterations are prepared once and replayed: with the bits of running them anew each time, without an
// allocation and without a copy to or from the host.

#include <gtest/gtest.h>

#include "splat/evaluation.h"
#include "splat/refinement_trainer.h"
#include "splat/start_points.h"
#include "splat/trainer.h"
#include "support/counting_backend.h"
#include "support/random_values.h"
#include "support/tiny_lpips.h"
#include "support/tiny_model.h"
#include "support/tiny_options.h"
#include "support/tiny_scene.h"

namespace eg4d {
namespace {

using test::CountingBackend;
using Recordings = CountingBackend::Recordings;

void append(std::vector<float>& all, const Tensor& tensor) {
  const std::vector<float> values = tensor.to_host();
  all.insert(all.end(), values.begin(), values.end());
}

struct CountedTraining {
  CountedTraining(const ReconstructOptions& options, Recordings recordings, int width = 33, int height = 25)
      : backend(make_cpu_backend({.guard_memory = true}), recordings),
        views(test::tiny_scene(backend, 5, 3, width, height)) {
    const test::TinyLpips tiny = test::tiny_lpips(Lpips::Network::alex);
    lpips = std::make_unique<Lpips>(backend, tiny.backbone, tiny.heads);
    std::vector<Camera> cameras;
    for (const TrainingView& view : views) cameras.push_back(view.camera);
    Philox random(1);
    trainer =
        std::make_unique<Trainer>(backend, options, views, random_points(options.start.count, 1.0f, random),
                                  cameras_extent(cameras), lpips.get());
  }
  std::vector<float> result() const {
    std::vector<float> all;
    for (const Tensor* tensor : trainer->gaussians().tensors()) append(all, *tensor);
    for (const Tensor* tensor : {&trainer->field().grid, &trainer->field().box, &trainer->field().network})
      append(all, *tensor);
    const Trainer::LossValues loss = trainer->last_loss();
    for (const double value : {loss.l1, loss.ssim, loss.psnr, loss.lpips})
      all.push_back(static_cast<float>(value));
    return all;
  }
  CountingBackend backend;
  TrainingViews views;
  std::unique_ptr<Lpips> lpips;
  std::unique_ptr<Trainer> trainer;
};

// The Gaussians stay the same ones.
ReconstructOptions steady_options() {
  ReconstructOptions options = test::tiny_options(0, 250);
  options.start.count = 60;
  options.gaussian.sh_interval = 1000;
  options.density.from = 1000;
  options.density.reset_interval = 0;
  options.density.reset_at_start = false;
  return options;
}

void expect_same_bits(const ReconstructOptions& options, int width = 33, int height = 25) {
  CountedTraining replayed(options, Recordings::replay, width, height),
      direct(options, Recordings::rerun, width, height);
  while (!replayed.trainer->finished()) replayed.trainer->step();
  while (!direct.trainer->finished()) direct.trainer->step();
  EXPECT_TRUE(test::same_bits(replayed.result(), direct.result()));
}

TEST(PreparedIteration, GivesTheBitsOfRunningDirectly) {
  expect_same_bits(test::busy_options());
}

TEST(PreparedIteration, GivesTheBitsOfRunningDirectlyWithEveryLossAndSeveralViews) {
  ReconstructOptions options = test::busy_options();
  options.schedule.views = 3;
  options.schedule.random_resolution = false;
  options.loss.dssim = 0.2f;
  options.loss.lpips = 0.5f;
  options.deformation.opacity = true;
  options.density.after_update = true;
  expect_same_bits(options, 36, 40);
}

// LPIPS at sizes that change, whose working memory is planned for all of them.
TEST(PreparedIteration, GivesTheBitsOfRunningDirectlyWithLpipsAtEverySize) {
  ReconstructOptions options = test::tiny_options(0, 12);
  options.start.count = 60;
  options.loss.lpips = 0.5f;
  expect_same_bits(options, 130, 125);
}

TEST(PreparedIteration, AllocatesAndCopiesNothing) {
  for (const int views : {1, 5}) {
    ReconstructOptions options = steady_options();
    options.schedule.views = views;
    CountedTraining run(options, Recordings::replay);
    int64_t recorded = 0;
    for (int i = 0; i < 30; ++i) {
      run.trainer->step();
      recorded += run.backend.take().recorded;
    }
    EXPECT_EQ(recorded, 5) << "one for each size, and one of the update";
    int64_t uploads = 0;
    for (int i = 30; i < 250; ++i) {
      run.trainer->step();
      const CountingBackend::Counts counts = run.backend.take();
      EXPECT_EQ(counts.allocations, 0) << i;
      EXPECT_EQ(counts.copies_to_host, 0) << i;
      EXPECT_EQ(counts.recorded, 0) << i;
      EXPECT_EQ(counts.replayed, i == 249 ? 1 : 2) << "the last update is left out, as published";
      uploads += counts.copies_to_device;
    }
    EXPECT_EQ(uploads, 2) << "the inputs of a hundred iterations each";
    run.trainer->last_loss();
    EXPECT_EQ(run.backend.take().copies_to_host, 1);
  }
}

// What density control changes makes everything be prepared anew; buffers keep their memory meanwhile.
TEST(PreparedIteration, MemoryGrowsSeldomWithTheGaussians) {
  ReconstructOptions options = test::busy_options();
  options.schedule.coarse_iterations = 130;
  options.density.max_gaussians = 1000;
  CountedTraining run(options, Recordings::replay);
  int64_t changes = 0, after_changes = 0;
  for (int i = 0; i < 129; ++i) {
    const int64_t before = run.trainer->gaussian_count();
    run.trainer->step();
    run.backend.take();
    if (run.trainer->gaussian_count() == before || i == 128) continue;
    ++changes;
    run.trainer->step();
    ++i;
    if (run.backend.take().allocations > 0) ++after_changes;
  }
  EXPECT_GT(changes, 5);
  EXPECT_LT(after_changes, changes);
}

// ---------------------------------------------------------------- Stage III

struct Refinement {
  Refinement(const RefinementOptions& options, Recordings recordings)
      : backend(make_cpu_backend({.guard_memory = true}), recordings),
        views(test::tiny_scene(backend, 3, 2, 40, 36)),
        model(test::tiny_model(backend, 30, 2)) {
    const test::TinyLpips tiny = test::tiny_lpips(Lpips::Network::alex);
    lpips = std::make_unique<Lpips>(backend, tiny.backbone, tiny.heads);
    trainer = std::make_unique<RefinementTrainer>(
        backend, options, views, model, lpips.get(),
        [this](size_t view, const Tensor& rendered) {
          seen.push_back(rendered.to_host()[0]);
          return views[views.size() - 1 - view].picture;
        },
        [](const Tensor& image, const RefinementTrainer::DistillationDraw&, const Tensor& d_image) {
          image.backend().run(MoveTowards{d_image.data(), image.data(), 0.01f, image.count()});
        });
  }
  std::vector<float> result() const {
    std::vector<float> all = seen;
    for (const Tensor* tensor :
         {&model.gaussians.sh_dc, &model.gaussians.sh_rest, &model.field.grid, &model.field.box})
      append(all, *tensor);
    all.push_back(static_cast<float>(trainer->last_loss().lpips));
    return all;
  }
  CountingBackend backend;
  TrainingViews views;
  Model model;
  std::unique_ptr<Lpips> lpips;
  std::unique_ptr<RefinementTrainer> trainer;
  std::vector<float> seen;
};

TEST(PreparedRefinement, GivesTheBitsOfRunningDirectly) {
  for (const bool clamp : {true, false})
    for (const float sds : {0.0f, 1.0f}) {
      RefinementOptions options;
      options.iterations = 20;
      options.loss.clamp = clamp;
      options.loss.sds = sds;
      options.loss.dssim = 0.1f;
      std::vector<std::vector<float>> results;
      for (const Recordings recordings : {Recordings::replay, Recordings::rerun}) {
        Refinement run(options, recordings);
        while (!run.trainer->finished()) run.trainer->step();
        EXPECT_EQ(run.seen.size(), run.views.size()) << "every picture is asked for once";
        results.push_back(run.result());
      }
      EXPECT_TRUE(test::same_bits(results[0], results[1]));
    }
}

TEST(PreparedRefinement, AllocatesAndCopiesNothingOnceThePicturesAreKnown) {
  RefinementOptions options;
  options.iterations = 130;
  Refinement run(options, Recordings::replay);
  for (int i = 0; i < 6; ++i) run.trainer->step();  // an epoch
  run.backend.take();
  int64_t uploads = 0;
  for (int i = 6; i < 130; ++i) {
    run.trainer->step();
    const CountingBackend::Counts counts = run.backend.take();
    EXPECT_EQ(counts.allocations, 0) << i;
    EXPECT_EQ(counts.copies_to_host, 0) << i;
    EXPECT_EQ(counts.recorded, 0) << i;
    uploads += counts.copies_to_device;
  }
  EXPECT_EQ(uploads, 1) << "the inputs of a hundred iterations";
}

}  // namespace
}  // namespace eg4d
