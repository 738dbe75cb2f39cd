// LPIPS with small random networks against a plain version in double, whose finite differences its gradient
// must be. The published sizes are in tests/golden/lpips_test.cpp.

#include "splat/lpips.h"

#include <gtest/gtest.h>

#include <cmath>

#include "support/device_fixture.h"
#include "support/expect_error.h"
#include "support/golden.h"
#include "support/random_values.h"
#include "support/temporary_folder.h"
#include "support/tiny_lpips.h"

namespace eg4d::test {
namespace {

using Doubles = std::vector<double>;

struct Map {  // [height,width,channels]
  int64_t height = 0, width = 0, channels = 0;
  Doubles data;
  double at(int64_t y, int64_t x, int64_t c) const {
    return data[static_cast<size_t>((y * width + x) * channels + c)];
  }
};

Map convolved(const Map& x, const WeightMap& weights, const std::string& name, int64_t stride, int64_t pad) {
  const std::vector<float> w = weights.floats(name + ".weight"), bias = weights.floats(name + ".bias");
  const Shape& shape = weights.items().at(name + ".weight").shape;
  const int64_t k = shape[2];
  Map y{convolution_extent(x.height, k, pad, pad, stride),
        convolution_extent(x.width, k, pad, pad, stride),
        shape[0],
        {}};
  for (int64_t i = 0; i < y.height; ++i)
    for (int64_t j = 0; j < y.width; ++j)
      for (int64_t o = 0; o < y.channels; ++o) {
        double sum = bias[static_cast<size_t>(o)];
        for (int64_t u = 0; u < k; ++u)
          for (int64_t v = 0; v < k; ++v) {
            const int64_t row = i * stride + u - pad, column = j * stride + v - pad;
            if (row < 0 || row >= x.height || column < 0 || column >= x.width) continue;
            for (int64_t c = 0; c < x.channels; ++c)
              sum += x.at(row, column, c) * w[static_cast<size_t>(((o * x.channels + c) * k + u) * k + v)];
          }
        y.data.push_back(std::max(sum, 0.0));
      }
  return y;
}

Map pooled(const Map& x, int64_t k) {
  Map y{(x.height - k) / 2 + 1, (x.width - k) / 2 + 1, x.channels, {}};
  for (int64_t i = 0; i < y.height; ++i)
    for (int64_t j = 0; j < y.width; ++j)
      for (int64_t c = 0; c < x.channels; ++c) {
        double best = 0;
        for (int64_t u = 0; u < k; ++u)
          for (int64_t v = 0; v < k; ++v) best = std::max(best, x.at(2 * i + u, 2 * j + v, c));
        y.data.push_back(best);
      }
  return y;
}

std::vector<Map> features(const WeightMap& weights, Lpips::Network network, Map x) {
  constexpr double kShift[] = {-0.03, -0.088, -0.188}, kScale[] = {0.458, 0.448, 0.45};
  for (size_t i = 0; i < x.data.size(); ++i) x.data[i] = (x.data[i] - kShift[i % 3]) / kScale[i % 3];
  std::vector<Map> taps;
  const auto step = [&](int number, bool pool, bool tap) {
    const bool alex = network == Lpips::Network::alex;
    if (pool) x = pooled(x, alex ? 3 : 2);
    const std::string name = "features." + std::to_string(number);
    const int64_t kernel = weights.items().at(name + ".weight").shape[2];
    x = convolved(x, weights, name, kernel == 11 ? 4 : 1, kernel == 3 ? 1 : 2);
    if (tap) taps.push_back(x);
  };
  if (network == Lpips::Network::alex) {
    for (const int number : {0, 3, 6, 8, 10}) step(number, number == 3 || number == 6, true);
  } else {
    for (const int number : {0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28})
      step(number, number == 5 || number == 10 || number == 17 || number == 24,
           number == 2 || number == 7 || number == 14 || number == 21 || number == 28);
  }
  return taps;
}

double plain_lpips(const TinyLpips& tiny, Lpips::Network network, const std::vector<Map>& wanted,
                   const Map& a) {
  const std::vector<Map> seen = features(tiny.backbone, network, a);
  double sum = 0;
  for (size_t tap = 0; tap < seen.size(); ++tap) {
    const Map &u = seen[tap], &v = wanted[tap];
    const std::vector<float> weight = tiny.heads.floats("lin" + std::to_string(tap) + ".model.1.weight");
    for (int64_t y = 0; y < u.height; ++y)
      for (int64_t x = 0; x < u.width; ++x) {
        double u_norm = 0, v_norm = 0;
        for (int64_t c = 0; c < u.channels; ++c) {
          u_norm += u.at(y, x, c) * u.at(y, x, c);
          v_norm += v.at(y, x, c) * v.at(y, x, c);
        }
        u_norm = std::sqrt(u_norm) + 1e-10;
        v_norm = std::sqrt(v_norm) + 1e-10;
        for (int64_t c = 0; c < u.channels; ++c) {
          const double difference = u.at(y, x, c) / u_norm - v.at(y, x, c) / v_norm;
          sum += weight[static_cast<size_t>(c)] * difference * difference /
                 static_cast<double>(u.height * u.width);
        }
      }
  }
  return sum;
}

struct Case {
  Lpips::Network network;
  int64_t height, width;
};

class TinyLpipsTest : public OnEachDeviceWith<Case> {};

TEST_P(TinyLpipsTest, ValueAndGradientAreThoseOfThePlainVersion) {
  const auto [network, height, width] = parameter();
  auto backend = make_test_backend({.guard_memory = true});
  const TinyLpips tiny = tiny_lpips(network);
  Lpips lpips(*backend, tiny.backbone, tiny.heads);
  EXPECT_EQ(lpips.network(), network);
  const auto count = static_cast<size_t>(height * width * 3);
  const auto a = hash_tensor(1, count, 1, 0.5f), b = hash_tensor(2, count, 1, 0.5f);
  const Tensor da = Tensor::from_host<float>(*backend, {1, height, width, 3}, a),
               db = Tensor::from_host<float>(*backend, {1, height, width, 3}, b);
  Map picture{height, width, 3, Doubles(a.begin(), a.end())};
  const std::vector<Map> wanted =
      features(tiny.backbone, network, {height, width, 3, Doubles(b.begin(), b.end())});
  const double value = plain_lpips(tiny, network, wanted, picture);
  EXPECT_NEAR(lpips.distances(da, db)[0], value, 1e-5 * value);
  EXPECT_NEAR(lpips.distances(da, da)[0], 0, 1e-12);

  const auto added = hash_tensor(3, count, 1e-3f);
  const Tensor gradient = Tensor::from_host<float>(*backend, da.shape(), added);
  lpips.measure(da, db, Tensor::zeros(*backend, {1}, DType::f64), 0.5f, gradient);
  const std::vector<float> found = gradient.to_host();
  std::vector<float> some, differences;
  for (size_t i = 0; i < count; i += count / 60 + 1) {
    some.push_back(found[i] - added[i]);
    differences.push_back(static_cast<float>(0.5 * central_difference(picture.data[i], 1e-7, [&] {
                                               return plain_lpips(tiny, network, wanted, picture);
                                             })));
  }
  EXPECT_LE(relative_error(some, differences), 1e-3);
}

TEST_P(TinyLpipsTest, BatchesAndThreadsChangeNothing) {
  const auto [network, height, width] = parameter();
  auto backend = make_test_backend();
  const TinyLpips tiny = tiny_lpips(network);
  Lpips lpips(*backend, tiny.backbone, tiny.heads);
  const auto count = static_cast<size_t>(2 * height * width * 3);
  const auto a = hash_tensor(1, count, 1, 0.5f), b = hash_tensor(2, count, 1, 0.5f);
  const Tensor da = Tensor::from_host<float>(*backend, {2, height, width, 3}, a),
               db = Tensor::from_host<float>(*backend, {2, height, width, 3}, b);
  EXPECT_TRUE(same_bits_for_any_thread_count([&] {
    const Tensor gradient = Tensor::zeros(*backend, da.shape()),
                 values = Tensor::zeros(*backend, {2}, DType::f64);
    lpips.measure(da, db, values, 1, gradient);
    std::vector<float> result = gradient.to_host();
    for (const double value : values.to_host<double>()) result.push_back(static_cast<float>(value));
    return result;
  }));
  const auto half = [&](const std::vector<float>& values, bool second) {
    const auto middle = values.begin() + static_cast<int64_t>(count / 2);
    return Tensor::from_host<float>(
        *backend, {1, height, width, 3},
        second ? std::vector<float>(middle, values.end()) : std::vector<float>(values.begin(), middle));
  };
  const auto both = lpips.distances(da, db);
  for (const bool second : {false, true})
    EXPECT_NEAR(lpips.distances(half(a, second), half(b, second))[0], both[second], 1e-6);
}

INSTANTIATE_TEST_SUITE_P(
    Networks, TinyLpipsTest,
    testing::Combine(testing::ValuesIn(test_devices()),
                     testing::Values(Case{Lpips::Network::alex, 31, 31}, Case{Lpips::Network::alex, 37, 53},
                                     Case{Lpips::Network::vgg, 16, 16}, Case{Lpips::Network::vgg, 19, 33})),
    device_label_and([](const Case& c) { return name_of(c.network) + std::to_string(c.width); }));

EG4D_DEVICE_SUITE(LpipsFilesTest);

TEST_P(LpipsFilesTest, AsPublished) {
  TemporaryFolder folder;
  auto backend = make_test_backend();
  write_tiny_lpips(Lpips::Network::alex, folder.path());
  const TinyLpips tiny = tiny_lpips(Lpips::Network::alex);
  Lpips read(*backend, read_weights(folder / "alexnet-owt-7be5be79.pth"), read_weights(folder / "alex.pth"));
  Lpips made(*backend, tiny.backbone, tiny.heads);
  const Tensor a = Tensor::from_host<float>(*backend, {1, 40, 40, 3}, hash_tensor(1, 4800, 1, 0.5f)),
               b = Tensor::zeros(*backend, {1, 40, 40, 3});
  EXPECT_EQ(read.distances(a, b), made.distances(a, b));
}

TEST(LpipsFiles, WrongOnesAreErrors) {
  auto backend = make_test_backend();
  TinyLpips alex = tiny_lpips(Lpips::Network::alex), vgg = tiny_lpips(Lpips::Network::vgg);
  EXPECT_ERROR(Lpips(*backend, alex.heads, alex.heads), "holds neither AlexNet nor VGG16");
  EXPECT_ERROR(Lpips(*backend, alex.backbone, vgg.heads),
               "'heads' does not belong to 'backbone': lin0 weighs 3");
  EXPECT_ERROR(Lpips(*backend, alex.backbone, alex.backbone), "lacks the tensor 'lin0.model.1.weight'");
  alex.backbone.remove("features.8.bias");
  EXPECT_ERROR(Lpips(*backend, alex.backbone, alex.heads), "'features.8.bias' is missing");
  Lpips lpips(*backend, vgg.backbone, vgg.heads);
  const Tensor tiny = Tensor::zeros(*backend, {1, 1, 1, 3});
  EXPECT_ERROR(lpips.distances(tiny, tiny),
               "LPIPS (vgg) needs pictures of at least 16 pixels a side, not 1×1");
  EXPECT_ERROR(lpips.distances(Tensor::zeros(*backend, {1, 20, 20, 3}), tiny), "LPIPS compares pictures");
}

}  // namespace
}  // namespace eg4d::test
