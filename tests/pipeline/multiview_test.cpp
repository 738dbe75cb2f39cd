#include "pipeline/multiview.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string>
#include <vector>

#include "backend/cpu/testing.h"
#include "picture/input_picture.h"
#include "scene/dataset.h"
#include "scene/frame_source.h"
#include "support/environment.h"
#include "support/expect_error.h"
#include "support/places.h"
#include "support/stage_one_fixture.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;
using test::gradient;
using test::StageOne;

TEST_P(StageOne, MultiviewMakesADataset) {
  write_frames(3);
  const MultiviewJob job = multiview_job("run");
  const auto guarded = test::make_test_backend({.guard_memory = true});
  const MultiviewResult result = multiview(*guarded, job, silent);
  EXPECT_EQ(result.frames, 3);
  const Dataset dataset(result.dataset);
  EXPECT_EQ(dataset.read_split("train").frames.size(), 9u);
  EXPECT_EQ(dataset.read_split("test").frames.size(), 3u);
  // The last view is the frame itself.
  const Picture last = read_picture(result.dataset / "000001/00000004.png");
  EXPECT_EQ(last.data, read_frames(folder / "frames", 9,
                                   [](const Picture& frame) { return multiview_input(frame, 64).picture; })[1]
                           .data);
  EXPECT_TRUE(multiview(*backend, job, silent).already_done);

  MultiviewJob wrong = multiview_job("wrong");
  wrong.model.path = folder / "svd.safetensors";
  EXPECT_ERROR(multiview(*backend, wrong, silent), "multiview needs an SV3D model");
  wrong = multiview_job("wrong");
  wrong.options.keep_bg = false;
  wrong.options.matting = "sv3d_p";
  EXPECT_ERROR(multiview(*backend, wrong, silent), "sv3d_p cuts nothing out");
  wrong.options.matting = "none.onnx";
  EXPECT_ERROR(multiview(*backend, wrong, silent), "there is no model file none.onnx");
  wrong = multiview_job("wrong");
  wrong.options.side = 72;
  EXPECT_ERROR(multiview(*backend, wrong, silent), "side is 72: the networks take multiples of 64");
  wrong = multiview_job("wrong");
  wrong.options.interpolation_model = "rife-v2.3";
  wrong.options.interpolate_views = 2;
  EXPECT_ERROR(multiview(*backend, wrong, silent), "rife-v4");
  EXPECT_FALSE(fs::exists(folder / "wrong"));
}

// A video that stands still then has views that stand still.
TEST_P(StageOne, ViewsOfAllFramesCanStartFromTheSameNoise) {
  fs::create_directories(folder / "frames");
  for (const char* name : {"frames/0.png", "frames/1.png"}) write_png(folder / name, gradient(64));
  MultiviewJob job = multiview_job("run");
  job.options.injection = false;
  job.options.cond_aug = 0;
  const auto view = [&](const MultiviewResult& result, const char* file) {
    return read_picture(result.dataset / file).data;
  };
  const MultiviewResult other = multiview(*backend, job, silent);
  EXPECT_NE(view(other, "000000/00000002.png"), view(other, "000001/00000002.png"));
  job = multiview_job("steady");
  job.options.injection = false;
  job.options.cond_aug = 0;
  job.options.same_noise = true;
  const MultiviewResult steady = multiview(*backend, job, silent);
  EXPECT_EQ(view(steady, "000000/00000002.png"), view(steady, "000001/00000002.png"));
  EXPECT_EQ(view(steady, "000000/00000002.png"), view(other, "000000/00000002.png"));
}

TEST_P(StageOne, MultiviewCutsTheObjectOut) {
  write_frames(1);
  Picture object = gradient(40);  // transparent but for a part: no matting is needed
  Picture transparent(40, 40, 4);
  for (size_t i = 0; i < 40 * 40; ++i) {
    std::copy_n(&object.data[3 * i], 3, &transparent.data[4 * i]);
    transparent.data[4 * i + 3] = i / 40 > 5 && i / 40 < 20 && i % 40 > 10 ? 255 : 0;
  }
  write_png(folder / "frames/1.png", transparent);
  MultiviewJob job = multiview_job("run");
  job.options.keep_bg = false;
  job.options.matting = test::test_data() / "u2net/u2net.onnx";
  job.options.image_frame_ratio = 0.8;
  const MultiviewResult result = multiview(*backend, job, silent);
  EXPECT_EQ(result.frames, 2);
  const Picture last = read_picture(result.dataset / "000001/00000004.png");
  EXPECT_EQ(last.data, recentred_input(transparent, PictureBox::whole(transparent), 0.8, 64).data);
  EXPECT_EQ(last.data[0], 255);  // the corner is white
  EXPECT_EQ(read_picture(result.dataset / "000000/00000004.png").width, 64);
}

// An object that moves: it stays where it was in the picture, or in the middle, or moves in one box for all.
TEST_P(StageOne, MultiviewRecentresTheObjectOrTheVideo) {
  fs::create_directories(folder / "frames");
  std::vector<Picture> frames;
  for (const int left : {4, 22}) {
    Picture frame(40, 40, 4);
    for (int y = 10; y < 20; ++y)
      for (int x = left; x < left + 10; ++x) frame.data[(y * 40 + x) * 4 + 3] = 255;
    for (int pixel = 0; pixel < 40 * 40; ++pixel)
      frame.data[pixel * 4] = 90;  // wholly black ones are left out
    write_png(folder / ("frames/" + std::to_string(left) + ".png"), frame);
    frames.push_back(std::move(frame));
  }
  const PictureBox first{4, 10, 14, 20}, second{22, 10, 32, 20};
  const auto inputs = [&](const std::string& run, Recentre recentre) {
    MultiviewJob job = multiview_job(run);
    job.options.keep_bg = false;
    job.options.recentre = recentre;
    const fs::path dataset = multiview(*backend, job, silent).dataset;
    return std::array{read_picture(dataset / "000000/00000004.png").data,
                      read_picture(dataset / "000001/00000004.png").data};
  };
  const auto expected = [&](const PictureBox& a, const PictureBox& b) {
    return std::array{recentred_input(frames[0], a, {}, 64).data, recentred_input(frames[1], b, {}, 64).data};
  };
  const PictureBox whole = PictureBox::whole(frames[0]), all{4, 10, 32, 20};
  EXPECT_EQ(inputs("none", Recentre::none), expected(whole, whole));
  EXPECT_EQ(inputs("object", Recentre::object), expected(first, second));
  EXPECT_EQ(inputs("video", Recentre::video), expected(all, all));

  // A frame without the object says nothing of a box for all, and cannot be recentred by itself.
  Picture nothing(40, 40, 4);
  nothing.data[0] = 90;
  write_png(folder / "frames/30.png", nothing);
  EXPECT_EQ(inputs("video-with-nothing", Recentre::video), expected(all, all));
  EXPECT_ERROR(inputs("object-with-nothing", Recentre::object), "wholly transparent");
  Picture wider(41, 40, 4);
  wider.data[0] = 90;
  write_png(folder / "frames/31.png", wider);
  EXPECT_ERROR(inputs("sizes", Recentre::video), "41×40");
}

// A program that copies the nearer picture; tests/scene/dataset_writer_test.cpp holds the rules of the real
// one.
constexpr const char* kFakeInterpolation = R"sh(#!/bin/sh
while [ $# -gt 1 ]; do case $1 in -i) in=$2;; -o) out=$2;; -n) n=$2;; esac; shift 2; done
echo run >> "$0.runs"; k=1
set -- "$in"/*.png; count=$#
while [ $k -le $n ]; do
  at=$(((k-1)*count/n)); i=0
  for file in "$@"; do [ $i -ne $at ] || cp "$file" "$out/$(printf %06d.png $k)"; i=$((i+1)); done
  k=$((k+1))
done
)sh";

TEST_P(StageOne, InterpolationMakesDatasetsBesideThePaintedOne) {
  write_frames(2);
  const std::string program = folder / "bin/rife-ncnn-vulkan";
  fs::create_directory(folder / "bin");
  test::write_text(program, kFakeInterpolation);
  chmod(program.c_str(), 0755);
  const test::WithEnvironment path("PATH", (folder / "bin").string() + ":" + std::getenv("PATH"));
  const auto runs = [&] {
    const std::string text = fs::exists(program + ".runs") ? test::read_text(program + ".runs") : "";
    return std::count(text.begin(), text.end(), '\n');
  };
  MultiviewJob job = multiview_job("run");
  EXPECT_EQ(multiview(*backend, job, silent).dataset, folder / "run/multiviews");
  // What is painted is not painted again.
  const auto painted = fs::last_write_time(folder / "run/multiviews/transforms_train.json");
  job.options.interpolate_views = 2;
  const MultiviewResult views = multiview(*backend, job, silent);
  EXPECT_FALSE(views.already_done);
  EXPECT_EQ(views.dataset, folder / "run/multiviews_views_x2");
  EXPECT_EQ(Dataset(views.dataset).read_split("train").frames.size(), 2u * 7u);
  EXPECT_EQ(fs::last_write_time(folder / "run/multiviews/transforms_train.json"), painted);
  EXPECT_EQ(runs(), 2);
  EXPECT_TRUE(multiview(*backend, job, silent).already_done);
  EXPECT_EQ(runs(), 2);
  job.options.interpolate_times = 3;
  const MultiviewResult both = multiview(*backend, job, silent);
  EXPECT_EQ(both.dataset, folder / "run/multiviews_views_x2_times_x3");
  EXPECT_EQ(Dataset(both.dataset).read_split("train").frames.size(), 4u * 7u);
  EXPECT_EQ(runs(), 2 + 8);
  // Another orbit is another dataset.
  job.options.interpolation_orbit = OrbitEnd::open;
  EXPECT_ERROR(multiview(*backend, job, silent), "interpolation.orbit is \"open\"");
}

TEST_P(StageOne, InjectionChangesLaterFramesOnly) {
  write_frames(2);
  multiview(*backend, multiview_job("with"), silent);
  MultiviewJob without = multiview_job("without");
  without.options.injection = false;
  multiview(*backend, without, silent);
  EXPECT_EQ(bytes_of(folder / "with/multiviews/000000"), bytes_of(folder / "without/multiviews/000000"));
  EXPECT_NE(bytes_of(folder / "with/multiviews/000001"), bytes_of(folder / "without/multiviews/000001"));
}

// Step-major order: what is kept for the injection does not grow with the steps.
TEST_P(StageOne, MemoryIsIndependentOfTheSteps) {
  write_frames(3);
  size_t peaks[2];
  for (int i = 0; i < 2; ++i) {
    const auto fresh = test::make_test_backend();
    MultiviewJob job = multiview_job("run" + std::to_string(i));
    job.options.views = 2;
    job.options.sampling.schedule.steps = i == 0 ? 2 : 20;
    multiview(*fresh, job, silent);
    peaks[i] = cpu::peak_allocated_bytes(*fresh);
  }
  EXPECT_NEAR(static_cast<double>(peaks[1]) / static_cast<double>(peaks[0]), 1, 0.01);
}

}  // namespace
}  // namespace eg4d
