// Norms of 16-bit activations at sizes of large networks, against their definitions in double precision.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "backend/cuda/networks/group_norm_resident.h"
#include "backend/cuda/networks/network_kernels.h"
#include "core/half.h"
#include "cuda/support/device.h"
#include "random/random.h"

namespace eg4d::test {
namespace {

struct Case {
  int64_t batch, positions, channels, add_positions;
  float middle;
  bool resident;
};
void PrintTo(const Case& c, std::ostream* out) {
  *out << c.batch << "×" << c.positions << "×" << c.channels << " around " << c.middle;
}

// Rounded to f16, and what they are then.
struct Halves {
  explicit Halves(std::vector<float> v) : values(std::move(v)) {
    std::vector<uint16_t> halves;
    for (float& value : values) {
      halves.push_back(float_to_half(value));
      value = half_to_float(halves.back());
    }
    memory = DeviceBuffer<uint16_t>(halves);
  }
  Array array() const { return {memory.data(), DType::f16}; }
  std::vector<float> values;
  DeviceBuffer<uint16_t> memory;
};

std::vector<float> normal(int64_t count, uint64_t seed, float middle = 0) {
  Philox random(seed, 7);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = middle + static_cast<float>(random.normal());
  return values;
}

class GroupNorms : public testing::TestWithParam<Case> {};

TEST_P(GroupNorms, AreTheirDefinition) {
  EG4D_NEEDS_GPU();
  const Case& c = GetParam();
  const int64_t rows = c.batch * c.positions, count = rows * c.channels, groups = 32,
                width = c.channels / groups;
  const Halves x(normal(count, 1, c.middle)), add(normal(rows / c.add_positions * c.channels, 2));
  const std::vector<float> scale = normal(c.channels, 3), shift = normal(c.channels, 4);
  const DeviceBuffer<float> on_gpu_scale(scale), on_gpu_shift(shift);
  const DeviceBuffer<uint16_t> y(count);
  for (const bool with_add : {false, true}) {
    const GroupNorm a{.batch = c.batch,
                      .positions = c.positions,
                      .channels = c.channels,
                      .x = x.array(),
                      .scale = on_gpu_scale.data(),
                      .shift = on_gpu_shift.data(),
                      .add = with_add ? ConstArray(add.array()) : ConstArray(),
                      .add_positions = c.add_positions,
                      .activation = Activation::silu,
                      .y = {y.data(), DType::f16}};
    cudaDeviceProp card{};
    cuda::check(cudaGetDeviceProperties(&card, 0), "asking for its name");
    const auto resident = cuda::resident_norm(a);
    if (card.major == 9) {
      EXPECT_EQ(resident.has_value(), c.resident);
    }
    const DeviceBuffer<uint8_t> workspace(static_cast<int64_t>(
        std::max(cuda::group_norm_passes_workspace_bytes(a),
                 resident ? cuda::resident_norm_workspace_bytes(*resident) : size_t{0})));
    for (const bool passes : {false, true}) {
      if (!passes && !resident) continue;
      std::vector<uint16_t> first;
      for (int repeat = 0; repeat < 4; ++repeat) {
        if (passes)
          cuda::group_norm_passes(a, workspace.data(), nullptr);
        else
          cuda::resident_norm(a, *resident, workspace.data(), nullptr);
        cuda::check(cudaDeviceSynchronize(), "norming");
        if (repeat == 0) first = y.to_host();
      }
      EXPECT_EQ(first, y.to_host()) << "other bits the second time";
      SCOPED_TRACE(passes ? "in passes" : "read once");
      const auto at = [&, added = with_add](int64_t row, int64_t channel) {
        const double of_add =
            added ? static_cast<double>(
                        add.values[static_cast<size_t>(row / c.add_positions * c.channels + channel)])
                  : 0;
        return static_cast<double>(x.values[static_cast<size_t>(row * c.channels + channel)]) + of_add;
      };
      double difference = 0, size = 0;
      for (int64_t n = 0; n < c.batch; ++n)
        for (int64_t g = 0; g < groups; g += std::max<int64_t>(count / 2'000'000, 1)) {
          const auto each = [&](const auto& body) {
            for (int64_t row = n * c.positions; row < (n + 1) * c.positions; ++row)
              for (int64_t channel = g * width; channel < (g + 1) * width; ++channel) body(row, channel);
          };
          const auto numbers = static_cast<double>(c.positions * width);
          double mean = 0, square = 0;
          each([&](int64_t row, int64_t channel) { mean += at(row, channel) / numbers; });
          each([&](int64_t row, int64_t channel) {
            square += (at(row, channel) - mean) * (at(row, channel) - mean) / numbers;
          });
          each([&](int64_t row, int64_t channel) {
            const double u = (at(row, channel) - mean) / std::sqrt(square + 1e-5) *
                                 static_cast<double>(scale[static_cast<size_t>(channel)]) +
                             static_cast<double>(shift[static_cast<size_t>(channel)]);
            const double expected = u / (1 + std::exp(-u));
            const double d =
                static_cast<double>(half_to_float(first[static_cast<size_t>(row * c.channels + channel)])) -
                expected;
            difference += d * d;
            size += expected * expected;
          });
        }
      EXPECT_LE(std::sqrt(difference / size), 5e-4) << (with_add ? "with" : "without") << " what is added";
    }
  }
}

// Pictures and videos of the networks' levels; several rounds of blocks; groups of half a vector; one
// position; a last piece that is shorter; a sample that does not fit.
INSTANTIATE_TEST_SUITE_P(Sizes, GroupNorms,
                         testing::Values(Case{42, 576, 320, 576, 0, true},
                                         Case{2, 21 * 576, 640, 576, 0, true},
                                         Case{1, 21 * 5184, 320, 5184, 0, false},
                                         Case{5, 323, 1920, 323, 3, true}, Case{3, 81, 2560, 27, 500, true},
                                         Case{2, 1000, 128, 1, 0, true}, Case{4, 1, 960, 1, 0, true},
                                         Case{1, 40'000, 512, 40'000, 0, false},
                                         Case{1, 400'000, 64, 400'000, 0, false}));

}  // namespace
}  // namespace eg4d::test
