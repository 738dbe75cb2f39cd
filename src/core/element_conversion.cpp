#include "core/element_conversion.h"

#include <cstdint>
#include <cstring>

#include "core/half.h"

namespace eg4d {
namespace {

template <class Stored, class Convert>
void convert_all(std::vector<float>& values, const std::byte* data, Convert convert) {
  for (size_t i = 0; i < values.size(); ++i) {
    Stored stored;
    std::memcpy(&stored, data + i * sizeof(Stored), sizeof(Stored));
    values[i] = convert(stored);
  }
}

}  // namespace

std::vector<float> floats_from(DType type, const std::byte* data, size_t count) {
  std::vector<float> values(count);
  auto cast = [](auto stored) { return static_cast<float>(stored); };
  switch (type) {
    case DType::f32:
      if (count) std::memcpy(values.data(), data, count * sizeof(float));
      break;
    case DType::f64:
      convert_all<double>(values, data, cast);
      break;
    case DType::f16:
      convert_all<uint16_t>(values, data, half_to_float);
      break;
    case DType::bf16:
      convert_all<uint16_t>(values, data, bfloat16_to_float);
      break;
    case DType::i64:
      convert_all<int64_t>(values, data, cast);
      break;
    case DType::i32:
      convert_all<int32_t>(values, data, cast);
      break;
    case DType::u8:
      convert_all<uint8_t>(values, data, cast);
      break;
    case DType::boolean:
      convert_all<uint8_t>(values, data, [](uint8_t b) { return b ? 1.f : 0.f; });
      break;
  }
  return values;
}

}  // namespace eg4d
