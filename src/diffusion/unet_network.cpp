#include "diffusion/unet_network.h"

namespace eg4d {

UNetNetwork::UNetNetwork(Backend& backend, VideoUNet& unet,
                         std::optional<AttentionInjection::Options> injection)
    : backend_(backend), unet_(unet), injection_(injection) {}

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
  const VideoUNet::Call::Size size{rows, condition.frames, condition.height, condition.width};
  if (!call_ || !(call_->size() == size)) {
    call_.emplace(unet_, size, injection_);
    input_ = Tensor::empty(backend_, call_->input().shape());
  }
  input_.copy_from_host(call.input.data(), call.input.size_bytes());
  backend_.run(Convert{.count = input_.count(), .x = input_.array(), .y = call_->input().array()});
  call_->set_timestep(call.c_noise);
  call_->run(*conditioning, call.step, call.video == 0);
  backend_.copy_to_host(prediction.data(), call_->prediction().raw(), prediction.size_bytes());
}

}  // namespace eg4d
