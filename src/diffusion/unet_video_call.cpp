#include "diffusion/unet_video_call.h"

namespace eg4d {
namespace {

VideoUNet::Call::Size size_of(const VideoCondition& condition, int64_t frames) {
  return {condition.vector.dim(0), frames, condition.concat.dim(1), condition.concat.dim(2)};
}

std::vector<std::shared_ptr<const VideoUNet::Conditioning>> conditionings(
    VideoUNet& network, int64_t frames, const std::vector<VideoCondition>& conditions) {
  std::vector<std::shared_ptr<const VideoUNet::Conditioning>> videos;
  for (const VideoCondition& condition : conditions)
    videos.push_back(network.condition(condition.context, condition.vector, frames));
  return videos;
}

}  // namespace

UNetVideoCall::UNetVideoCall(VideoUNet& network, int64_t frames,
                             const std::vector<VideoCondition>& conditions,
                             const std::optional<AttentionInjection::Options>& injection,
                             const StepCache& cache)
    : UNetVideoCall(network, size_of(conditions.at(0), frames), injection,
                    conditionings(network, frames, conditions), cache) {}

}  // namespace eg4d
