// The GPU's kernels besides the rasteriser, each against the CPU's on fresh random inputs.

#include "backend/cuda/splat_kernels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "backend/cpu/splat_kernels.h"
#include "cuda/support/device.h"
#include "random/random.h"
#include "support/golden.h"
#include "support/random_values.h"
#include "support/reference_training.h"

namespace eg4d::test {
namespace {

using Values = std::vector<float>;

constexpr int64_t kCounts[] = {0, 1, 31, 127, 128, 129, 1000, 20000};

class Random {
 public:
  explicit Random(uint64_t seed) : random_(seed) {}
  Values operator()(int64_t count, float low = -1, float high = 1) {
    return uniform_values<float>(random_, count, low, high);
  }

 private:
  Philox random_;
};

// One array that both sides read, or add to.
struct Both {
  explicit Both(Values values) : host(std::move(values)), device(host) {}
  Values host;
  DeviceBuffer<float> device;
};

void expect_same(const Both& both, double limit, const char* what) {
  EXPECT_LE(relative_error(both.device.to_host(), both.host), limit) << what;
}

TEST(CudaShColor, ForwardAndBackwardLikeTheCpu) {
  EG4D_NEEDS_GPU();
  uint64_t seed = 1;
  for (const int64_t n : kCounts) {
    for (int degree = 0; degree <= 3; ++degree) {
      for (const bool with_gain : {false, true}) {
        SCOPED_TRACE(testing::Message() << n << " of degree " << degree << ", gain: " << with_gain);
        Random random(++seed);
        Both positions(random(3 * n)), dc(random(3 * n)), rest(random(45 * n)), gain(random(4 * n)),
            d_colors(random(3 * n)), colors(Values(static_cast<size_t>(3 * n)));
        Both d_positions(random(3 * n)), d_dc(random(3 * n)), d_rest(random(45 * n)), d_gain(random(4 * n));
        if (n > 0) {  // at the camera
          positions.host[0] = 0.1f;
          positions.host[1] = -0.2f;
          positions.host[2] = 2;
          positions = Both(positions.host);
        }
        Both center(Values{0.1f, -0.2f, 2});
        const auto arguments = [&](auto pick) {
          ShColorBackward b;
          ShColor& a = b.forward;
          a.count = n;
          a.degree = degree;
          a.camera_center = pick(center);
          a.positions = pick(positions);
          a.sh_dc = pick(dc);
          a.sh_rest = pick(rest);
          a.gain_bias = with_gain ? pick(gain) : nullptr;
          a.colors = pick(colors);
          b.d_colors = pick(d_colors);
          b.d_positions = pick(d_positions);
          b.d_sh_dc = pick(d_dc);
          b.d_sh_rest = pick(d_rest);
          b.d_gain_bias = pick(d_gain);
          return b;
        };
        const auto on_host = [](Both& b) { return b.host.data(); };
        const auto on_device = [](Both& b) { return b.device.data(); };
        cpu::sh_color_forward(arguments(on_host).forward);
        cuda::sh_color_forward(arguments(on_device).forward, nullptr);
        expect_same(colors, 1e-6, "colors");
        // A colour that rounding puts on the other side of 0 must not count.
        colors = Both(colors.host);
        cpu::sh_color_backward(arguments(on_host));
        cuda::sh_color_backward(arguments(on_device), nullptr);
        expect_same(d_positions, 1e-5, "d_positions");
        expect_same(d_dc, 1e-6, "d_sh_dc");
        expect_same(d_rest, 1e-6, "d_sh_rest");
        expect_same(d_gain, 1e-6, "d_gain_bias");
      }
    }
  }
}

TEST(CudaGaussianActivation, ForwardAndBackwardLikeTheCpu) {
  EG4D_NEEDS_GPU();
  uint64_t seed = 100;
  for (const int64_t n : kCounts) {
    for (const bool with_deltas : {false, true}) {
      for (const bool flat : {false, true}) {
        SCOPED_TRACE(testing::Message() << n << ", deltas: " << with_deltas << ", flat: " << flat);
        Random random(++seed);
        Both positions(random(3 * n)), log_scales(random(3 * n, -6, 2)), quaternions(random(4 * n)),
            logits(random(n, -8, 8));
        Both delta_positions(random(3 * n)), delta_scales(random(3 * n)), delta_quaternions(random(4 * n)),
            delta_opacities(random(n)), raw_gain(random(n, -3, 3)), raw_bias(random(3 * n));
        Both means(random(3 * n)), scales(random(3 * n)), rotations(random(4 * n)), opacities(random(n)),
            gain_bias(random(4 * n));
        Both d_means(random(3 * n)), d_scales(random(3 * n)), d_rotations(random(4 * n)),
            d_opacities(random(n)), d_gain_bias(random(4 * n));
        std::vector<Both> gradients;
        for (const int64_t width : {3, 3, 4, 1, 3, 3, 4, 1, 1, 3}) gradients.emplace_back(random(width * n));
        const auto arguments = [&](auto pick) {
          GaussianActivationBackward b;
          GaussianActivation& a = b.forward;
          a.count = n;
          a.flat = flat;
          a.positions = pick(positions);
          a.log_scales = pick(log_scales);
          a.quaternions = pick(quaternions);
          a.opacity_logits = pick(logits);
          if (with_deltas) {
            a.delta_positions = pick(delta_positions);
            a.delta_log_scales = pick(delta_scales);
            a.delta_quaternions = pick(delta_quaternions);
            a.delta_opacities = pick(delta_opacities);
            a.raw_gain = pick(raw_gain);
            a.raw_bias = pick(raw_bias);
            a.gain_bias = pick(gain_bias);
            b.d_gain_bias = pick(d_gain_bias);
          }
          a.means = pick(means);
          a.scales = pick(scales);
          a.rotations = pick(rotations);
          a.opacities = pick(opacities);
          b.d_means = pick(d_means);
          b.d_scales = pick(d_scales);
          b.d_rotations = pick(d_rotations);
          b.d_opacities = pick(d_opacities);
          float** const outputs[] = {&b.d_positions,         &b.d_log_scales,      &b.d_quaternions,
                                     &b.d_opacity_logits,    &b.d_delta_positions, &b.d_delta_log_scales,
                                     &b.d_delta_quaternions, &b.d_delta_opacities, &b.d_raw_gain,
                                     &b.d_raw_bias};
          for (size_t k = 0; k < (with_deltas ? 10 : 4); ++k) *outputs[k] = pick(gradients[k]);
          return b;
        };
        const GaussianActivationBackward host = arguments([](Both& b) { return b.host.data(); });
        const GaussianActivationBackward device = arguments([](Both& b) { return b.device.data(); });
        cpu::gaussian_activation_forward(host.forward);
        cuda::gaussian_activation_forward(device.forward, nullptr);
        cpu::gaussian_activation_backward(host);
        cuda::gaussian_activation_backward(device, nullptr);
        for (const Both* both : {&means, &scales, &rotations, &opacities, &gain_bias})
          expect_same(*both, 1e-6, "values");
        for (const Both& both : gradients) expect_same(both, 1e-6, "gradients");
      }
    }
  }
}

TEST(CudaGaussianActivation, NothingFiniteStaysWhereItIs) {
  EG4D_NEEDS_GPU();
  const float nan = std::numeric_limits<float>::quiet_NaN(),
              infinity = std::numeric_limits<float>::infinity();
  const DeviceBuffer<float> scales(Values{nan, 100, -1000, 0, infinity, -infinity}), out(6);
  GaussianActivation a;
  a.count = 2;
  a.log_scales = scales.data();
  a.scales = out.data();
  cuda::gaussian_activation_forward(a, nullptr);
  const Values got = out.to_host();
  EXPECT_TRUE(std::isnan(got[0]));
  EXPECT_EQ(got[1], infinity);
  EXPECT_EQ(got[2], 0);
  EXPECT_EQ(got[3], 1);
  EXPECT_EQ(got[4], infinity);
  EXPECT_EQ(got[5], 0);
}

void expect_same_loss(int width, int height, float dssim_weight, bool want_ssim, uint64_t seed) {
  SCOPED_TRACE(testing::Message() << width << "x" << height << ", " << dssim_weight << ", " << want_ssim);
  Random random(seed);
  const int64_t count = int64_t{3} * width * height;
  Both image(random(count, 0, 1)), target(random(count, 0, 1)), gradient(random(count));
  if (count > 0) {  // sign(0) is 0
    image.host[0] = target.host[0];
    image = Both(image.host);
  }
  std::vector<double> values(4);
  const DeviceBuffer<double> device_values(4);
  const DeviceBuffer<uint8_t> workspace(
      static_cast<int64_t>(cuda::image_loss_workspace_bytes(width, height)));
  ImageLoss loss;
  loss.width = width;
  loss.height = height;
  loss.l1_weight = 0.8f;
  loss.dssim_weight = dssim_weight;
  loss.want_ssim = want_ssim;
  loss.image = image.host.data();
  loss.target = target.host.data();
  loss.d_image = gradient.host.data();
  loss.values = values.data();
  cpu::image_loss(loss);
  loss.image = image.device.data();
  loss.target = target.device.data();
  loss.d_image = gradient.device.data();
  loss.values = device_values.data();
  cuda::image_loss(loss, workspace.data(), nullptr);
  expect_same(gradient, 1e-5, "gradient");
  for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(device_values.to_host()[i], values[i], 1e-6) << i;
}

TEST(CudaImageLoss, LikeTheCpu) {
  EG4D_NEEDS_GPU();
  const int sizes[][2] = {{1, 1}, {97, 61}, {5, 200}, {32, 16}, {33, 17}, {192, 192}};
  uint64_t seed = 500;
  for (const auto& [width, height] : sizes) {
    expect_same_loss(width, height, 0, false, ++seed);
    expect_same_loss(width, height, 0, true, ++seed);
    expect_same_loss(width, height, 0.2f, false, ++seed);
  }
}

TEST(CudaImageLoss, SameBitsFromRunToRunAndNothingButWhatIsAskedFor) {
  EG4D_NEEDS_GPU();
  Random random(7);
  const Both image(random(3 * 300 * 200, 0, 1)), target(random(3 * 300 * 200, 0, 1));
  const DeviceBuffer<uint8_t> workspace(static_cast<int64_t>(cuda::image_loss_workspace_bytes(300, 200)));
  const DeviceBuffer<double> values(4);
  ImageLoss loss{.width = 300, .height = 200, .image = image.device.data(), .target = target.device.data()};
  loss.dssim_weight = 0.3f;
  loss.values = values.data();
  cuda::image_loss(loss, workspace.data(), nullptr);
  const std::vector<double> first = values.to_host();
  for (int run = 0; run < 3; ++run) {
    cuda::image_loss(loss, workspace.data(), nullptr);
    EXPECT_EQ(values.to_host(), first);
  }
  loss.values = nullptr;
  cuda::image_loss(loss, workspace.data(), nullptr);
  EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
}

// Several tensors of odd sizes in one launch, from subnormal to large gradients, against the definition in
// double.
TEST(CudaFills, PiecesOfAnySizeAndPlaceInOneLaunch) {
  EG4D_NEEDS_GPU();
  const DeviceBuffer<uint8_t> memory(std::vector<uint8_t>(200000, 9));
  std::vector<uint8_t> want(200000, 9);
  std::vector<FillBytes> fills;
  const size_t pieces[][2] = {{0, 16}, {17, 1}, {19, 15}, {35, 0}, {48, 33}, {100, 16384}, {20003, 100001}};
  for (const auto& [begin, bytes] : pieces) {
    const auto value = static_cast<uint8_t>(fills.size());
    fills.push_back({memory.data() + begin, value, bytes});
    std::fill_n(want.begin() + static_cast<long>(begin), bytes, value);
  }
  cuda::fill_bytes(fills, nullptr);
  EXPECT_EQ(memory.to_host(), want);
}

TEST(CudaAdam, ManyTensorsInOneLaunch) {
  EG4D_NEEDS_GPU();
  const int64_t counts[] = {0, 1, 31, 4096, 4097, 20000, 3};
  Random random(9);
  std::vector<DeviceBuffer<float>> parameters, gradients, firsts, seconds;
  std::vector<std::vector<double>> want, want_first, want_second;
  for (const int64_t count : counts) {
    const Values start = random(count);
    parameters.emplace_back(start);
    firsts.push_back(DeviceBuffer<float>::zeros(count));
    seconds.push_back(DeviceBuffer<float>::zeros(count));
    want.push_back(converted<double>(start));
    want_first.emplace_back(static_cast<size_t>(count));
    want_second.emplace_back(static_cast<size_t>(count));
  }
  for (int64_t step = 1; step <= 10; ++step) {
    std::vector<Adam> tensors;
    std::vector<AdamRate> rates;
    for (size_t t = 0; t < std::size(counts); ++t)
      rates.push_back(adam_rate(0.01 * static_cast<double>(t + 1), step));
    const DeviceBuffer<AdamRate> device_rates(rates);
    gradients.clear();
    for (size_t t = 0; t < std::size(counts); ++t) {
      Values gradient = random(counts[t]);
      for (size_t i = 0; i < gradient.size(); ++i) {
        if (i % 5 == 0) gradient[i] = 0;
        if (i % 7 == 0) gradient[i] = std::ldexp(gradient[i], -static_cast<int>(i % 80));
      }
      gradients.emplace_back(gradient);
      const double rate = 0.01 * static_cast<double>(t + 1);
      tensors.push_back({.count = counts[t],
                         .parameter = parameters[t].data(),
                         .gradient = gradients[t].data(),
                         .first_moment = firsts[t].data(),
                         .second_moment = seconds[t].data(),
                         .rate = device_rates.data() + t});
      reference_adam(want[t], converted<double>(gradient), want_first[t], want_second[t], step, rate);
    }
    cuda::adam(tensors, nullptr);
    for (const DeviceBuffer<float>& gradient : gradients)
      EXPECT_EQ(gradient.to_host(), Values(static_cast<size_t>(gradient.count())))
          << "the gradient is zeroed";
  }
  for (size_t t = 0; t < std::size(counts); ++t) {
    EXPECT_LE(relative_error(parameters[t].to_host(), converted<float>(want[t])), 1e-5) << t;
    EXPECT_LE(relative_error(firsts[t].to_host(), converted<float>(want_first[t])), 1e-6) << t;
    EXPECT_LE(relative_error(seconds[t].to_host(), converted<float>(want_second[t])), 1e-6) << t;
  }
}

TEST(CudaAdam, NotANumberStaysInItsElement) {
  EG4D_NEEDS_GPU();
  Values gradient(40, 0.1f);
  gradient[3] = std::numeric_limits<float>::quiet_NaN();
  gradient[20] = std::numeric_limits<float>::infinity();
  const DeviceBuffer<float> parameter(Values(40, 1.0f)), given(gradient),
      first = DeviceBuffer<float>::zeros(40), second = DeviceBuffer<float>::zeros(40);
  const DeviceBuffer<AdamRate> rate(std::vector<AdamRate>{adam_rate(0.01, 1)});
  const Adam adam{.count = 40,
                  .parameter = parameter.data(),
                  .gradient = given.data(),
                  .first_moment = first.data(),
                  .second_moment = second.data(),
                  .rate = rate.data()};
  cuda::adam({&adam, 1}, nullptr);
  const Values p = parameter.to_host();
  for (size_t i = 0; i < p.size(); ++i) EXPECT_TRUE(i == 3 || i == 20 || std::isfinite(p[i])) << i;
  EXPECT_TRUE(std::isnan(p[3]));
}

}  // namespace
}  // namespace eg4d::test
