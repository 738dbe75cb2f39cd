#include "pipeline/sampling_options.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"

namespace eg4d {
namespace {

// The latents are an eighth of the pictures, and the UNet halves them three times.
void check_side(int side, const std::string& section, const char* or_else) {
  constexpr int multiple = 64;
  if (side % multiple == 0) return;
  const int below = side / multiple * multiple;
  throw UsageError(fmt::format(
      "{}side is {}: the networks take multiples of {} pixels, such as {}{}", section, side, multiple,
      below == 0 ? std::to_string(multiple) : fmt::format("{} or {}", below, below + multiple), or_else));
}

void check_sampling(const SamplingOptions& sampling, const std::string& section) {
  if (sampling.schedule.method == SamplingMethod::lcm && sampling.schedule.steps > kDistilledLevels)
    throw UsageError(fmt::format("{}sampler.method lcm makes at most {} steps (4 to 8 are usual), not {}",
                                 section, kDistilledLevels, sampling.schedule.steps));
}

}  // namespace

void SamplingOptions::bind(ConfigSchema& s) {
  s.add("seed", seed, {0, 1e15}, "random seed; the same seed gives the same pictures");
  s.add("rng", rng,
        "random numbers: philox, or PyTorch's: torch-cpu, torch-cuda:GPU (a100, h100, 108x2048, …)");
  s.add("precision", precision, network_precision_names(),
        "of the networks; auto: f16 on a GPU, f32 on the processor, where bf16 is that of the UNet's weights "
        "and products (half the memory) and f16 is refused");
  s.add(
      "feed_forward", feed_forward, {{"same", FeedForwardProducts::same}, {"fp8", FeedForwardProducts::fp8}},
      "products of the UNet's feed-forward networks; fp8: 8 bits, for GPUs that have them, with f16 or bf16: "
      "faster, not the same");
  s.add("sampler.steps", schedule.steps, {1, 1000}, "denoising steps");
  s.add("sampler.sigma_min", schedule.sigma_min, {1e-6, 1e6}, "last noise level before 0");
  s.add("sampler.sigma_max", schedule.sigma_max, {1e-6, 1e6}, "first noise level");
  s.add("sampler.rho", schedule.rho, {0.1, 100}, "how the levels crowd towards the last");
  s.add("sampler.method", schedule.method, {{"euler", SamplingMethod::euler}, {"lcm", SamplingMethod::lcm}},
        "euler; lcm: for networks that were distilled to few steps (consistency models), at most 40");
  s.add("cache", cache.interval, {1, 1000},
        "every so many steps the whole UNet is computed, in between its outermost blocks alone: faster, not "
        "the same; 1: always the whole");
  s.add("cache_depth", cache.depth, {1, 100}, "output blocks that are computed in between");
  s.add("guidance.min", guidance_min, {0, 100}, "smallest classifier-free guidance scale over the frames");
  s.add("guidance.max", guidance_max, {0, 100}, "largest classifier-free guidance scale over the frames");
  s.add("decode_frames", decode_frames, {1, 1024},
        "frames decoded at a time: more need more memory, and SVD's temporal decoder then mixes them");
  s.add("rounding", rounding, {{"truncate", ByteRounding::truncate}, {"nearest", ByteRounding::nearest}},
        "how painted pictures become 8 bits; truncate: as published, half a step darker");
}

void AnimateOptions::bind(ConfigSchema& s) {
  sampling.bind(s);
  s.add("frames", frames, {1, 1024}, "frames of the video; SVD-XT was trained on 25, SVD on 14");
  s.add("side", side, {0, 4096},
        "resize the picture to side × side pixels; 0: keep its size, cut down to multiples of 64");
  s.add("motion.fps_id", motion.fps_id, {0, 1000}, "frame rate that the model is told");
  s.add("motion.bucket_id", motion.motion_bucket_id, {0, 1023}, "amount of motion that the model is told");
  s.add("motion.cond_aug", motion.cond_aug, {0, 10}, "noise on the conditioning picture");
  s.add("fps", fps, {0.1, 240}, "frame rate of video.mp4");
}

void check_options(const AnimateOptions& options, const std::string& section) {
  check_side(options.side, section, "; 0 keeps the picture's size");
  check_sampling(options.sampling, section);
}

const PresetTexts& animate_presets() {
  static const PresetTexts presets{
      {"paper", ""},
      {"svd", "frames = 14\nsampler.steps = 25\nguidance.min = 1.0\nguidance.max = 2.5\n"},
      {"lcm", "sampler.steps = 4\nsampler.method = \"lcm\"\nguidance.min = 1.0\nguidance.max = 1.0\n"},
      {"mini",
       "side = 128\nframes = 8\nsampler.steps = 8\nsampler.sigma_min = 0.01\nsampler.sigma_max = "
       "100.0\nsampler.rho = 5.0\nguidance.min = 1.0\nguidance.max = 1.5\nrounding = \"nearest\"\n"},
  };
  return presets;
}

void MultiviewOptions::bind(ConfigSchema& s) {
  bind_painting(s);
  bind_interpolation(s);
}

void MultiviewOptions::bind_painting(ConfigSchema& s) {
  sampling.bind(s);
  s.add("views", views, {2, 1024}, "views on the orbit; SV3D was trained on 21");
  s.add("side", side, {64, 4096}, "frames are resized to side × side pixels, a multiple of 64");
  s.add("elevation", elevation, {-90, 90}, "of the orbit, degrees; sv3d_p alone is told it");
  s.add("cond_aug", cond_aug, {0, 10}, "noise on the conditioning picture");
  s.add("keep_bg", keep_bg, "take the frames as they are; otherwise the object is cut out and put on white");
  s.add("matting", matting,
        "what cuts it out of frames without transparency: u2net, u2netp, isnet, or a file (.onnx, .pth)");
  s.add("alpha_matting", alpha_matting, "soft borders and hair are solved for; otherwise the network's word");
  s.add("recentre", recentre,
        {{"none", Recentre::none}, {"object", Recentre::object}, {"video", Recentre::video}},
        "what cut-outs are centred by: nothing, a box per frame, or one for the video");
  s.add("image_frame_ratio", image_frame_ratio, {0, 1},
        "share of the square that the picture, or that box, has; 0: as high as the picture");
  s.add("injection.enabled", injection,
        "attention injection: views of later frames are made consistent with those of the frames before");
  s.add("injection.strength", injection_options.strength, {0, 1},
        "share of the reference in keys and values");
  s.add("injection.ema", injection_options.ema,
        "the reference follows the frames; otherwise it stays that of the first frame");
  s.add(
      "same_noise", same_noise,
      "the views of all frames start from the same noise: steadier over time; as published: from their own");
  s.add("max_frames", max_frames, {1, 100000}, "longest video that is accepted");
  s.add("fps", fps, {0.1, 240}, "frame rate of the previews");
}

void MultiviewOptions::bind_interpolation(ConfigSchema& s) {
  s.add("interpolate_views", interpolate_views, {1, 16},
        "2 or more: also multiviews_views_xN, N times the views (rife-ncnn-vulkan)");
  s.add("interpolate_times", interpolate_times, {1, 16},
        "2 or more: also multiviews_times_xN, N steps from frame to frame");
  s.add("interpolation.model", interpolation_model, "rife-ncnn-vulkan's: a rife-v4 model");
  s.add(
      "interpolation.orbit", interpolation_orbit, {{"closed", OrbitEnd::closed}, {"open", OrbitEnd::open}},
      "closed: behind the last view comes the first; open: as published, the last N views all show the last "
      "one");
}

const PresetTexts& multiview_presets() {
  static const PresetTexts presets{
      {"paper", ""},
      {"mini",
       "side = 128\nsampler.steps = 8\nsampler.sigma_min = 0.01\nsampler.sigma_max = 100.0\nsampler.rho = "
       "5.0\nguidance.min = 1.0\nguidance.max = 1.0\nsame_noise = true\nrounding = \"nearest\"\n"}};
  return presets;
}

void check_options(const MultiviewOptions& options, const std::string& section) {
  check_side(options.side, section, "");
  check_sampling(options.sampling, section);
  if (std::max(options.interpolate_views, options.interpolate_times) > 1)
    require_interpolation(options.interpolation_model);
}

}  // namespace eg4d
