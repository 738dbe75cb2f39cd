#pragma once

#include <map>
#include <optional>

#include "splat/renderer.h"

namespace eg4d {

// Shows a model at times that come again: what the field makes of a time is worked out once and kept (15
// floats per Gaussian), after which a frame costs no more than colours and rasterising.
class Playback {
 public:
  // A null field shows the canonical Gaussians at all times. `room`: bytes of device memory that kept times
  // may take, where the device has twice as much left. The arguments must outlive this.
  Playback(Backend& backend, const Gaussians& gaussians, const DeformationField* field,
           const ReconstructOptions& options, size_t room = kRoom);

  // What render() shows from now on: the model at a time in [0,1]. With `keep` it is kept, where there is
  // room.
  void turn_to(float time, bool keep);
  // With the renderer's own row, or one in device memory.
  const Renderer::View& render(const Camera& camera) { return renderer_.render(camera); }
  const Renderer::View& render(int width, int height, const IterationInputs* row) {
    return renderer_.render(width, height, row);
  }
  // A kept time will not come again.
  void forget(float time) { kept_.erase(time); }

  size_t kept() const { return kept_.size(); }
  Renderer& renderer() { return renderer_; }

  static constexpr size_t kRoom = size_t{1} << 30;

 private:
  const Gaussians& gaussians_;
  const DeformationField* const field_;
  const ReconstructOptions& options_;
  const size_t most_;  // times to keep
  Renderer renderer_;
  std::optional<float> now_;
  bool deformed_ = false;  // some time
  std::map<float, Renderer::Deformed> kept_;
};

}  // namespace eg4d
