#include "diffusion/attention_injection.h"

#include <fmt/format.h>

#include "core/error.h"

namespace eg4d {

void AttentionInjection::begin(int step, bool first_video) {
  step_ = step;
  recording_ = first_video;
  if (first_video) {
    if (!references_.count(step)) references_[step] = std::move(spare_);
    spare_.clear();
  } else if (!references_.count(step)) {
    throw Error(fmt::format("attention injection: the first video has not made step {} yet", step));
  }
}

void AttentionInjection::forget(int step) {
  const auto found = references_.find(step);
  if (found == references_.end()) return;
  spare_ = std::move(found->second);
  references_.erase(found);
}

size_t AttentionInjection::bytes() const {
  size_t total = 0;
  for (const auto& [step, layers] : references_)
    for (const Tensor& layer : layers) total += layer.bytes();
  for (const Tensor& layer : spare_) total += layer.bytes();
  return total;
}

Tensor AttentionInjection::keys_and_values(Session& session, size_t layer, const Tensor& x) {
  if (session.planning()) return !recording_ && !options_.ema ? session.empty(x.shape()) : x;
  std::vector<Tensor>& references = references_.at(step_);
  if (recording_) {
    if (references.size() <= layer) references.resize(layer + 1);
    Tensor& reference = references[layer];
    if (!reference.defined() || reference.shape() != x.shape())
      reference = Tensor::empty(*backend_, x.shape());
    session.run(CopyRows{.rows = 1, .width = x.count(), .from = x.data(), .to = reference.data()});
    return x;
  }
  if (layer >= references.size() || references[layer].shape() != x.shape())
    throw Error("attention injection: the videos differ in size or number of frames");
  const Tensor& reference = references[layer];
  const Tensor mixed = options_.ema ? reference : session.empty(x.shape());
  session.run(ScaledSum{.count = x.count(),
                        .a = reference.data(),
                        .b = x.data(),
                        .a_scale = options_.strength,
                        .b_scale = 1 - options_.strength,
                        .y = mixed.data()});
  return mixed;
}

}  // namespace eg4d
