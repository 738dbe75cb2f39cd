#include "support/network_fixture.h"

#include "support/golden.h"
#include "support/hashed_weights.h"

namespace eg4d::test {
namespace {

// [outer,from,inner] → [outer,inner,from]
std::vector<float> swap_axes(const std::vector<float>& values, int64_t outer, int64_t from, int64_t inner) {
  std::vector<float> swapped(values.size());
  for (int64_t o = 0; o < outer; ++o)
    for (int64_t f = 0; f < from; ++f)
      for (int64_t i = 0; i < inner; ++i)
        swapped[static_cast<size_t>((o * inner + i) * from + f)] =
            values[static_cast<size_t>((o * from + f) * inner + i)];
  return swapped;
}

}  // namespace

WeightMap golden_weights(const std::string& fixture) {
  return fixture_weights(golden_folder() / fixture);
}

Tensor as_stored(Backend& backend, const SafetensorsFile& file, const std::string& name) {
  return Tensor::from_host<float>(backend, file.at(name).shape, file.floats(name));
}

Tensor channels_last(Backend& backend, const SafetensorsFile& file, const std::string& name) {
  const Shape& s = file.at(name).shape;
  return Tensor::from_host<float>(backend, {s.at(0), s.at(2), s.at(3), s.at(1)},
                                  swap_axes(file.floats(name), s[0], s[1], s[2] * s[3]));
}

std::vector<float> values_like(const Tensor& value, const Shape& shape) {
  std::vector<float> values = value.to_host();
  if (shape.size() != 4) return values;
  return swap_axes(values, shape[0], shape[2] * shape[3], shape[1]);
}

}  // namespace eg4d::test
