#pragma once

#include <optional>
#include <vector>

#include "diffusion/video_call.h"
#include "diffusion/video_condition.h"
#include "diffusion/video_unet.h"

namespace eg4d {

// The UNet for a sampler: one prepared call that serves all videos, whose conditioning is copied in before
// each run.
class UNetVideoCall final : public VideoCall {
 public:
  // videos: what condition() made of each. The network must outlive it.
  UNetVideoCall(VideoUNet& network, const VideoUNet::Call::Size& size,
                const std::optional<AttentionInjection::Options>& injection,
                std::vector<std::shared_ptr<const VideoUNet::Conditioning>> videos,
                const StepCache& cache = {})
      : call_(network, size, injection, cache), videos_(std::move(videos)) {}

  // For videos of `frames` frames; their conditions must be alike in rows and size.
  UNetVideoCall(VideoUNet& network, int64_t frames, const std::vector<VideoCondition>& conditions,
                const std::optional<AttentionInjection::Options>& injection = {},
                const StepCache& cache = {});

  const Tensor& input() override { return call_.input(); }
  const Tensor& sinusoids() override { return call_.sinusoids(); }
  const Tensor& prediction() override { return call_.prediction(); }
  void run(int step, int video) override {
    call_.run(*videos_.at(static_cast<size_t>(video)), step, video == 0);
  }
  int steps_together() const override { return call_.cache().interval; }
  const AttentionInjection* injection() const { return call_.injection(); }

 private:
  VideoUNet::Call call_;
  std::vector<std::shared_ptr<const VideoUNet::Conditioning>> videos_;
};

}  // namespace eg4d
