// The operations on feature maps that have a backward pass, and bilinear resizing: against plain definitions
// in double and their finite differences, on every instruction set, for odd sizes and any number of threads.

#include <gtest/gtest.h>

#include <cmath>

#include "support/device_fixture.h"
#include "support/operation_test.h"

namespace eg4d::test {
namespace {

class PictureFeatures : public OperationTest {};

// ---------------------------------------------------------------- convolution

struct ConvolutionCase {
  int64_t batch, height, width, in, out, kernel, stride, dilation, pad;
  bool relu, bias;
  int64_t more_after = 0;  // further padding at the right and bottom
  int64_t out_height() const {
    return convolution_extent(height, kernel, pad, pad + more_after, stride, dilation);
  }
  int64_t out_width() const {
    return convolution_extent(width, kernel, pad, pad + more_after, stride, dilation);
  }
};
const ConvolutionCase kConvolutions[] = {
    {1, 1, 1, 3, 2, 3, 1, 1, 1, true, true},     {2, 7, 5, 3, 4, 3, 1, 1, 1, true, true},
    {1, 13, 11, 3, 5, 11, 4, 1, 2, true, true},  {1, 9, 8, 5, 3, 3, 1, 2, 2, false, true},
    {1, 6, 7, 4, 2, 3, 1, 8, 8, true, false},    {1, 9, 10, 2, 3, 3, 2, 1, 1, false, false},
    {1, 8, 7, 16, 32, 5, 1, 1, 2, true, true},   {2, 8, 6, 3, 4, 3, 2, 1, 0, false, true, 1},
    {1, 7, 9, 4, 5, 3, 2, 1, 0, false, true, 1}, {1, 6, 8, 32, 32, 3, 2, 1, 0, false, true, 1}};

Doubles plain_convolution(const ConvolutionCase& c, const Doubles& x, const Values& w, const Values& bias) {
  Doubles y;
  for (int64_t n = 0; n < c.batch; ++n)
    for (int64_t row = 0; row < c.out_height(); ++row)
      for (int64_t column = 0; column < c.out_width(); ++column)
        for (int64_t o = 0; o < c.out; ++o) {
          double sum = c.bias ? bias[static_cast<size_t>(o)] : 0;
          for (int64_t i = 0; i < c.kernel; ++i)
            for (int64_t j = 0; j < c.kernel; ++j) {
              const int64_t from_row = row * c.stride + i * c.dilation - c.pad,
                            from_column = column * c.stride + j * c.dilation - c.pad;
              if (from_row < 0 || from_row >= c.height || from_column < 0 || from_column >= c.width) continue;
              for (int64_t k = 0; k < c.in; ++k)
                sum +=
                    x[static_cast<size_t>(((n * c.height + from_row) * c.width + from_column) * c.in + k)] *
                    w[static_cast<size_t>(((o * c.in + k) * c.kernel + i) * c.kernel + j)];
            }
          y.push_back(c.relu ? std::max(sum, 0.0) : sum);
        }
  return y;
}

Convolution describe(const ConvolutionCase& c, const PackedWeight* weight) {
  Convolution a;
  a.batch = c.batch;
  a.height = c.height;
  a.width = c.width;
  a.stride = c.stride;
  a.dilation = c.dilation;
  a.pad_top = a.pad_left = c.pad;
  a.pad_bottom = a.pad_right = c.pad + c.more_after;
  a.weight = weight;
  a.activation = c.relu ? Activation::relu : Activation::none;
  return a;
}

TEST_P(PictureFeatures, Convolution) {
  for (const ConvolutionCase& c : kConvolutions) {
    const Values x = numbers(c.batch * c.height * c.width * c.in, 1),
                 w = numbers(c.out * c.in * c.kernel * c.kernel, 2), bias = numbers(c.out, 3);
    const Doubles wanted = plain_convolution(c, Doubles(x.begin(), x.end()), w, bias);
    const int64_t results = static_cast<int64_t>(wanted.size());
    const auto weight = ops().pack_convolution({.in = c.in,
                                                .out = c.out,
                                                .kernel_height = c.kernel,
                                                .kernel_width = c.kernel,
                                                .weight = w,
                                                .bias = c.bias ? StoredWeight(bias) : StoredWeight()});
    const Tensor dx = device({static_cast<int64_t>(x.size())}, x), y = Tensor::empty(*backend, {results});
    Convolution a = describe(c, weight.get());
    a.x = dx.data();
    a.y = y.data();
    ops().run(a);
    EXPECT_LE(relative_error(y.to_host(), floats(wanted)), 1e-5) << c.height << "×" << c.width;

    // The residual is added behind the activation.
    const Tensor sum = Tensor::empty(*backend, {results});
    Convolution with_residual = a;
    with_residual.residual = y.data();
    with_residual.y = sum.data();
    ops().run(with_residual);
    Values twice = y.to_host();
    for (float& value : twice) value *= 2;
    EXPECT_LE(relative_error(sum.to_host(), twice), 1e-5);

    const Values d_y = numbers(results, 4), added = numbers(static_cast<int64_t>(x.size()), 5);
    const Tensor ddy = device({results}, d_y), ddx = device(dx.shape(), added);
    ops().run(ConvolutionBackward{a, ddy.data(), ddx.data()});
    const Values gradient = differences(
        x, d_y, [&](const Doubles& at) { return plain_convolution(c, at, w, bias); }, 1e-6);
    expect_added(ddx.to_host(), added, gradient, 1e-4);
  }
}

// ---------------------------------------------------------------- pooling

struct PoolCase {
  int64_t batch, height, width, channels, kernel;
  bool whole;
};
const PoolCase kPools[] = {{1, 1, 1, 1, 2, false},
                           {2, 7, 5, 3, 2, false},
                           {1, 8, 6, 17, 2, true},
                           {1, 9, 11, 37, 3, true},
                           {1, 4, 4, 16, 3, false}};

Doubles plain_pool(const PoolCase& c, const Doubles& x) {
  Doubles y;
  const int64_t rows = pool_extent(c.height, c.kernel, 2, c.whole),
                columns = pool_extent(c.width, c.kernel, 2, c.whole);
  for (int64_t n = 0; n < c.batch; ++n)
    for (int64_t row = 0; row < rows; ++row)
      for (int64_t column = 0; column < columns; ++column)
        for (int64_t k = 0; k < c.channels; ++k) {
          double best = -1e300;
          for (int64_t i = row * 2; i < std::min(row * 2 + c.kernel, c.height); ++i)
            for (int64_t j = column * 2; j < std::min(column * 2 + c.kernel, c.width); ++j)
              best =
                  std::max(best, x[static_cast<size_t>(((n * c.height + i) * c.width + j) * c.channels + k)]);
          y.push_back(best);
        }
  return y;
}

MaxPool describe(const PoolCase& c, const Tensor& x) {
  MaxPool a;
  a.batch = c.batch;
  a.height = c.height;
  a.width = c.width;
  a.channels = c.channels;
  a.kernel = c.kernel;
  a.out_height = pool_extent(c.height, c.kernel, 2, c.whole);
  a.out_width = pool_extent(c.width, c.kernel, 2, c.whole);
  a.x = x.data();
  return a;
}

TEST_P(PictureFeatures, MaxPool) {
  for (const PoolCase& c : kPools) {
    const Values x = numbers(c.batch * c.height * c.width * c.channels, 1);
    const Tensor dx = device({static_cast<int64_t>(x.size())}, x);
    const Doubles wanted = plain_pool(c, Doubles(x.begin(), x.end()));
    MaxPool a = describe(c, dx);
    const Tensor y = Tensor::empty(*backend, {static_cast<int64_t>(wanted.size())});
    a.y = y.data();
    ops().run(a);
    EXPECT_EQ(y.to_host(), floats(wanted));
    const Values d_y = numbers(y.count(), 2), added = numbers(dx.count(), 3);
    const Tensor ddy = device(y.shape(), d_y), ddx = device(dx.shape(), added);
    ops().run(MaxPoolBackward{a, ddy.data(), ddx.data()});
    expect_added(ddx.to_host(), added,
                 differences(
                     x, d_y, [&](const Doubles& at) { return plain_pool(c, at); }, 1e-7),
                 1e-5);
  }
}

TEST(PoolExtent, IsPyTorchs) {
  EXPECT_EQ(pool_extent(0, 2, 2, true), 0);
  EXPECT_EQ(pool_extent(0, 2, 2, false), 0);
  EXPECT_EQ(pool_extent(1, 2, 2, true), 0);
  EXPECT_EQ(pool_extent(1, 2, 2, false), 1);
  EXPECT_EQ(pool_extent(5, 2, 2, true), 2);
  EXPECT_EQ(pool_extent(5, 2, 2, false), 3);
  EXPECT_EQ(pool_extent(6, 3, 2, true), 2);
  EXPECT_EQ(pool_extent(6, 3, 2, false), 3);
}

TEST_P(PictureFeatures, MaxPoolOfTiesAndNan) {
  const PoolCase c{1, 2, 2, 3, 2, true};
  const float nan = std::nanf("");
  // Channels: all equal; the last largest; a NaN.
  const Tensor x = device({12}, {1, 0, 5, 1, 0, nan, 1, 0, 7, 1, 2, 9}), y = Tensor::empty(*backend, {3});
  MaxPool a = describe(c, x);
  a.y = y.data();
  ops().run(a);
  const Values values = y.to_host();
  EXPECT_EQ(values[0], 1);
  EXPECT_EQ(values[1], 2);
  EXPECT_TRUE(std::isnan(values[2]));
  const Tensor d_y = device({3}, {1, 2, 3}), d_x = Tensor::zeros(*backend, {12});
  ops().run(MaxPoolBackward{a, d_y.data(), d_x.data()});
  EXPECT_EQ(d_x.to_host(), (Values{1, 0, 0, 0, 0, 3, 0, 0, 0, 0, 2, 0}));
}

// ---------------------------------------------------------------- channels

TEST_P(PictureFeatures, ScaleChannels) {
  for (const int64_t channels : {1, 3, 37}) {
    const int64_t rows = 37;
    const Values x = numbers(rows * channels, 1), scale = numbers(channels, 2), shift = numbers(channels, 3);
    const Tensor dx = device({rows, channels}, x), dscale = device({channels}, scale),
                 dshift = device({channels}, shift), y = Tensor::empty(*backend, {rows, channels});
    const ScaleChannels a{rows, channels, dx.data(), dscale.data(), dshift.data(), y.data()};
    const auto plain = [&](const Doubles& at) {
      Doubles result(at.size());
      for (size_t i = 0; i < at.size(); ++i) {
        const size_t c = i % static_cast<size_t>(channels);
        result[i] = at[i] * scale[c] + shift[c];
      }
      return result;
    };
    ops().run(a);
    EXPECT_LE(relative_error(y.to_host(), floats(plain(Doubles(x.begin(), x.end())))), 1e-6);
    const Values d_y = numbers(x.size(), 4), added = numbers(x.size(), 5);
    const Tensor ddy = device({rows, channels}, d_y), ddx = device({rows, channels}, added);
    ops().run(ScaleChannelsBackward{a, ddy.data(), ddx.data()});
    expect_added(ddx.to_host(), added, differences(x, d_y, plain), 1e-5);
  }
}

Doubles plain_distance(int64_t batch, int64_t positions, int64_t channels, const Doubles& a, const Values& b,
                       const Values& weight) {
  Doubles values(static_cast<size_t>(batch));
  for (int64_t p = 0; p < batch * positions; ++p) {
    double a_square = 0, b_square = 0;
    for (int64_t c = 0; c < channels; ++c) {
      const auto i = static_cast<size_t>(p * channels + c);
      a_square += a[i] * a[i];
      b_square += double{b[i]} * b[i];
    }
    for (int64_t c = 0; c < channels; ++c) {
      const auto i = static_cast<size_t>(p * channels + c);
      const double difference = a[i] / (std::sqrt(a_square) + 1e-10) - b[i] / (std::sqrt(b_square) + 1e-10);
      values[static_cast<size_t>(p / positions)] +=
          weight[static_cast<size_t>(c)] * difference * difference / static_cast<double>(positions);
    }
  }
  return values;
}

TEST_P(PictureFeatures, FeatureDistance) {
  for (const auto& [batch, positions, channels] :
       {std::array<int64_t, 3>{1, 1, 2}, {2, 5, 3}, {1, 7, 64}, {2, 3, 37}, {1, 1500, 33}}) {
    const int64_t count = batch * positions * channels;
    const Values a = numbers(count, 1), b = numbers(count, 2), weight = numbers(channels, 3);
    const Tensor da = device({count}, a), db = device({count}, b), dweight = device({channels}, weight);
    const Tensor values = Tensor::zeros(*backend, {batch}, DType::f64);
    FeatureDistance distance;
    distance.batch = batch;
    distance.positions = positions;
    distance.channels = channels;
    distance.a = da.data();
    distance.b = db.data();
    distance.weight = dweight.data();
    distance.values = values.data<double>();
    ops().run(distance);
    ops().run(distance);
    const auto plain = [&](const Doubles& at) {
      return plain_distance(batch, positions, channels, at, b, weight);
    };
    Values wanted = floats(plain(Doubles(a.begin(), a.end())));
    for (float& value : wanted) value *= 2;  // it was added twice
    EXPECT_LE(relative_error(converted<float>(values.to_host<double>()), wanted), 1e-5);
    if (count > 5000) continue;
    const Values added = numbers(count, 5), d_y(static_cast<size_t>(batch), 1.5f);
    const Tensor d_a = device({count}, added);
    ops().run(FeatureDistanceBackward{distance, 1.5f, d_a.data()});
    expect_added(d_a.to_host(), added, differences(a, d_y, plain), 1e-4);
  }
}

TEST_P(PictureFeatures, DistanceOfFeaturesThatAreAllZeroHasNoGradient) {
  const Tensor zero = Tensor::zeros(*backend, {8}), other = device({8}, numbers(8, 1)),
               weight = device({4}, {1, 1, 1, 1});
  const Tensor values = Tensor::zeros(*backend, {1}, DType::f64), d_a = Tensor::zeros(*backend, {8});
  FeatureDistance distance{.batch = 1,
                           .positions = 2,
                           .channels = 4,
                           .a = zero.data(),
                           .b = other.data(),
                           .weight = weight.data(),
                           .values = values.data<double>()};
  ops().run(distance);
  EXPECT_NEAR(values.to_host<double>()[0], 1, 1e-6);
  ops().run(FeatureDistanceBackward{distance, 1, d_a.data()});
  EXPECT_EQ(d_a.to_host(), Values(8));
  distance.batch = distance.positions = 0;
  ops().run(distance);
  ops().run(FeatureDistanceBackward{distance, 1, d_a.data()});
}

// ---------------------------------------------------------------- resizing

double plain_resized(const Values& x, int64_t height, int64_t width, int64_t channels, double row,
                     double column, int64_t c) {
  const auto at = [&](int64_t i, int64_t j) {
    i = std::clamp<int64_t>(i, 0, height - 1);
    j = std::clamp<int64_t>(j, 0, width - 1);
    return double{x[static_cast<size_t>((i * width + j) * channels + c)]};
  };
  row = std::max(row, 0.0);
  column = std::max(column, 0.0);
  const auto i = static_cast<int64_t>(row), j = static_cast<int64_t>(column);
  const double v = row - static_cast<double>(i), u = column - static_cast<double>(j);
  return (1 - v) * ((1 - u) * at(i, j) + u * at(i, j + 1)) +
         v * ((1 - u) * at(i + 1, j) + u * at(i + 1, j + 1));
}

// Where a pixel that comes out lies in what goes in.
double source_position(int64_t i, int64_t in, int64_t out, bool align_corners) {
  const auto at = static_cast<double>(i), from = static_cast<double>(in), to = static_cast<double>(out);
  if (!align_corners) return (at + 0.5) * from / to - 0.5;
  return out > 1 ? at * (from - 1) / (to - 1) : 0;
}

TEST_P(PictureFeatures, ResizeFeatures) {
  struct Case {
    int64_t height, width, out_height, out_width, channels;
  };
  for (const Case& c : {Case{1, 1, 4, 3, 2}, Case{5, 7, 10, 14, 17}, Case{5, 7, 9, 13, 3},
                        Case{61, 97, 7, 5, 1}, Case{3, 3, 3, 3, 4}, Case{4, 6, 1, 1, 2}})
    for (const bool align_corners : {false, true}) {
      const Values x = numbers(c.height * c.width * c.channels, 1);
      Values wanted;
      for (int64_t i = 0; i < c.out_height; ++i)
        for (int64_t j = 0; j < c.out_width; ++j)
          for (int64_t k = 0; k < c.channels; ++k)
            wanted.push_back(static_cast<float>(plain_resized(
                x, c.height, c.width, c.channels, source_position(i, c.height, c.out_height, align_corners),
                source_position(j, c.width, c.out_width, align_corners), k)));
      const Tensor dx = device({static_cast<int64_t>(x.size())}, x),
                   y = Tensor::empty(*backend, {static_cast<int64_t>(wanted.size())});
      ops().run(ResizeFeatures{1, c.height, c.width, c.channels, c.out_height, c.out_width, dx.data(),
                               y.data(), align_corners});
      EXPECT_LE(relative_error(y.to_host(), wanted), 1e-5) << c.out_height << "×" << c.out_width;
    }
}

// ---------------------------------------------------------------- threads

TEST_P(PictureFeatures, NumberOfThreadsChangesNothing) {
  EG4D_TEST_OF_THE_PROCESSOR();
  const int64_t height = 61, width = 97, channels = 32, pixels = height * width;
  const Tensor x = device({pixels * channels}, numbers(pixels * channels, 1)),
               d_y = device({pixels * channels}, numbers(pixels * channels, 2)),
               weights = device({channels}, numbers(channels, 3));
  for (const int64_t in : {int64_t{3}, channels}) {
    const Values w = numbers(channels * in * 9, 4);
    const auto kernel = ops().pack_convolution(
        {.in = in, .out = channels, .kernel_height = 3, .kernel_width = 3, .weight = w});
    ConvolutionCase c{1, height, width, in, channels, 3, 1, 1, 1, true, false};
    EXPECT_TRUE(same_bits_for_any_thread_count([&] {
      const Tensor y = Tensor::empty(*backend, {pixels * channels}),
                   d_x = Tensor::zeros(*backend, {pixels * in});
      Convolution a = describe(c, kernel.get());
      a.x = x.data();
      a.y = y.data();
      ops().run(a);
      ops().run(ConvolutionBackward{a, d_y.data(), d_x.data()});
      return d_x.to_host();
    }));
  }
  EXPECT_TRUE(same_bits_for_any_thread_count([&] {
    const Tensor d_x = Tensor::zeros(*backend, {pixels * channels});
    ops().run(
        MaxPoolBackward{describe(PoolCase{1, height, width, channels, 3, true}, x), d_y.data(), d_x.data()});
    return d_x.to_host();
  }));
  EXPECT_TRUE(same_bits_for_any_thread_count([&] {
    const Tensor values = Tensor::zeros(*backend, {1}, DType::f64),
                 d_x = Tensor::zeros(*backend, {pixels * channels});
    const FeatureDistance a{.batch = 1,
                            .positions = pixels,
                            .channels = channels,
                            .a = x.data(),
                            .b = d_y.data(),
                            .weight = weights.data(),
                            .values = values.data<double>()};
    ops().run(a);
    ops().run(FeatureDistanceBackward{a, 1, d_x.data()});
    Values result = d_x.to_host();
    const double value = values.to_host<double>()[0];
    const auto* bits = reinterpret_cast<const float*>(&value);
    result.insert(result.end(), bits, bits + 2);
    return result;
  }));
}

INSTANTIATE_TEST_SUITE_P(, PictureFeatures, testing::ValuesIn(test_devices_by_instruction_set()),
                         DeviceLabel());

}  // namespace
}  // namespace eg4d::test
