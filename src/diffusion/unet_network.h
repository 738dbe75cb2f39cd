#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "diffusion/video_call.h"
#include "diffusion/video_condition.h"
#include "diffusion/video_unet.h"

namespace eg4d {

// The UNet as the sampler calls it. Constants of a video's condition are computed at its first call and kept.
class UNetNetwork : public VideoCall {
 public:
  // The videos' conditions must be alike in rows and size. All must outlive it.
  UNetNetwork(Backend& backend, VideoUNet& unet, int frames, const std::vector<VideoCondition>& conditions,
              std::optional<AttentionInjection::Options> injection = {});

  const Tensor& input() override { return input_; }
  const Tensor& sinusoids() override { return sinusoids_; }
  const Tensor& prediction() override { return prediction_; }
  void run(int step, int video) override;

  // All videos have made the step: its references are needed no more.
  void forget(int step);
  AttentionInjection* injection() { return injection_ ? &*injection_ : nullptr; }

 private:
  VideoUNet& unet_;
  const int frames_;
  const std::vector<VideoCondition>& conditions_;
  std::optional<AttentionInjection> injection_;
  std::vector<std::shared_ptr<const VideoUNet::Conditioning>> conditionings_;  // of every video
  Tensor input_, sinusoids_, prediction_;
};

}  // namespace eg4d
