#include "core/torch_random.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "support/places.h"

namespace eg4d {
namespace {

// tests/data/torch_random.json is made by tests/core/make_torch_random.py.
nlohmann::json fixture() {
  std::ifstream file(test::test_data() / "torch_random.json");
  return file ? nlohmann::json::parse(file) : nlohmann::json();
}

constexpr double tolerance = 3e-6;  // PyTorch evaluates logarithm, sine and cosine in float

void expect_near(const nlohmann::json& expected, const float* values, size_t stride = 1) {
  for (size_t i = 0; i < expected.size(); ++i) {
    const double wanted = expected[i];
    ASSERT_NEAR(values[i * stride], wanted, tolerance * std::max(1.0, std::abs(wanted))) << "number " << i;
  }
}

void check_draw(NormalStream& stream, const nlohmann::json& draw) {
  size_t count = 1;
  for (const auto& side : draw["shape"]) count *= side.get<size_t>();
  std::vector<float> values(count);
  stream.draw(values);
  SCOPED_TRACE(draw["shape"].dump());
  if (draw.contains("values")) return expect_near(draw["values"], values.data());
  expect_near(draw["head"], values.data());
  expect_near(draw["tail"], values.data() + count - draw["tail"].size());
  if (draw.contains("samples")) expect_near(draw["samples"], values.data(), draw["stride"]);
  double sum = 0, squares = 0;
  for (const double value : values) {
    sum += value;
    squares += value * value;
  }
  EXPECT_NEAR(sum, draw["sum"].get<double>(), 1e-7 * count + 1e-4);
  EXPECT_NEAR(squares, draw["sum_of_squares"].get<double>(), 1e-6 * count);
}

template <class MakeStream>
void check_cases(const nlohmann::json& cases, MakeStream make_stream) {
  for (const auto& one : cases) {
    SCOPED_TRACE("seed " + one["seed"].get<std::string>());
    auto stream = make_stream(std::stoull(one["seed"].get<std::string>()));
    for (const auto& draw : one["draws"]) check_draw(stream, draw);
    if (testing::Test::HasFatalFailure()) return;
  }
}

TEST(TorchRandom, CpuStreamIsPyTorchs) {
  const auto data = fixture();
  if (!data.contains("cpu")) GTEST_SKIP() << "no values: run tests/core/make_torch_random.py with PyTorch";
  check_cases(data["cpu"], [](uint64_t seed) { return TorchCpuStream(seed); });
}

TEST(TorchRandom, CudaStreamIsPyTorchs) {
  const auto data = fixture();
  if (!data.contains("cuda"))
    GTEST_SKIP() << "no values: run tests/core/make_torch_random.py with PyTorch and a GPU";
  const auto& gpu = data["cuda_device"];
  const TorchCudaDevice device{gpu["multiprocessors"], gpu["threads_per_multiprocessor"]};
  check_cases(data["cuda"], [&](uint64_t seed) { return TorchCudaStream(seed, device); });
}

// The 10000th output for the default seed is given in the C++ standard ([rand.predef]).
TEST(TorchRandom, MersenneTwisterMatchesTheStandard) {
  MersenneTwister twister(5489);
  uint32_t value = 0;
  for (int i = 0; i < 10000; ++i) value = twister.next_u32();
  EXPECT_EQ(value, 4123659995u);
}

TEST(TorchRandom, StreamsAreNamed) {
  EXPECT_EQ(torch_cuda_device("h100").multiprocessors, 132);
  EXPECT_EQ(torch_cuda_device("46x1536").threads_per_multiprocessor, 1536);
  for (const char* bad : {"", "x", "12", "12x", "x12", "0x2048", "108x2048y", "99999999999x2048", "108x1"})
    EXPECT_THROW(torch_cuda_device(bad), UsageError) << bad;
  EXPECT_THROW(make_normal_stream("mt19937", 0), UsageError);
  for (const char* name : {"philox", "torch-cpu", "torch-cuda", "torch-cuda:a100"}) {
    std::vector<float> values(1001), none;
    auto stream = make_normal_stream(name, 7);
    stream->draw(none);
    stream->draw(values);
    double squares = 0;
    for (const double value : values) squares += value * value;
    EXPECT_NEAR(squares / 1001, 1, 0.2) << name;
  }
}

}  // namespace
}  // namespace eg4d
