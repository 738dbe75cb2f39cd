#include "core/element_conversion.h"

#include <cstdint>
#include <cstring>

#include "core/half.h"
#include "core/threads.h"

namespace eg4d {
namespace {

constexpr int64_t kGrain = 1 << 18;

template <class Stored, class Convert>
void convert_all(const std::byte* data, int64_t count, float* to, Convert convert) {
  parallel_for(count, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      Stored stored;
      std::memcpy(&stored, data + static_cast<size_t>(i) * sizeof(Stored), sizeof(Stored));
      to[i] = convert(stored);
    }
  });
}

}  // namespace

void to_floats(DType type, const std::byte* data, int64_t count, float* to) {
  auto cast = [](auto stored) { return static_cast<float>(stored); };
  switch (type) {
    case DType::f32:
      return convert_all<float>(data, count, to, cast);
    case DType::f64:
      return convert_all<double>(data, count, to, cast);
    case DType::f16:
      return convert_all<uint16_t>(data, count, to, half_to_float);
    case DType::bf16:
      return convert_all<uint16_t>(data, count, to, bfloat16_to_float);
    case DType::i64:
      return convert_all<int64_t>(data, count, to, cast);
    case DType::i32:
      return convert_all<int32_t>(data, count, to, cast);
    case DType::u8:
      return convert_all<uint8_t>(data, count, to, cast);
    case DType::boolean:
      return convert_all<uint8_t>(data, count, to, [](uint8_t b) { return b ? 1.f : 0.f; });
  }
}

std::vector<float> floats_from(DType type, const std::byte* data, size_t count) {
  std::vector<float> values(count);
  to_floats(type, data, static_cast<int64_t>(count), values.data());
  return values;
}

}  // namespace eg4d
