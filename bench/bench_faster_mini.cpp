// What the options that are faster than exact cost in quality: the mini models' pictures of held-out
// creatures against the exact ones (f32, every step whole), and seconds of denoising: of all
// threads together on the processor.
//
//   bench_faster_mini [device = cpu] [creatures = 3] [folder with mini/ = the program's own]
//
// SVD-mini's clips, and SV3D-mini's orbits of four consecutive moments with attention injection; with the few
// steps that the mini models take, and with as many as the published ones. On a GPU also f16 and fp8.

#include <fmt/format.h>

#include <cmath>
#include <functional>

#include "backend/backend.h"
#include "diffusion/video_networks.h"
#include "heldout.h"
#include "measure.h"
#include "models/model_store.h"
#include "pipeline/animate.h"
#include "pipeline/multiview.h"
#include "support/places.h"
#include "support/temporary_folder.h"

namespace eg4d::bench {
namespace {

// On a shared machine, what other programs take does not count.
double process_seconds() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

// Adds up what passes between the beginning of the denoising and that of what follows.
class DenoisingTime : public Progress {
 public:
  explicit DenoisingTime(bool of_the_processor) : clock_(of_the_processor ? process_seconds : wall_seconds) {}
  void begin(int64_t, const std::string& label, int64_t) override {
    if (denoising_) seconds += clock_() - start_;
    denoising_ = label == "denoising";
    start_ = clock_();
  }
  double seconds = 0;

 private:
  double (*clock_)();
  bool denoising_ = false;
  double start_ = 0;
};

struct Variant {
  std::string name;
  std::function<void(SamplingOptions&)> change;
};

std::vector<Variant> variants(const Backend& backend) {
  std::vector<Variant> all = {{"exact", [](SamplingOptions&) {}}};
  for (const int interval : {2, 3, 5})
    for (const int depth : {1, 2})
      all.push_back(
          {fmt::format("--cache {} --cache-depth {}", interval, depth),
           [=](SamplingOptions& options) { options.cache = {.interval = interval, .depth = depth}; }});
  if (backend.name().starts_with("cpu")) return all;
  const auto half = [](SamplingOptions& options) { options.precision = NetworkPrecision::f16; };
  all.push_back({"--precision f16", half});
  all.push_back({"--precision f16 --cache 3", [=](SamplingOptions& options) {
                   half(options);
                   options.cache.interval = 3;
                 }});
  if (backend.has_fp8())
    all.push_back({"--precision f16 --feed-forward fp8", [=](SamplingOptions& options) {
                     half(options);
                     options.feed_forward = FeedForwardProducts::fp8;
                   }});
  return all;
}

using Row = HeldOut::Row;

Row paint(Backend& backend, VideoNetworks& networks, PaintJob job, DenoisingTime& time) {
  const test::TemporaryFolder state;
  job.state_folder = state.path();
  Row pictures(job.inputs.size() * static_cast<size_t>(job.frames));
  const PictureSink sink{[](int, int) { return false; },
                         [&](int video, int frame, const Picture& picture) {
                           pictures[static_cast<size_t>(video * job.frames + frame)] = picture;
                         }};
  paint_videos(backend, networks, job, sink, time);
  return pictures;
}

double psnr(const Row& ours, const Row& exact) {
  double sum = 0;
  size_t count = 0;
  for (size_t i = 0; i < exact.size(); ++i) {
    double squares = 0;
    for (size_t j = 0; j < exact[i].data.size(); ++j) {
      const double difference = int{ours[i].data[j]} - int{exact[i].data[j]};
      squares += difference * difference;
    }
    if (squares == 0) continue;  // the input picture itself, or the same
    sum += 10 * std::log10(255.0 * 255.0 * static_cast<double>(exact[i].data.size()) / squares);
    ++count;
  }
  return count == 0 ? INFINITY : sum / static_cast<double>(count);
}

void compare(Backend& backend, const std::string& title,
             const std::function<Row(const Variant&, DenoisingTime&)>& painted) {
  fmt::print("\n{}\n\n", title);
  const Table table({"", "PSNR to exact", "seconds of denoising"});
  Row exact;
  for (const Variant& variant : variants(backend)) {
    DenoisingTime time(backend.name().starts_with("cpu"));
    const Row pictures = painted(variant, time);
    if (exact.empty()) exact = pictures;
    const double decibels = psnr(pictures, exact);
    table.row({variant.name, std::isinf(decibels) ? "the same" : fmt::format("{:.2f} dB", decibels),
               fmt::format("{:.2f}", time.seconds)});
    std::fflush(stdout);
  }
}

template <class Options>
void apply_preset(Options& options, const PresetTexts& presets) {
  ConfigSchema schema;
  options.bind(schema);
  schema.apply_preset("mini", presets);
}

void run(const std::string& device, size_t creatures, const std::string& folder) {
  const std::unique_ptr<Backend> backend = make_backend(device);
  fmt::print("{}\n", backend->name());
  const HeldOut data = read_held_out(test::examples() / "heldout", creatures);
  VideoNetworks animator(*backend, require_model("svd_mini", folder).path, VideoNetworks::Keep::all),
      painter(*backend, require_model("sv3d_mini", folder).path, VideoNetworks::Keep::all);
  for (const int steps : {0, 25}) {
    AnimateOptions options;
    apply_preset(options, animate_presets());
    options.sampling.precision = NetworkPrecision::f32;
    if (steps > 0) options.sampling.schedule.steps = steps;
    compare(
        *backend,
        fmt::format("SVD-mini: {} clips, {} steps", data.clips.size(), options.sampling.schedule.steps),
        [&](const Variant& variant, DenoisingTime& time) {
          AnimateOptions changed = options;
          variant.change(changed.sampling);
          Row all;
          for (const Row& clip : data.clips)
            for (Picture& picture : paint(*backend, animator, video_painting(changed, clip.front()), time))
              all.push_back(std::move(picture));
          return all;
        });
  }
  for (const int steps : {0, 50}) {
    MultiviewOptions options;
    apply_preset(options, multiview_presets());
    options.sampling.precision = NetworkPrecision::f32;
    if (steps > 0) options.sampling.schedule.steps = steps;
    constexpr size_t kMoments = 4;
    const HeldOut::Orbit& orbit = data.orbits.front();
    options.elevation = orbit.elevation;
    std::vector<Picture> inputs;
    for (size_t i = 0; i < kMoments && i < orbit.moments.size(); ++i)
      inputs.push_back(orbit.moments[i].back());
    compare(*backend,
            fmt::format("SV3D-mini: {} orbits with injection, {} steps", inputs.size(),
                        options.sampling.schedule.steps),
            [&](const Variant& variant, DenoisingTime& time) {
              MultiviewOptions changed = options;
              variant.change(changed.sampling);
              return paint(*backend, painter, views_painting(painter.checkpoint().kind(), changed, inputs),
                           time);
            });
  }
}

}  // namespace
}  // namespace eg4d::bench

int main(int argc, char** argv) {
  const auto argument = [&](int i, const char* otherwise) {
    return std::string(argc > i ? argv[i] : otherwise);
  };
  eg4d::bench::run(argument(1, "cpu"), std::stoul(argument(2, "3")), argument(3, ""));
}
