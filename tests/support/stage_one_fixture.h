#pragma once

// What the tests of Stage I share: small random networks, a picture and frames. The suite is spread over
// tests/pipeline/{animate,multiview,stage_one_*}_test.cpp; animate_test.cpp says on which devices it runs.

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>

#include "backend/backend.h"
#include "core/interrupt.h"
#include "io/image.h"
#include "io/video.h"
#include "pipeline/animate.h"
#include "pipeline/multiview.h"
#include "scene/frame_source.h"
#include "support/device_fixture.h"
#include "support/places.h"
#include "support/temporary_folder.h"
#include "support/tiny_video_model.h"

namespace eg4d::test {

inline Picture gradient(int side) {
  Picture picture(side, side, 3);
  for (size_t i = 0; i < picture.data.size(); ++i) picture.data[i] = static_cast<uint8_t>(i * 7 % 251);
  return picture;
}

class StageOne : public OnEachDevice {
 protected:
  void SetUp() override {
    EG4D_TEST_NEEDS_VIDEO();
    write_tiny_model(TinyModel::svd, folder / "svd.safetensors");
    write_tiny_model(TinyModel::sv3d_p, folder / "sv3d.safetensors");
    write_png(folder / "photo.png", gradient(40));
  }
  void TearDown() override { clear_interrupt(); }

  AnimateJob animate_job(const std::string& run) const {
    AnimateJob job;
    job.picture = folder / "photo.png";
    job.output = folder / run;
    job.model.path = folder / "svd.safetensors";
    job.options.frames = 3;
    job.options.side = 64;
    job.options.sampling.schedule.steps = 4;
    return job;
  }

  MultiviewJob multiview_job(const std::string& run) const {
    MultiviewJob job;
    job.video = folder / "frames";
    job.output = folder / run;
    job.model.path = folder / "sv3d.safetensors";
    job.options.views = 4;
    job.options.side = 64;
    job.options.sampling.schedule.steps = 3;
    return job;
  }

  void write_frames(int count) {
    std::filesystem::create_directories(folder / "frames");
    for (int i = 0; i < count; ++i)
      write_png(folder / ("frames/" + std::to_string(i) + ".png"), gradient(50 + 3 * i));
  }

  std::string bytes_of(const std::filesystem::path& run) const {
    std::string all;
    for (const std::filesystem::path& file : picture_files(run)) all += read_text(file);
    return all;
  }

  const TemporaryFolder folder;
  std::unique_ptr<Backend> backend = make_test_backend();
  Progress silent;
};

}  // namespace eg4d::test
