#include "diffusion/unet_network.h"

namespace eg4d {

UNetNetwork::UNetNetwork(Backend& backend, VideoUNet& unet, int frames,
                         const std::vector<VideoCondition>& conditions,
                         std::optional<AttentionInjection::Options> injection)
    : unet_(unet), frames_(frames), conditions_(conditions), conditionings_(conditions.size()) {
  if (injection) injection_.emplace(backend, *injection);
  const VideoCondition& first = conditions.at(0);
  const int64_t rows = first.vector.dim(0), height = first.concat.dim(1), width = first.concat.dim(2);
  input_ = Tensor::zeros(backend, {rows, height, width, unet.in_channels()});
  sinusoids_ = Tensor::zeros(backend, {rows, unet.sinusoid_width()});
  prediction_ = Tensor::zeros(backend, {rows, height, width, unet.out_channels()});
}

void UNetNetwork::run(int step, int video) {
  auto& conditioning = conditionings_.at(static_cast<size_t>(video));
  const VideoCondition& condition = conditions_[static_cast<size_t>(video)];
  if (!conditioning) conditioning = unet_.condition(condition.context, condition.vector, frames_);
  if (injection_) injection_->begin(step, video == 0);
  const Tensor output = unet_.forward_at(input_, sinusoids_, *conditioning, injection());
  output.backend().run(CopyBytes{prediction_.raw(), output.raw(), output.bytes()});
}

void UNetNetwork::forget(int step) {
  if (injection_) injection_->forget(step);
}

}  // namespace eg4d
