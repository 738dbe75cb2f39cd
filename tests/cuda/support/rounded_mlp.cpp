#include "cuda/support/rounded_mlp.h"

#include <algorithm>
#include <cmath>

namespace eg4d::test {
namespace {

using Values = std::vector<double>;
using Layer = ReferenceLayer<double>;

double rounded_to(double value, int bits, double (*integer)(double)) {
  if (value == 0 || !std::isfinite(value)) return value;
  int exponent = 0;
  const double fraction = std::frexp(value, &exponent);
  return std::ldexp(integer(std::ldexp(fraction, bits + 1)), exponent - bits - 1);
}

Values relu(Values x) {
  for (double& v : x) v = std::max(v, 0.0);
  return x;
}
Values masked(const Values& before_relu, Values d) {
  for (size_t i = 0; i < d.size(); ++i)
    if (before_relu[i] <= 0) d[i] = 0;
  return d;
}

// x and w already rounded.
Values linear(const Layer& layer, const Values& w, const Values& x) {
  const size_t in = static_cast<size_t>(layer.in), out = static_cast<size_t>(layer.out), rows = x.size() / in;
  Values y(rows * out);
  for (size_t row = 0; row < rows; ++row)
    for (size_t o = 0; o < out; ++o) {
      double sum = layer.bias[o];
      for (size_t i = 0; i < in; ++i) sum += w[o * in + i] * x[row * in + i];
      y[row * out + o] = sum;
    }
  return y;
}
Values input_gradient(const Layer& layer, const Values& w, const Values& d_y) {
  const size_t in = static_cast<size_t>(layer.in), out = static_cast<size_t>(layer.out),
               rows = d_y.size() / out;
  Values d_x(rows * in);
  for (size_t row = 0; row < rows; ++row)
    for (size_t o = 0; o < out; ++o)
      for (size_t i = 0; i < in; ++i) d_x[row * in + i] += d_y[row * out + o] * w[o * in + i];
  return d_x;
}
Layer weight_gradient(const Layer& layer, const Values& x, const Values& d_y, const Values& d_bias) {
  const size_t in = static_cast<size_t>(layer.in), out = static_cast<size_t>(layer.out),
               rows = d_y.size() / out;
  Layer d{layer.in, layer.out, Values(in * out), Values(out)};
  for (size_t row = 0; row < rows; ++row)
    for (size_t o = 0; o < out; ++o) {
      d.bias[o] += d_bias[row * out + o];
      for (size_t i = 0; i < in; ++i) d.weight[o * in + i] += d_y[row * out + o] * x[row * in + i];
    }
  return d;
}

}  // namespace

double unrounded(double value) {
  return value;
}
double round_to_tf32(double value) {
  return rounded_to(value, 10, [](double x) { return std::round(x); });
}
double round_to_bf16(double value) {
  return rounded_to(value, 7, [](double x) { return std::nearbyint(x); });
}

std::vector<double> RoundedMlp::margins(const ReferenceMlp<double>& mlp, const Values& features) const {
  const auto rounded = [this](Values values) {
    for (double& value : values) value = round(value);
    return values;
  };
  std::vector<double> nearest(features.size() / static_cast<size_t>(mlp.trunk.front().in), 1e9);
  const auto before_relu = [&](const Layer& layer, const Values& x) {
    Values y = linear(layer, rounded(layer.weight), x);
    for (size_t i = 0; i < y.size(); ++i) {
      double& row = nearest[i / static_cast<size_t>(layer.out)];
      row = std::min(row, std::abs(y[i]));
    }
    return y;
  };
  Values x = rounded(features);
  for (const Layer& layer : mlp.trunk) x = rounded(relu(before_relu(layer, x)));
  for (const auto& head : mlp.heads) before_relu(head.hidden, x);
  return nearest;
}

RoundedMlp::Result RoundedMlp::operator()(const ReferenceMlp<double>& mlp, const Values& features,
                                          const std::vector<Values>& d_outputs) const {
  const auto rounded = [this](Values values) {
    for (double& value : values) value = round(value);
    return values;
  };
  const auto rounded_last = [&](const Values& values) { return last_layers_too ? rounded(values) : values; };
  Result result;
  std::vector<Values> before_relu,
      inputs{rounded(features)};  // inputs: of the trunk's layers, and its output
  for (const Layer& layer : mlp.trunk) {
    before_relu.push_back(linear(layer, rounded(layer.weight), inputs.back()));
    inputs.push_back(rounded(relu(before_relu.back())));
  }
  const Values& shared = inputs.back();
  Values d_shared(shared.size());
  for (size_t h = 0; h < mlp.heads.size(); ++h) {
    const auto& head = mlp.heads[h];
    const Values before = linear(head.hidden, rounded(head.hidden.weight), shared), hidden = relu(before);
    result.outputs.push_back(linear(head.last, head.last.weight, hidden));
    const Values d_output = rounded_last(d_outputs[h]);
    const Layer d_last = weight_gradient(head.last, rounded_last(hidden), d_output, d_output);
    const Values d = masked(before, input_gradient(head.last, rounded_last(head.last.weight), d_output));
    const Values d_hidden = rounded(d);
    result.gradients.parameters.heads.push_back(
        {weight_gradient(head.hidden, shared, d_hidden, rounded_last(d)), d_last});
    const Values part = input_gradient(head.hidden, rounded(head.hidden.weight), d_hidden);
    for (size_t i = 0; i < part.size(); ++i) d_shared[i] += part[i];
  }
  result.gradients.parameters.trunk.resize(mlp.trunk.size());
  for (size_t i = mlp.trunk.size(); i-- > 0;) {
    const Layer& layer = mlp.trunk[i];
    const Values d = masked(before_relu[i], d_shared), d_y = rounded(d);
    result.gradients.parameters.trunk[i] = weight_gradient(layer, inputs[i], d_y, rounded_last(d));
    d_shared = input_gradient(layer, rounded(layer.weight), d_y);
  }
  result.gradients.features = d_shared;
  return result;
}

}  // namespace eg4d::test
