// The operations of sampling against plain loops, to the bit.

#include "backend/sampling_ops.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/half.h"
#include "diffusion/conditioning.h"
#include "support/golden.h"
#include "support/operation_test.h"
#include "support/reference_sampling.h"

namespace eg4d::test {
namespace {

constexpr EulerCoefficients kNow = {0.3f, -0.9f, 0.11f, -1.37f, 2.7f, 1.9f};

class SamplingOperations : public testing::Test {
 protected:
  Tensor device(Shape shape, const Values& values) {
    return Tensor::from_host<float>(*backend, std::move(shape), values);
  }
  const EulerCoefficients* now() const { return static_cast<const EulerCoefficients*>(row_.raw()); }

  std::unique_ptr<Backend> backend = make_cpu_backend({.guard_memory = true, .emulate_half = true});

 private:
  const Tensor row_ = Tensor::from_bytes(*backend, {6}, DType::f32, &kNow, sizeof kNow);
};

TEST_F(SamplingOperations, NetworkInputInEveryType) {
  for (const int64_t positions : {0, 1, 31, 9000})
    for (const int64_t halves : {1, 2}) {
      constexpr int64_t frames = 3;
      const int64_t rows = halves * frames;
      const Values latent = numbers(frames * positions * 4, 1), concat = numbers(rows * positions * 4, 2);
      const Tensor dlatent = device({frames, positions, 4}, latent),
                   dconcat = device({rows, positions, 4}, concat);
      const auto run = [&](DType type) {
        const Tensor y = Tensor::zeros(*backend, {rows, positions, 8}, type);
        backend->run(NetworkInput{.rows = rows,
                                  .frames = frames,
                                  .positions = positions,
                                  .channels = 4,
                                  .now = now(),
                                  .latent = dlatent.data(),
                                  .concat_rows = rows,
                                  .concat = dconcat.data(),
                                  .y = y.array()});
        const Tensor plain = Tensor::zeros(*backend, y.shape());
        backend->run(Convert{.count = y.count(), .x = y.array(), .y = plain.array()});
        return plain.to_host();
      };
      const Values expected = plain_network_input(latent, concat, kNow.c_in);
      EXPECT_EQ(run(DType::f32), expected);
      Values halves_of = expected, bfloats = expected;
      for (float& value : halves_of) value = half_to_float(float_to_half(value));
      for (float& value : bfloats) value = bfloat16_to_float(float_to_bfloat16(value));
      EXPECT_EQ(run(DType::f16), halves_of);
      EXPECT_EQ(run(DType::bf16), bfloats);
    }
}

TEST_F(SamplingOperations, TimestepSinusoids) {
  for (const int64_t width : {1, 2, 7, 32, 320})
    for (const int64_t rows : {0, 1, 31}) {
      const Tensor y = device({rows, width}, numbers(rows * width, 1));
      backend->run(TimestepSinusoids{.rows = rows, .width = width, .now = now(), .y = y.data()});
      EXPECT_EQ(y.to_host(),
                sinusoidal_embedding(std::vector<double>(static_cast<size_t>(rows), kNow.c_noise),
                                     static_cast<int>(width)));
    }
}

TEST_F(SamplingOperations, EulerStep) {
  for (const int64_t frames : {0, 1, 3})
    for (const int64_t elements : {0, 1, 31, 70000})
      for (const bool guided : {false, true}) {
        Values latent = numbers(frames * elements, 1);
        const Values prediction = numbers((guided ? 2 : 1) * frames * elements, 2),
                     scales = numbers(frames, 3);
        const Tensor dlatent = device({frames, elements}, latent),
                     dprediction = device({static_cast<int64_t>(prediction.size())}, prediction),
                     dscales = device({frames}, scales);
        backend->run(EulerStep{.frames = frames,
                               .elements = elements,
                               .now = now(),
                               .prediction = dprediction.data(),
                               .scales = guided ? dscales.data() : nullptr,
                               .latent = dlatent.data()});
        if (!latent.empty())
          plain_euler_step(plain_guided(plain_denoised(prediction, latent, kNow), scales, !guided), kNow,
                           latent);
        EXPECT_EQ(dlatent.to_host(), latent);
      }
}

// One that is no number spoils nothing but its own place.
TEST_F(SamplingOperations, NotANumberStaysWhereItIs) {
  Values prediction = numbers(40, 1);
  prediction[7] = std::numeric_limits<float>::quiet_NaN();
  const Tensor latent = device({2, 10}, numbers(20, 2)), dprediction = device({40}, prediction),
               scales = device({2}, {2, 3});
  backend->run(EulerStep{.frames = 2,
                         .elements = 10,
                         .now = now(),
                         .prediction = dprediction.data(),
                         .scales = scales.data(),
                         .latent = latent.data()});
  const Values result = latent.to_host();
  for (size_t i = 0; i < result.size(); ++i) EXPECT_EQ(std::isnan(result[i]), i == 7) << i;
}

TEST_F(SamplingOperations, NoisyLatentsAreRoundedOnce) {
  for (const int64_t count : {0, 1, 31, 70000}) {
    const Values latent = numbers(count, 1), noise = numbers(count, 2);
    const Tensor dlatent = device({count}, latent), dnoise = device({count}, noise);
    const double a = std::sqrt(0.3), b = std::sqrt(0.7);
    const Tensor y = Tensor::zeros(*backend, {2, count}), scaled = Tensor::zeros(*backend, {count});
    backend->run(NoisyLatents{.count = count,
                              .copies = 2,
                              .latent = dlatent.data(),
                              .noise = dnoise.data(),
                              .latent_scale = a,
                              .noise_scale = b,
                              .y = y.array()});
    const float deviation = std::sqrt(14.6f * 14.6f + 1);
    backend->run(
        NoisyLatents{.count = count, .latent = dlatent.data(), .divisor = deviation, .y = scaled.array()});
    const Values both = y.to_host(), divided = scaled.to_host();
    const auto size = static_cast<size_t>(count);
    for (size_t i = 0; i < size; ++i) {
      const auto expected = static_cast<float>(a * latent[i] + b * noise[i]);
      ASSERT_EQ(both[i], expected);
      ASSERT_EQ(both[size + i], expected);
      ASSERT_EQ(divided[i], latent[i] / deviation);
    }
  }
}

TEST_F(SamplingOperations, SampleMoments) {
  for (const int64_t positions : {0, 1, 31, 20000}) {
    constexpr int64_t channels = 4;
    Values moments = numbers(positions * 2 * channels, 1);
    if (positions > 1) moments[4] = 50, moments[12] = -90;  // beyond the limits
    const Values noise = numbers(positions * channels, 2);
    const Tensor dmoments = device({positions, 2 * channels}, moments),
                 dnoise = device({positions, channels}, noise);
    for (const bool sampled : {false, true}) {
      const Tensor y = Tensor::zeros(*backend, {positions, channels});
      backend->run(SampleMoments{.positions = positions,
                                 .channels = channels,
                                 .moments = dmoments.data(),
                                 .noise = sampled ? dnoise.data() : nullptr,
                                 .scale = 0.13f,
                                 .y = y.data()});
      const Values result = y.to_host();
      for (size_t i = 0; i < result.size(); ++i) {
        const float* pixel = &moments[i / channels * 2 * channels];
        const float deviation = std::exp(0.5f * std::clamp(pixel[channels + i % channels], -30.f, 20.f));
        const float change = sampled ? deviation * noise[i] : 0;
        const float value = pixel[i % channels] + change;
        ASSERT_EQ(result[i], value * 0.13f);
      }
    }
  }
}

// Larger, smaller, and one side of each; the gradient is that of a linear map: <d_y, fit(x)> = <d_x, x>.
TEST_F(SamplingOperations, FitPictureAndItsGradient) {
  constexpr int64_t height = 5, width = 7, channels = 3;
  const Values x = numbers(height * width * channels, 1);
  for (const auto& [out_height, out_width] :
       {std::pair<int64_t, int64_t>{5, 7}, {9, 8}, {3, 2}, {3, 31}, {1, 1}, {0, 4}}) {
    const Tensor dx = device({height, width, channels}, x),
                 y = Tensor::zeros(*backend, {out_height, out_width, channels});
    FitPicture fit{.height = height,
                   .width = width,
                   .channels = channels,
                   .out_height = out_height,
                   .out_width = out_width,
                   .scale = 2,
                   .shift = -1,
                   .x = dx.data(),
                   .y = y.data()};
    backend->run(fit);
    Values expected;
    for (int64_t i = 0; i < out_height; ++i)
      for (int64_t j = 0; j < out_width; ++j)
        for (int64_t c = 0; c < channels; ++c) {
          const int64_t pixel = std::min(i, height - 1) * width + std::min(j, width - 1);
          expected.push_back(2 * x[static_cast<size_t>(pixel * channels + c)] - 1);
        }
    EXPECT_EQ(y.to_host(), expected);

    const Values d_y = numbers(y.count(), 2), before = numbers(dx.count(), 3);
    const Tensor dd_y = device(y.shape(), d_y), d_x = device(dx.shape(), before);
    backend->run(FitPictureBackward{.forward = fit, .d_y = dd_y.data(), .d_x = d_x.data()});
    fit.shift = 0;
    backend->run(fit);
    const Values linear = y.to_host(), gradient = d_x.to_host();
    double forward = 0, backward = 0;
    for (size_t i = 0; i < linear.size(); ++i) forward += double{linear[i]} * d_y[i];
    for (size_t i = 0; i < x.size(); ++i) backward += (double{gradient[i]} - before[i]) * x[i];
    EXPECT_NEAR(forward, backward, 1e-4);
  }
}

TEST_F(SamplingOperations, SameBitsForAnyNumberOfThreads) {
  constexpr int64_t count = 300000;
  EXPECT_TRUE(same_bits_for_any_thread_count([&] {
    const Tensor latent = device({3, count / 3}, numbers(count, 1)),
                 prediction = device({2 * count}, numbers(2 * count, 2)), scales = device({3}, {1, 2, 3}),
                 fitted = Tensor::zeros(*backend, {400, 300, 3});
    backend->run(EulerStep{.frames = 3,
                           .elements = count / 3,
                           .now = now(),
                           .prediction = prediction.data(),
                           .scales = scales.data(),
                           .latent = latent.data()});
    backend->run(FitPicture{.height = 250,
                            .width = 400,
                            .channels = 3,
                            .out_height = 400,
                            .out_width = 300,
                            .x = latent.data(),
                            .y = fitted.data()});
    Values all = latent.to_host(), more = fitted.to_host();
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }));
}

}  // namespace
}  // namespace eg4d::test
