#include "support/reference_mlp.h"

#include <cmath>

namespace eg4d::test {
namespace {

template <class T>
std::vector<T> linear(const ReferenceLayer<T>& layer, const std::vector<T>& x) {
  const size_t rows = x.size() / static_cast<size_t>(layer.in);
  std::vector<T> y(rows * static_cast<size_t>(layer.out));
  for (size_t row = 0; row < rows; ++row)
    for (int o = 0; o < layer.out; ++o) {
      T sum = layer.bias[o];
      for (int i = 0; i < layer.in; ++i) sum += layer.weight[o * layer.in + i] * x[row * layer.in + i];
      y[row * layer.out + o] = sum;
    }
  return y;
}

template <class T>
std::vector<T> relu(std::vector<T> x) {
  for (T& v : x) v = v > 0 ? v : 0;
  return x;
}

template <class T>
std::vector<T> relu_backward(const std::vector<T>& x, std::vector<T> d_y) {
  for (size_t i = 0; i < x.size(); ++i)
    if (!(x[i] > 0)) d_y[i] = 0;
  return d_y;
}

// Adds to the layer's gradients, returns the input's.
template <class T>
std::vector<T> linear_backward(const ReferenceLayer<T>& layer, const std::vector<T>& x,
                               const std::vector<T>& d_y, ReferenceLayer<T>& d_layer) {
  const size_t rows = x.size() / static_cast<size_t>(layer.in);
  std::vector<T> d_x(x.size());
  for (size_t row = 0; row < rows; ++row)
    for (int o = 0; o < layer.out; ++o) {
      const T d = d_y[row * layer.out + o];
      d_layer.bias[o] += d;
      for (int i = 0; i < layer.in; ++i) {
        d_layer.weight[o * layer.in + i] += d * x[row * layer.in + i];
        d_x[row * layer.in + i] += d * layer.weight[o * layer.in + i];
      }
    }
  return d_x;
}

template <class T>
ReferenceLayer<T> zeros_like(const ReferenceLayer<T>& layer) {
  return {layer.in, layer.out, std::vector<T>(layer.weight.size()), std::vector<T>(layer.bias.size())};
}

// Values before every ReLU of the trunk; back() is the trunk's output.
template <class T>
std::vector<std::vector<T>> trunk_values(const ReferenceMlp<T>& mlp, const std::vector<T>& features) {
  std::vector<std::vector<T>> values;
  for (const ReferenceLayer<T>& layer : mlp.trunk)
    values.push_back(linear(layer, values.empty() ? features : relu(values.back())));
  return values;
}

template <class T>
T sum(const std::vector<T>& canonical, const std::vector<T>& delta, size_t i) {
  return delta.empty() ? canonical[i] : canonical[i] + delta[i];
}

}  // namespace

template <class T>
std::vector<std::vector<T>> reference_mlp(const ReferenceMlp<T>& mlp, const std::vector<T>& features) {
  const std::vector<T> shared = relu(trunk_values(mlp, features).back());
  std::vector<std::vector<T>> outputs;
  for (const auto& head : mlp.heads) outputs.push_back(linear(head.last, relu(linear(head.hidden, shared))));
  return outputs;
}

template <class T>
MlpGradients<T> reference_mlp_backward(const ReferenceMlp<T>& mlp, const std::vector<T>& features,
                                       const std::vector<std::vector<T>>& d_outputs) {
  MlpGradients<T> d;
  for (const auto& layer : mlp.trunk) d.parameters.trunk.push_back(zeros_like(layer));
  for (const auto& head : mlp.heads)
    d.parameters.heads.push_back({zeros_like(head.hidden), zeros_like(head.last)});
  const std::vector<std::vector<T>> values = trunk_values(mlp, features);
  const std::vector<T> shared = relu(values.back());
  std::vector<T> d_shared(shared.size());
  for (size_t h = 0; h < mlp.heads.size(); ++h) {
    if (d_outputs[h].empty()) continue;
    const auto& head = mlp.heads[h];
    const std::vector<T> hidden = linear(head.hidden, shared);
    const std::vector<T> d_hidden = relu_backward(
        hidden, linear_backward(head.last, relu(hidden), d_outputs[h], d.parameters.heads[h].last));
    const std::vector<T> part = linear_backward(head.hidden, shared, d_hidden, d.parameters.heads[h].hidden);
    for (size_t i = 0; i < part.size(); ++i) d_shared[i] += part[i];
  }
  std::vector<T> d_y = d_shared;
  for (size_t i = mlp.trunk.size(); i-- > 0;) {
    d_y = relu_backward(values[i], d_y);
    d_y = linear_backward(mlp.trunk[i], i > 0 ? relu(values[i - 1]) : features, d_y, d.parameters.trunk[i]);
  }
  d.features = d_y;
  return d;
}

template <class T>
ReferenceActivations<T> reference_activations(const RawGaussians<T>& raw, bool flat) {
  const size_t count = raw.opacity_logits.size();
  ReferenceActivations<T> out;
  for (size_t i = 0; i < count; ++i) {
    T norm = 0;
    for (size_t k = 0; k < 4; ++k)
      norm += std::pow(sum(raw.quaternions, raw.delta_quaternions, i * 4 + k), 2);
    for (size_t k = 0; k < 4; ++k)
      out.rotations.push_back(sum(raw.quaternions, raw.delta_quaternions, i * 4 + k) / std::sqrt(norm));
    for (size_t k = 0; k < 3; ++k) {
      out.means.push_back(sum(raw.positions, raw.delta_positions, i * 3 + k));
      out.scales.push_back(flat && k == 2 ? 0
                                          : std::exp(sum(raw.log_scales, raw.delta_log_scales, i * 3 + k)));
    }
    out.opacities.push_back(1 / (1 + std::exp(-sum(raw.opacity_logits, raw.delta_opacities, i))));
    if (raw.raw_gain.empty()) continue;
    out.gain_bias.push_back(raw.raw_gain[i] > 0 ? raw.raw_gain[i] : std::exp(raw.raw_gain[i]) - 1);
    for (size_t k = 0; k < 3; ++k) out.gain_bias.push_back(raw.raw_bias[i * 3 + k]);
  }
  return out;
}

template <class T>
RawGaussians<T> reference_activations_backward(const RawGaussians<T>& raw, bool flat,
                                               const ReferenceActivations<T>& d) {
  const ReferenceActivations<T> out = reference_activations(raw, flat);
  RawGaussians<T> gradient;
  gradient.positions = d.means;
  for (size_t i = 0; i < out.scales.size(); ++i) gradient.log_scales.push_back(d.scales[i] * out.scales[i]);
  for (size_t i = 0; i < out.opacities.size(); ++i) {
    T norm = 0, dot = 0;
    for (size_t k = i * 4; k < i * 4 + 4; ++k) {
      norm += std::pow(sum(raw.quaternions, raw.delta_quaternions, k), 2);
      dot += out.rotations[k] * d.rotations[k];
    }
    for (size_t k = i * 4; k < i * 4 + 4; ++k)
      gradient.quaternions.push_back((d.rotations[k] - out.rotations[k] * dot) / std::sqrt(norm));
    gradient.opacity_logits.push_back(d.opacities[i] * out.opacities[i] * (1 - out.opacities[i]));
    if (raw.raw_gain.empty()) continue;
    gradient.raw_gain.push_back(d.gain_bias[i * 4] * (raw.raw_gain[i] > 0 ? 1 : std::exp(raw.raw_gain[i])));
    for (size_t k = 1; k < 4; ++k) gradient.raw_bias.push_back(d.gain_bias[i * 4 + k]);
  }
  return gradient;
}

#define EG4D_INSTANTIATE(T)                                                                          \
  template std::vector<std::vector<T>> reference_mlp(const ReferenceMlp<T>&, const std::vector<T>&); \
  template MlpGradients<T> reference_mlp_backward(const ReferenceMlp<T>&, const std::vector<T>&,     \
                                                  const std::vector<std::vector<T>>&);               \
  template ReferenceActivations<T> reference_activations(const RawGaussians<T>&, bool);              \
  template RawGaussians<T> reference_activations_backward(const RawGaussians<T>&, bool,              \
                                                          const ReferenceActivations<T>&);
EG4D_INSTANTIATE(float)
EG4D_INSTANTIATE(double)
#undef EG4D_INSTANTIATE

}  // namespace eg4d::test
