#include "pipeline/video_painter.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "core/interrupt.h"
#include "core/normal_stream.h"
#include "diffusion/edm_sampler.h"
#include "diffusion/unet_network.h"
#include "pipeline/painter_state.h"
#include "scene/input_picture.h"

namespace eg4d {
namespace {

void stop_if_asked(const std::string& done) {
  if (interrupt_requested())
    throw Interrupted(fmt::format("stopped; {}, and the same command continues from there", done));
}

class Painter {
 public:
  Painter(Backend& backend, VideoNetworks& networks, const PaintJob& job, const PictureSink& sink,
          Progress& progress)
      : backend_(backend), networks_(networks), job_(job), sink_(sink), progress_(progress) {}

  void run() {
    if (all_written()) return;
    condition();
    networks_.release();
    denoise();
    networks_.release();
    decode();
    networks_.release();
    remove_painter_state(job_.state_folder);
  }

 private:
  int videos() const { return static_cast<int>(job_.inputs.size()); }
  size_t latent_pixels() const { return static_cast<size_t>(conditions_.height) * conditions_.width; }
  bool all_written() const;
  void condition();
  void add_condition(ClipImageEncoder& clip, AutoencoderEncoder& encoder, const Picture& input,
                     const std::vector<float>& noise);
  void denoise();
  std::vector<VideoCondition> video_conditions() const;
  void decode();
  void decode_piece(AutoencoderDecoder& decoder, int video, int first, int count);

  Backend& backend_;
  VideoNetworks& networks_;
  const PaintJob& job_;
  const PictureSink& sink_;
  Progress& progress_;
  PictureConditions conditions_;
  LatentState state_;  // before the first step: unit noise
};

bool Painter::all_written() const {
  for (int video = 0; video < videos(); ++video)
    for (int frame = 0; frame < job_.frames; ++frame)
      if (!sink_.has(video, frame)) return false;
  return true;
}

void Painter::add_condition(ClipImageEncoder& clip, AutoencoderEncoder& encoder, const Picture& input,
                            const std::vector<float>& noise) {
  std::vector<float> pixels = to_model_range(input);
  conditions_.context.push_back(clip.embed(pixels, input.height, input.width));
  for (size_t i = 0; i < pixels.size(); ++i) pixels[i] += static_cast<float>(job_.cond_aug) * noise[i];
  const Tensor mode = encoder.mode(Tensor::from_host(backend_, {1, input.height, input.width, 3}, pixels));
  conditions_.height = static_cast<int>(mode.dim(1));
  conditions_.width = static_cast<int>(mode.dim(2));
  conditions_.concat.push_back(mode.to_host());
}

// Draws all noise and looks at the input pictures.
void Painter::condition() {
  const auto stream = make_normal_stream(job_.sampling.rng, job_.sampling.seed);
  const auto stored = load_conditions(job_.state_folder);
  const bool known = stored && stored->context.size() == job_.inputs.size();
  ClipImageEncoder* clip = nullptr;
  AutoencoderEncoder* encoder = nullptr;
  progress_.begin(videos(), "reading weights and conditions");
  if (known) {
    conditions_ = *stored;
  } else {
    clip = &networks_.image_encoder();
    encoder = &networks_.condition_encoder();
  }
  for (int video = 0; video < videos(); ++video) {
    const Picture& input = job_.inputs[static_cast<size_t>(video)];
    const auto noise = draw_channels_last(*stream, 1, 3, static_cast<size_t>(input.width) * input.height);
    if (!known) add_condition(*clip, *encoder, input, noise);
    auto latent =
        draw_channels_last(*stream, static_cast<size_t>(job_.frames), kLatentChannels, latent_pixels());
    state_.latents.push_back(job_.same_noise && video > 0 ? state_.latents.front() : std::move(latent));
    progress_.update(video + 1);
    stop_if_asked("nothing was made yet");
  }
  if (!known) save_conditions(job_.state_folder, conditions_);
}

std::vector<VideoCondition> Painter::video_conditions() const {
  std::vector<VideoCondition> all;
  for (int video = 0; video < videos(); ++video) {
    std::vector<float> context, concat;
    for (int frame = 0; frame < job_.frames; ++frame) {
      const auto& one_context = conditions_.context[static_cast<size_t>(video)];
      const auto& one_concat = conditions_.concat[static_cast<size_t>(video)];
      context.insert(context.end(), one_context.begin(), one_context.end());
      concat.insert(concat.end(), one_concat.begin(), one_concat.end());
    }
    all.push_back(with_unconditional_half(job_.frames, conditions_.height, conditions_.width, context, concat,
                                          job_.vector));
  }
  return all;
}

void Painter::denoise() {
  const size_t size = static_cast<size_t>(job_.frames) * latent_pixels() * kLatentChannels;
  const auto stored = load_latents(job_.state_folder, job_.inputs.size(), size);
  if (stored && stored->steps_done >= job_.sampling.schedule.steps) {
    state_ = *stored;
    return;
  }
  progress_.begin(1, "reading the UNet's weights");
  VideoUNet& unet = networks_.unet(job_.sampling.precision);
  UNetNetwork network(backend_, unet, job_.injection);
  const Guidance guidance{job_.guidance, job_.sampling.guidance_min, job_.sampling.guidance_max};
  EulerSampler sampler(job_.sampling.schedule, guidance_scales(guidance, job_.frames), std::ref(network));
  if (stored)
    state_ = *stored;
  else
    for (auto& latent : state_.latents) sampler.start(latent);

  const int64_t per_step = videos();
  progress_.begin(sampler.steps() * per_step, "denoising", state_.steps_done * per_step);
  const auto before_video = [&](int step, int video) {
    progress_.update(step * per_step + video, {{"step", step + 1.0}});
    stop_if_asked(fmt::format("{} of {} steps are kept", state_.steps_done, sampler.steps()));
  };
  const auto after_step = [&](int step) {
    state_.steps_done = step + 1;
    save_latents(job_.state_folder, state_);
    progress_.update((step + 1) * per_step, {{"step", step + 1.0}});
  };
  sampler.advance_step_major(state_.steps_done, video_conditions(), state_.latents,
                             {before_video, after_step});
}

void Painter::decode_piece(AutoencoderDecoder& decoder, int video, int first, int count) {
  const auto& latent = state_.latents[static_cast<size_t>(video)];
  const size_t per_frame = latent.size() / static_cast<size_t>(job_.frames);
  const std::span<const float> piece(latent.data() + static_cast<size_t>(first) * per_frame,
                                     static_cast<size_t>(count) * per_frame);
  const Shape shape = {count, conditions_.height, conditions_.width, kLatentChannels};
  const Tensor decoded = decoder.decode(Tensor::from_host(backend_, shape, piece), count);
  const std::vector<float> values = decoded.to_host();
  const size_t picture_size = values.size() / static_cast<size_t>(count);
  for (int i = 0; i < count; ++i) {
    const std::span<const float> pixels(values.data() + static_cast<size_t>(i) * picture_size, picture_size);
    sink_.write(video, first + i,
                from_model_range(pixels, static_cast<int>(decoded.dim(2)), static_cast<int>(decoded.dim(1)),
                                 job_.sampling.rounding));
  }
}

void Painter::decode() {
  progress_.begin(int64_t{videos()} * job_.frames, "decoding");
  AutoencoderDecoder& decoder = networks_.decoder();
  int64_t done = 0;
  for (int video = 0; video < videos(); ++video) {
    const int painted = job_.frames - (job_.last_is_input ? 1 : 0);
    if (job_.last_is_input) sink_.write(video, painted, job_.inputs[static_cast<size_t>(video)]);
    for (int first = 0; first < painted; first += job_.sampling.decode_frames) {
      stop_if_asked(fmt::format("{} of {} pictures are decoded", done, videos() * job_.frames));
      const int count = std::min(job_.sampling.decode_frames, painted - first);
      bool needed = false;
      for (int i = 0; i < count; ++i) needed = needed || !sink_.has(video, first + i);
      if (needed) decode_piece(decoder, video, first, count);
      done += count;
      progress_.update(done);
    }
  }
}

}  // namespace

void paint_videos(Backend& backend, VideoNetworks& networks, const PaintJob& job, const PictureSink& sink,
                  Progress& progress) {
  Painter(backend, networks, job, sink, progress).run();
  progress.end();
}

void tell_of_missing_pictures(const std::filesystem::path& folder, Progress& progress) {
  progress.message(fmt::format("'{}' lacks files that were there when it was finished: they are made again",
                               folder.string()));
}

}  // namespace eg4d
