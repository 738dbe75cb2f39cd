#pragma once

// What the tests of Stage III share: painters that need no network, and a model to refine. The suite is
// spread over tests/pipeline/*refine*_test.cpp; refine_test.cpp says on which devices it runs.

#include <gtest/gtest.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "backend/backend.h"
#include "core/interrupt.h"
#include "pipeline/reconstruct.h"
#include "pipeline/refine.h"
#include "splat/model.h"
#include "support/device_fixture.h"
#include "support/random_values.h"
#include "support/temporary_folder.h"
#include "support/tiny_options.h"
#include "support/tiny_scene.h"

namespace eg4d::test {

// Diffusion that knows the answer: every picture becomes the one it is given, with red and blue exchanged.
class SwappedColors : public TargetPainter {
 public:
  Picture paint(const Picture& reference, size_t view, Background) override {
    painted.push_back(view);
    Picture picture = reference;
    for (size_t i = 0; i < picture.data.size(); i += 3) std::swap(picture.data[i], picture.data[i + 2]);
    return picture;
  }
  PainterIdentity identity() const override { return {"swapped colours"}; }
  std::vector<size_t> painted;
};

class Same : public TargetPainter {
 public:
  Picture paint(const Picture& reference, size_t, Background) override { return reference; }
  PainterIdentity identity() const override { return {"identity"}; }
};

// A prior that wants everything to be darker, and keeps what it was asked.
class Darker : public Same {
 public:
  RefinementTrainer::Distiller distiller() override {
    return
        [this](const Tensor& image, const RefinementTrainer::DistillationDraw& draw, const Tensor& d_image) {
          draws.push_back(draw);
          EXPECT_EQ(image.shape(), d_image.shape());
          const std::vector<float> down(static_cast<size_t>(image.count()),
                                        draw.weight / static_cast<float>(image.count()));
          const Tensor gradient = Tensor::from_host<float>(image.backend(), image.shape(), down);
          image.backend().run(ScaledSum{.count = image.count(),
                                        .a = d_image.data(),
                                        .b = gradient.data(),
                                        .b_scale = 1,
                                        .y = d_image.data()});
        };
  }
  void release() override { ++released; }
  std::vector<RefinementTrainer::DistillationDraw> draws;
  int released = 0;
};

class Refine : public OnEachDevice {
 protected:
  void SetUp() override {
    write_tiny_dataset(folder_ / "dataset", 4, 3, 24, 20);
    reconstruct(folder_ / "run");
  }
  void TearDown() override { clear_interrupt(); }

  void reconstruct(const std::filesystem::path& run) {
    ReconstructJob job;
    job.dataset = folder_ / "dataset";
    job.output = run;
    auto& options = job.options = tiny_options(50, 50);
    options.start.count = 200;
    options.schedule.evaluate_interval = 25;
    options.schedule.random_resolution = false;
    options.density.from = 1000;
    eg4d::reconstruct(*backend_, job, quiet_);
  }

  RefineJob job(const std::filesystem::path& run, int iterations = 40) const {
    RefineJob job;
    job.run = run;
    job.options.training.iterations = iterations;
    job.options.evaluate_interval = 10;
    return job;
  }

  static bool same(const Tensor& a, const Tensor& b) { return same_bits(a.to_host(), b.to_host()); }
  static void expect_frozen(const Model& before, const Model& after) {
    EXPECT_TRUE(same(before.gaussians.positions, after.gaussians.positions));
    EXPECT_TRUE(same(before.gaussians.log_scales, after.gaussians.log_scales));
    EXPECT_TRUE(same(before.gaussians.quaternions, after.gaussians.quaternions));
    EXPECT_TRUE(same(before.gaussians.opacity_logits, after.gaussians.opacity_logits));
    EXPECT_TRUE(same(before.field.network, after.field.network));
  }

  // Everything in refined/ that must not depend on interruptions.
  std::string outcome(const std::filesystem::path& run) {
    nlohmann::json metrics = nlohmann::json::parse(read_text(run / "refined/metrics.json"));
    metrics.erase("run");
    return metrics.dump() + read_text(run / "refined/model.safetensors") +
           read_text(run / "refined/log.jsonl");
  }

  TemporaryFolder folder_;
  std::unique_ptr<Backend> backend_ = make_test_backend();
  Progress quiet_;
};

}  // namespace eg4d::test
