#include "backend/stored_weight.h"

#include "core/element_conversion.h"
#include "core/threads.h"

namespace eg4d {
namespace {

// In blocks of stored rows, which become columns: a converted copy of the whole would double the memory that
// loading takes.
void copy_transposed(const StoredWeight::Part& part, float* to) {
  constexpr int64_t kBlock = 16;
  parallel_for(part.columns, kBlock, [&](int64_t begin, int64_t end) {
    const std::byte* data = part.data + static_cast<size_t>(begin * part.rows) * size_of(part.type);
    const std::vector<float> block =
        floats_from(part.type, data, static_cast<size_t>((end - begin) * part.rows));
    for (int64_t row = 0; row < part.rows; ++row)
      for (int64_t column = begin; column < end; ++column)
        to[row * part.columns + column] = block[static_cast<size_t>((column - begin) * part.rows + row)];
  });
}

}  // namespace

int64_t StoredWeight::count() const {
  int64_t count = 0;
  for (const Part& part : parts) count += part.rows * part.columns;
  return count;
}

const float* StoredWeight::as_floats() const {
  if (parts.size() != 1 || scale != 1) return nullptr;
  const Part& part = parts[0];
  const bool aligned = reinterpret_cast<uintptr_t>(part.data) % alignof(float) == 0;
  return part.type == DType::f32 && !part.transposed && aligned ? reinterpret_cast<const float*>(part.data)
                                                                : nullptr;
}

void StoredWeight::copy_as_floats(float* to) const {
  for (const Part& part : parts) {
    const int64_t count = part.rows * part.columns;
    if (part.transposed)
      copy_transposed(part, to);
    else
      to_floats(part.type, part.data, count, to);
    if (scale != 1)
      for (int64_t i = 0; i < count; ++i) to[i] *= scale;
    to += count;
  }
}

}  // namespace eg4d
