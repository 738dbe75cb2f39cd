#include "pipeline/video_painter.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "core/error.h"
#include "core/interrupt.h"
#include "diffusion/edm_sampler.h"
#include "diffusion/picture_decoder.h"
#include "diffusion/unet_video_call.h"
#include "io/background_writer.h"
#include "picture/input_picture.h"
#include "pipeline/memory_message.h"
#include "pipeline/painter_state.h"
#include "pipeline/pictures.h"
#include "random/normal_stream.h"

namespace eg4d {
namespace {

// Latents are written after every step; the next one's wait until they are.
constexpr BackgroundWriter::Limits kLatentWriting{.threads = 1, .jobs = 1};

void stop_if_asked(const std::string& done) {
  if (interrupt_requested())
    throw Interrupted(fmt::format("stopped; {}, and the same command continues from there", done));
}

// The same once everything is written.
void stop_if_asked(BackgroundWriter& files, const std::string& done) {
  if (!interrupt_requested()) return;
  files.finish();
  stop_if_asked(done);
}

class Painter {
 public:
  Painter(Backend& backend, VideoNetworks& networks, const PaintJob& job, const PictureSink& sink,
          Progress& progress)
      : backend_(backend),
        networks_(networks),
        job_(job),
        sink_(sink),
        progress_(progress),
        precision_(precision_on(backend, job.sampling.precision)) {}

  void run() {
    if (all_written()) return;
    condition();
    networks_.release();
    denoise();
    tell_of_memory(backend_, progress_);
    networks_.release();
    decode();
    tell_of_memory(backend_, progress_);
    networks_.release();
    remove_painter_state(job_.state_folder);
  }

 private:
  int videos() const { return static_cast<int>(job_.inputs.size()); }
  int steps() const { return job_.sampling.schedule.steps; }
  size_t latent_pixels() const { return static_cast<size_t>(conditions_.height) * conditions_.width; }
  size_t latent_size() const {  // of a video
    return static_cast<size_t>(job_.frames) * latent_pixels() * kLatentChannels;
  }
  bool all_written() const;
  void condition();
  void add_condition(ClipImageEncoder& clip, AutoencoderEncoder& encoder, const Picture& input,
                     const std::vector<float>& noise);
  Tensor upload(std::span<const float> latents) const;
  LatentState download() const;
  VideoCondition video_condition(int video, bool both_halves) const;
  void denoise();
  void decode();
  void decode_piece(PictureDecoder& decoder, BackgroundWriter& files, int video, int first, int count);

  Backend& backend_;
  VideoNetworks& networks_;
  const PaintJob& job_;
  const PictureSink& sink_;
  Progress& progress_;
  const DType precision_;
  PictureConditions conditions_;
  int steps_done_ = 0;
  std::vector<Tensor> latents_;  // per video: [frames, height, width, 4]; before the first step: unit noise
  // Per video, where the sampler wants it: the unit noise between two steps.
  std::vector<std::vector<std::vector<float>>> step_noise_;
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
    clip = &networks_.image_encoder(precision_);
    encoder = &networks_.condition_encoder(precision_);
  }
  for (int video = 0; video < videos(); ++video) {
    const Picture& input = job_.inputs[static_cast<size_t>(video)];
    const auto noise = draw_channels_last(*stream, 1, 3, static_cast<size_t>(input.width) * input.height);
    if (!known) add_condition(*clip, *encoder, input, noise);
    const auto latent =
        draw_channels_last(*stream, static_cast<size_t>(job_.frames), kLatentChannels, latent_pixels());
    if (job_.same_noise && video > 0)
      latents_.push_back(latents_.front().clone());
    else
      latents_.push_back(upload(latent));
    auto& step_noise = step_noise_.emplace_back();
    for (int step = 1; job_.sampling.schedule.method == SamplingMethod::lcm && step < steps(); ++step)
      step_noise.push_back(
          draw_channels_last(*stream, static_cast<size_t>(job_.frames), kLatentChannels, latent_pixels()));
    if (job_.same_noise && video > 0) step_noise.clear();
    progress_.update(video + 1);
    stop_if_asked("nothing was made yet");
  }
  if (!known) save_conditions(job_.state_folder, conditions_);
}

// Of one video.
Tensor Painter::upload(std::span<const float> latents) const {
  const Shape shape = {job_.frames, conditions_.height, conditions_.width, kLatentChannels};
  return Tensor::from_host(backend_, shape, latents);
}

LatentState Painter::download() const {
  LatentState state{steps_done_, latents_.size(), {}};
  state.latents.resize(latents_.size() * latent_size());
  float* to = state.latents.data();
  for (const Tensor& latent : latents_) {
    backend_.copy_to_host(to, latent.raw(), latent.bytes());
    to += latent.count();
  }
  return state;
}

VideoCondition Painter::video_condition(int video, bool both_halves) const {
  const auto index = static_cast<size_t>(video);
  return eg4d::video_condition(backend_,
                               {.frames = job_.frames,
                                .height = conditions_.height,
                                .width = conditions_.width,
                                .context = conditions_.context[index],
                                .concat = conditions_.concat[index],
                                .vector = job_.vector},
                               both_halves);
}

void Painter::denoise() {
  const auto stored = load_latents(job_.state_folder, job_.inputs.size(), latent_size());
  if (stored) {
    steps_done_ = stored->steps_done;
    latents_.clear();
    for (int video = 0; video < videos(); ++video)
      latents_.push_back(upload(
          std::span(stored->latents).subspan(static_cast<size_t>(video) * latent_size(), latent_size())));
    if (steps_done_ >= steps()) return;
  }
  progress_.begin(1, "reading the UNet's weights");
  VideoUNet& unet = networks_.unet(precision_, job_.sampling.feed_forward);
  const std::vector<float> scales =
      guidance_scales({job_.guidance, job_.sampling.guidance_min, job_.sampling.guidance_max}, job_.frames);
  std::vector<VideoCondition> conditions;
  std::vector<Tensor> concats;
  for (int video = 0; video < videos(); ++video) {
    conditions.push_back(video_condition(video, needs_unconditional(scales)));
    concats.push_back(conditions.back().concat);
  }
  UNetVideoCall network(unet, job_.frames, conditions, job_.injection, job_.sampling.cache);
  EulerSampler sampler(backend_, job_.sampling.schedule, scales, network);
  if (!stored)
    for (const Tensor& latent : latents_) sampler.start(latent);

  BackgroundWriter files(kLatentWriting);
  const int64_t per_step = videos();
  int64_t done = steps_done_ * per_step;
  progress_.begin(sampler.steps() * per_step, "denoising", done);
  const auto before_video = [&](int step, int) {
    progress_.update(done++, {{"step", step + 1.0}});
    stop_if_asked(files, fmt::format("{} of {} steps are kept", steps_done_, sampler.steps()));
  };
  const auto after_step = [&](int step) {
    steps_done_ = step + 1;
    files.finish();
    const auto state = std::make_shared<const LatentState>(download());
    files.push(state->latents.size() * sizeof(float),
               [folder = job_.state_folder, state] { save_latents(folder, *state); });
    progress_.update((step + 1) * per_step, {{"step", step + 1.0}});
  };
  const auto noise = [&](int step, int video) {
    return upload(step_noise_[job_.same_noise ? 0 : static_cast<size_t>(video)][static_cast<size_t>(step)]);
  };
  sampler.advance_step_major(steps_done_, concats, latents_, {before_video, after_step, noise});
  files.finish();
}

void Painter::decode_piece(PictureDecoder& decoder, BackgroundWriter& files, int video, int first,
                           int count) {
  const Tensor& decoded = decoder.decode(latents_[static_cast<size_t>(video)].rows(first, count));
  const int height = static_cast<int>(decoded.dim(1)), width = static_cast<int>(decoded.dim(2));
  const int64_t size = decoded.count() / count;
  for (int i = 0; i < count; ++i) {
    auto pixels = std::make_shared<std::vector<float>>(static_cast<size_t>(size));
    backend_.copy_to_host(pixels->data(), decoded.data() + size * i, pixels->size() * sizeof(float));
    files.push(pixels->size() * sizeof(float), [this, video, frame = first + i, pixels, width, height] {
      sink_.write(video, frame, from_model_range(*pixels, width, height, job_.sampling.rounding));
    });
  }
}

void Painter::decode() {
  progress_.begin(int64_t{videos()} * job_.frames, "decoding");
  PictureDecoder decoder(backend_, precision_, [this](const NetworkType& type) -> AutoencoderDecoder& {
    return networks_.decoder(type);
  });
  BackgroundWriter files(picture_writing());
  int64_t done = 0;
  for (int video = 0; video < videos(); ++video) {
    const int painted = job_.frames - (job_.last_is_input ? 1 : 0);
    if (job_.last_is_input) {
      const Picture& input = job_.inputs[static_cast<size_t>(video)];
      files.push(input.data.size(), [this, video, painted, &input] { sink_.write(video, painted, input); });
    }
    for (int first = 0; first < painted; first += job_.sampling.decode_frames) {
      stop_if_asked(files, fmt::format("{} of {} pictures are decoded", done, videos() * job_.frames));
      const int count = std::min(job_.sampling.decode_frames, painted - first);
      bool needed = false;
      for (int i = 0; i < count; ++i) needed = needed || !sink_.has(video, first + i);
      if (needed) decode_piece(decoder, files, video, first, count);
      done += count;
      progress_.update(done);
    }
  }
  files.finish();
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
