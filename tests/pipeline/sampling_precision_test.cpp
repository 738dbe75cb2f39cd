// Whole sampling runs of the mini models in the precision that a GPU takes by itself, f16, against f32: what
// people see of it. On the processor with emulated rounding and fewer frames and steps.
#include <gtest/gtest.h>

#include <algorithm>

#include "models/model_store.h"
#include "pipeline/animate.h"
#include "pipeline/diffusion_painter.h"
#include "pipeline/multiview.h"
#include "pipeline/video_painter.h"
#include "splat/evaluation.h"
#include "support/device_fixture.h"
#include "support/places.h"
#include "support/temporary_folder.h"

namespace eg4d::test {
namespace {

using Pictures = std::vector<Picture>;

double psnr_of_all(const Pictures& ours, const Pictures& wanted) {
  double sum = 0, count = 0;
  for (size_t i = 0; i < wanted.size(); ++i)
    for (size_t j = 0; j < wanted[i].data.size(); ++j) {
      const double difference = (int{ours.at(i).data.at(j)} - int{wanted[i].data[j]}) / 255.0;
      sum += difference * difference;
      ++count;
    }
  return psnr_of(sum / count);
}

class SamplingPrecision : public OnEachDevice {
 protected:
  void SetUp() override {
    for (const char* name : {"svd_mini", "sv3d_mini", "sdxl_mini"})
      if (!find_model(find_model_entry(name))) GTEST_SKIP() << name << " is not in models/mini of this tree";
  }

  Pictures paint(const char* model, const PaintJob& given) {
    VideoNetworks networks(*backend_, require_model(model, {}).path);
    const TemporaryFolder state;
    PaintJob job = given;
    job.state_folder = state.path();
    Pictures pictures(job.inputs.size() * static_cast<size_t>(job.frames));
    Progress silent;
    paint_videos(*backend_, networks, job,
                 {[](int, int) { return false; },
                  [&](int video, int frame, const Picture& picture) {
                    pictures[static_cast<size_t>(video * job.frames + frame)] = picture;
                  }},
                 silent);
    return pictures;
  }

  // work(precision) → pictures
  template <class Work>
  void expect_the_same_to_the_eye(const Work& work) {
    ASSERT_EQ(precision_on(*backend_, NetworkPrecision::automatic), DType::f16);
    const double psnr = psnr_of_all(work(NetworkPrecision::automatic), work(NetworkPrecision::f32));
    RecordProperty("psnr", std::to_string(psnr));
    EXPECT_GE(psnr, 40);
    EXPECT_LT(psnr, 90);  // it is another computation
  }

  template <class Options>
  Options mini(const PresetTexts& presets) const {
    Options options;
    ConfigSchema schema;
    options.bind(schema);
    schema.apply_preset("mini", presets);
    return options;
  }

  const bool small_ = current_device().is_cpu();
  const std::unique_ptr<Backend> backend_ = make_test_backend({.emulate_half = true});
  const Picture creature_ = animation_input(read_picture(examples() / "creature.png"), 128).picture;
};

TEST_P(SamplingPrecision, Animation) {
  auto options = mini<AnimateOptions>(animate_presets());
  if (small_) {
    options.frames = 3;
    options.sampling.schedule.steps = 4;
  }
  expect_the_same_to_the_eye([&](NetworkPrecision precision) {
    options.sampling.precision = precision;
    return paint("svd_mini", video_painting(options, creature_));
  });
}

// Of two moments, the second with what was kept of the first.
TEST_P(SamplingPrecision, Views) {
  auto options = mini<MultiviewOptions>(multiview_presets());
  if (small_) {
    options.views = 5;
    options.sampling.schedule.steps = 4;
  }
  Picture later = creature_;
  std::rotate(later.data.begin(), later.data.begin() + 9 * 3, later.data.end());
  expect_the_same_to_the_eye([&](NetworkPrecision precision) {
    options.sampling.precision = precision;
    return paint("sv3d_mini", views_painting(VideoCheckpoint::Kind::sv3d_p, options, {creature_, later}));
  });
}

TEST_P(SamplingPrecision, Mending) {
  ConfigSchema schema;
  RefineOptions training;
  DiffusionPainterOptions options;
  training.bind(schema);
  options.bind(schema);
  schema.apply_preset("mini", refine_presets());
  options.prompt = "a robot";
  expect_the_same_to_the_eye([&](NetworkPrecision precision) {
    options.precision = precision;
    DiffusionPainter painter(*backend_, {require_model("sdxl_mini", {}), {}, {}, {}}, options);
    return Pictures{painter.paint(creature_, 0, Background::white)};
  });
}

EG4D_ON_EACH_DEVICE(SamplingPrecision);

}  // namespace
}  // namespace eg4d::test
