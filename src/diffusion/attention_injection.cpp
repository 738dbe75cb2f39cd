#include "diffusion/attention_injection.h"

#include <fmt/format.h>

#include "core/error.h"

namespace eg4d {

void AttentionInjection::begin(int step, bool first_video) {
  if (first_video)
    step_ = step;
  else if (step_ != step)
    throw Error(fmt::format("attention injection: the first video has not made step {} yet", step));
}

size_t AttentionInjection::bytes() const {
  size_t total = 0;
  for (const Tensor& layer : references_)
    if (layer.defined()) total += layer.bytes();
  return total;
}

Tensor AttentionInjection::normed_for_keys(Session& session, Role role, const NormLayer& norm, size_t layer,
                                           const Tensor& x, const Tensor& normed) {
  if (references_.size() <= layer) references_.resize(layer + 1);
  Tensor& reference = references_[layer];
  session.keep(reference, x.shape());
  if (role == Role::first_video) {
    copy(session, x, reference);
    return normed;
  }
  const Tensor mixed = session.empty(x.shape());
  session.run(MixedNorm{.norm = describe_layer_norm(norm, x, mixed),
                        .reference = reference.array(),
                        .strength = options_.strength,
                        .keep = options_.ema});
  return mixed;
}

}  // namespace eg4d
