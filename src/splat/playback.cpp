#include "splat/playback.h"

#include <algorithm>

#include "splat/evaluation.h"

namespace eg4d {
namespace {

constexpr size_t kBytesPerGaussian = 15 * sizeof(float);  // of Renderer::Deformed

}  // namespace

Playback::Playback(Backend& backend, const Gaussians& gaussians, const DeformationField* field,
                   const ReconstructOptions& options, size_t room)
    : gaussians_(gaussians),
      field_(field),
      options_(options),
      most_(std::min(room, backend.memory_use().available / 2) /
            (kBytesPerGaussian * static_cast<size_t>(std::max<int64_t>(gaussians.count(), 1)))),
      renderer_(backend, render_options(options)) {}

void Playback::turn_to(float time, bool keep) {
  if (!field_) time = 0;
  if (now_ != time) {
    const auto found = kept_.find(time);
    if (found != kept_.end()) {
      renderer_.show(gaussians_, found->second);
    } else {
      if (deformed_ && options_.deformation.color_time == ColorTime::reference) renderer_.keep_colors();
      renderer_.deform(gaussians_, field_, time, color_time(options_, time), false);
      deformed_ = true;
    }
    now_ = time;
  }
  if (keep && field_ && kept_.size() < most_ && !kept_.contains(time))
    kept_.emplace(time, renderer_.deformed().clone());
}

}  // namespace eg4d
