#pragma once

// The deformation network and the activations of Gaussians as their definitions read, for any floating-point
// type.

#include <cstdint>
#include <vector>

namespace eg4d::test {

template <class T>
struct ReferenceLayer {
  int in = 0, out = 0;
  std::vector<T> weight, bias;  // [out,in], [out]
};
template <class T>
struct ReferenceMlp {
  struct Head {
    ReferenceLayer<T> hidden, last;
  };
  std::vector<ReferenceLayer<T>> trunk;  // ReLU between the layers
  std::vector<Head> heads;               // ReLU, hidden, ReLU, last on the trunk's output
};

// Outputs of the heads, each [N, last.out].
template <class T>
std::vector<std::vector<T>> reference_mlp(const ReferenceMlp<T>& mlp, const std::vector<T>& features);

template <class T>
struct MlpGradients {
  ReferenceMlp<T> parameters;
  std::vector<T> features;
};
// d_outputs: one [N, last.out] per head; an empty one counts as zero.
template <class T>
MlpGradients<T> reference_mlp_backward(const ReferenceMlp<T>& mlp, const std::vector<T>& features,
                                       const std::vector<std::vector<T>>& d_outputs);

// Raw parameters of N Gaussians with their deltas, as one flat structure for finite differences.
template <class T>
struct ReferenceActivations {
  std::vector<T> means, scales, rotations, opacities, gain_bias;
};
template <class T>
struct RawGaussians {
  std::vector<T> positions, log_scales, quaternions, opacity_logits;
  std::vector<T> delta_positions, delta_log_scales, delta_quaternions, delta_opacities;  // same sizes
  std::vector<T> raw_gain, raw_bias;
};
template <class T>
ReferenceActivations<T> reference_activations(const RawGaussians<T>& raw, bool flat);
// Gradients with respect to the raw parameters (those of the deltas are the same); delta vectors stay empty.
template <class T>
RawGaussians<T> reference_activations_backward(const RawGaussians<T>& raw, bool flat,
                                               const ReferenceActivations<T>& d);

}  // namespace eg4d::test
