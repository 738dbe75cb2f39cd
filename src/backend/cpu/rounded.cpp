#include "backend/cpu/rounded.h"

#include <algorithm>
#include <deque>

#include "backend/operation_arrays.h"
#include "core/element_conversion.h"
#include "core/half.h"
#include "core/threads.h"

namespace eg4d::cpu {
namespace {

constexpr int64_t kGrain = 1 << 16;

void widen(const void* from, DType type, int64_t count, float* to) {
  const auto* bytes = static_cast<const std::byte*>(from);
  const auto size = static_cast<int64_t>(size_of(type));
  parallel_for(count, kGrain, [&](int64_t begin, int64_t end) {
    to_floats(type, bytes + begin * size, end - begin, to + begin);
  });
}

void round_to(const float* from, DType type, int64_t count, void* to) {
  auto* values = static_cast<uint16_t*>(to);
  parallel_for(count, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      values[i] = type == DType::f16 ? float_to_half(from[i]) : float_to_bfloat16(from[i]);
  });
}

// The f32 copy of one array of the operation.
struct Copy {
  Copy(Memory& m, const void* o, DType t, int64_t c)
      : memory(m), original(o), type(t), count(c), floats(static_cast<float*>(m.allocate(bytes()))) {}
  ~Copy() { memory.release(floats); }
  Copy(const Copy&) = delete;
  Copy& operator=(const Copy&) = delete;
  size_t bytes() const { return static_cast<size_t>(count) * sizeof(float); }

  Memory& memory;
  const void* const original;
  const DType type;
  const int64_t count;
  float* const floats;
  bool read = false, written = false;
};

}  // namespace

bool takes_only_f32(const Operation& operation) {
  bool only = true;
  std::visit(
      [&](const auto& a) {
        // Every operation passes here: it is only looked at, and a copy of its lists would cost more than
        // that.
        auto& looked_at = const_cast<std::decay_t<decltype(a)>&>(a);
        each_array(looked_at,
                   [&](const auto& array, int64_t, Access) { only = only && array.type == DType::f32; });
      },
      operation);
  return only;
}

void run_rounded(const Operation& operation, Memory& memory,
                 const std::function<void(const Operation&)>& run) {
  std::deque<Copy> copies;  // an array that stands twice in the operation (in place) has one
  const auto copy_of = [&](const void* data, DType type, int64_t count) -> Copy& {
    for (Copy& copy : copies)
      if (copy.original == data && copy.count >= count) return copy;
    return copies.emplace_back(memory, data, type, count);
  };
  std::visit(
      [&](const auto& original) {
        auto a = original;
        each_array(a, [&](auto& array, int64_t count, Access access) {
          if (array.type == DType::f32) return;
          Copy& copy = copy_of(array.data, array.type, count);
          copy.read = copy.read || access != Access::write;
          copy.written = copy.written || access != Access::read;
          array = copy.floats;
        });
        for (Copy& copy : copies)
          if (copy.read) widen(copy.original, copy.type, copy.count, copy.floats);
        run(a);
        for (Copy& copy : copies)
          if (copy.written) round_to(copy.floats, copy.type, copy.count, const_cast<void*>(copy.original));
      },
      operation);
}

}  // namespace eg4d::cpu
