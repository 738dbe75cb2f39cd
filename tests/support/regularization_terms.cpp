#include "support/regularization_terms.h"

#include "support/device_value.h"

namespace eg4d::test {

std::vector<float> regularization_gradient(Backend& backend, const HexPlaneLayout& layout, const Tensor& grid,
                                           const RegularizationWeights& weights) {
  const auto context = backend.create_field_context({layout, {}});
  const Tensor parameter = grid.clone(), gradient = Tensor::zeros(backend, {layout.size()}),
               first = Tensor::zeros(backend, {layout.size()}),
               second = Tensor::zeros(backend, {layout.size()});
  const DeviceValue<AdamRate> rate(backend, {});
  HexPlaneAdam adam;
  adam.context = context.get();
  adam.adam = {.count = layout.size(),
               .parameter = parameter.data(),
               .gradient = gradient.data(),
               .first_moment = first.data(),
               .second_moment = second.data(),
               .rate = rate.data(),
               .beta1 = 0};  // the first moment becomes the gradient
  adam.plane_smoothness = static_cast<float>(weights.plane);
  adam.time_smoothness = static_cast<float>(weights.time);
  adam.time_l1 = static_cast<float>(weights.l1);
  backend.run(adam);
  return first.to_host();
}

std::vector<double> regularization_values(Backend& backend, const HexPlaneLayout& layout,
                                          const Tensor& grid) {
  const std::vector<float> texels = grid.to_host();
  // Euler: a function of second degree is half the product of its gradient and its argument. Shifting all
  // texels by 1 changes no second difference, and makes l1 a function of first degree.
  const auto value = [&](const RegularizationWeights& weights, double factor) {
    const std::vector<float> gradient = regularization_gradient(backend, layout, grid, weights);
    double sum = 0;
    for (size_t i = 0; i < texels.size(); ++i)
      sum += factor * gradient[i] * (static_cast<double>(texels[i]) - 1);
    return sum;
  };
  return {value({1, 0, 0}, 0.5), value({0, 1, 0}, 0.5), value({0, 0, 1}, 1)};
}

}  // namespace eg4d::test
