#pragma once

#include <map>
#include <memory>
#include <optional>
#include <utility>

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
  const AttentionInjection* injection() const { return call_ ? call_->injection() : nullptr; }  // or null

 private:
  std::shared_ptr<const VideoUNet::Conditioning> condition(const NetworkCall& call);

  Backend& backend_;
  VideoUNet& unet_;
  std::optional<AttentionInjection::Options> injection_;
  std::optional<VideoUNet::Call> call_;  // for the size met last
  Tensor input_;                         // f32
  // By video, and whether it is the conditional half alone.
  std::map<std::pair<int, bool>, std::shared_ptr<const VideoUNet::Conditioning>> conditionings_;
};

}  // namespace eg4d
