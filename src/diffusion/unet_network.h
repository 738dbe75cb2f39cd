#pragma once

#include <map>
#include <memory>
#include <optional>

#include "diffusion/edm_sampler.h"
#include "diffusion/video_unet.h"

namespace eg4d {

// The UNet as the sampler calls it: host arrays in, host arrays out. Constants of a video's condition are
// computed at its first call and kept. With injection, video 0 leaves the references that the later ones use.
class UNetNetwork {
 public:
  // Both must outlive it.
  UNetNetwork(Backend& backend, VideoUNet& unet, std::optional<AttentionInjection::Options> injection = {});

  void operator()(const NetworkCall& call, std::span<float> prediction);
  // All videos have made the step: its references are needed no more.
  void forget(int step);
  AttentionInjection* injection() { return injection_ ? &*injection_ : nullptr; }

 private:
  Backend& backend_;
  VideoUNet& unet_;
  std::optional<AttentionInjection> injection_;
  std::map<int, std::shared_ptr<const VideoUNet::Conditioning>> conditionings_;
};

}  // namespace eg4d
