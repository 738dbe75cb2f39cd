#include "diffusion/unet_network.h"

namespace eg4d {

UNetNetwork::UNetNetwork(Backend& backend, VideoUNet& unet,
                         std::optional<AttentionInjection::Options> injection)
    : backend_(backend), unet_(unet) {
  if (injection) injection_.emplace(backend, *injection);
}

std::shared_ptr<const VideoUNet::Conditioning> UNetNetwork::condition(const NetworkCall& call) {
  const VideoCondition& condition = *call.condition;
  const int64_t halves = call.conditional_only ? 1 : 2, rows = halves * condition.frames;
  const auto last_rows = [&](const std::vector<float>& both) {
    return std::span<const float>(both).last(both.size() / 2 * static_cast<size_t>(halves));
  };
  const std::span<const float> context = last_rows(condition.context), vector = last_rows(condition.vector);
  return unet_.condition(
      Tensor::from_host(backend_, {rows, 1, static_cast<int64_t>(context.size()) / rows}, context),
      Tensor::from_host(backend_, {rows, static_cast<int64_t>(vector.size()) / rows}, vector),
      condition.frames);
}

void UNetNetwork::operator()(const NetworkCall& call, std::span<float> prediction) {
  const VideoCondition& condition = *call.condition;
  const int64_t rows = (call.conditional_only ? 1 : 2) * condition.frames;
  auto& conditioning = conditionings_[{call.video, call.conditional_only}];
  if (!conditioning) conditioning = this->condition(call);
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
