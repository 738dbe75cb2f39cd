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

Tensor AttentionInjection::normed_for_keys(Session& session, const NormLayer& norm, size_t layer,
                                           const Tensor& x, const Tensor& normed) {
  if (recording_) {
    if (session.planning()) return normed;
    std::vector<Tensor>& references = references_.at(step_);
    if (references.size() <= layer) references.resize(layer + 1);
    Tensor& reference = references[layer];
    if (!reference.defined() || reference.shape() != x.shape() || reference.dtype() != x.dtype())
      reference = Tensor::empty(*backend_, x.shape(), x.dtype());
    session.run(Convert{.count = x.count(), .x = x.array(), .y = reference.array()});
    return normed;
  }
  const Tensor mixed = session.empty(x.shape());
  if (session.planning()) return mixed;
  const std::vector<Tensor>& references = references_.at(step_);
  if (layer >= references.size() || references[layer].shape() != x.shape())
    throw Error("attention injection: the videos differ in size or number of frames");
  session.run(MixedNorm{.norm = describe_layer_norm(norm, x, mixed),
                        .reference = references[layer].array(),
                        .strength = options_.strength,
                        .keep = options_.ema});
  return mixed;
}

}  // namespace eg4d
