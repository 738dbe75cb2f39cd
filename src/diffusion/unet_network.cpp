#include "diffusion/unet_network.h"

namespace eg4d {

UNetNetwork::UNetNetwork(Backend& backend, VideoUNet& unet,
                         std::optional<AttentionInjection::Options> injection)
    : backend_(backend), unet_(unet) {
  if (injection) injection_.emplace(backend, *injection);
}

void UNetNetwork::operator()(const NetworkCall& call, std::span<float> prediction) {
  const VideoCondition& condition = *call.condition;
  const int64_t rows = 2 * condition.frames;
  auto& conditioning = conditionings_[call.video];
  if (!conditioning) {
    const int64_t context_width = static_cast<int64_t>(condition.context.size()) / rows;
    const int64_t vector_width = static_cast<int64_t>(condition.vector.size()) / rows;
    conditioning = unet_.condition(Tensor::from_host(backend_, {rows, 1, context_width}, condition.context),
                                   Tensor::from_host(backend_, {rows, vector_width}, condition.vector),
                                   condition.frames);
  }
  if (injection_) injection_->begin(call.step, call.video == 0);
  const Shape shape = {rows, condition.height, condition.width, 2 * kLatentChannels};
  const Tensor input = Tensor::from_host(backend_, shape, call.input);
  const float timestep = call.c_noise;
  const Tensor output = unet_.forward(input, {&timestep, 1}, *conditioning, injection());
  backend_.copy_to_host(prediction.data(), output.raw(), prediction.size_bytes());
}

void UNetNetwork::forget(int step) {
  if (injection_) injection_->forget(step);
}

}  // namespace eg4d
