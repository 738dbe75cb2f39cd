// The way back through the autoencoder's encoder, and score distillation, which goes it.

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "diffusion/image_to_image.h"
#include "support/device_fixture.h"
#include "support/golden.h"
#include "support/random_values.h"
#include "support/temporary_folder.h"
#include "support/tiny_image_model.h"

namespace eg4d::test {
namespace {

using Values = std::vector<float>;

double dot(const Values& a, const Values& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += double{a[i]} * b[i];
  return sum;
}

// `gradient` against differences of value() along itself, a few random directions and single numbers of x.
// value() computes in f32: hence a fourth-order formula with large
// steps.
void expect_gradient(const Values& gradient, const Values& x,
                     const std::function<double(const Values&)>& value) {
  const double length = std::sqrt(dot(gradient, gradient));
  ASSERT_GT(length, 0);
  std::vector<Values> directions = {gradient};
  for (uint32_t seed = 1; seed <= 3; ++seed) directions.push_back(hash_tensor(seed, x.size(), 2));
  for (size_t i : {size_t{0}, x.size() / 2 + 1, x.size() - 1}) {
    directions.emplace_back(x.size());
    directions.back()[i] = 1;
  }
  for (Values& direction : directions) {
    const double norm = std::sqrt(dot(direction, direction));
    for (float& number : direction) number = static_cast<float>(number / norm);
    const auto at = [&](double step) {
      Values moved = x;
      for (size_t i = 0; i < x.size(); ++i) moved[i] += static_cast<float>(step * direction[i]);
      return value(moved);
    };
    const double h = 0.02;
    const double slope = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h);
    EXPECT_NEAR(dot(gradient, direction), slope, 2e-4 * length);
  }
}

class ScoreDistillation : public OnEachDevice {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TemporaryFolder;
    write_tiny_image_model(folder_->path());
  }
  static void TearDownTestSuite() {
    delete folder_;
    folder_ = nullptr;
  }

  static TemporaryFolder* folder_;
  std::unique_ptr<Backend> backend_ = make_test_backend({.guard_memory = true});
};
TemporaryFolder* ScoreDistillation::folder_ = nullptr;

TEST_P(ScoreDistillation, TheEncodersGradientIsItsDerivative) {
  const auto encoder = ImageCheckpoint(folder_->path()).encoder(*backend_);
  const int64_t multiple = encoder->size_multiple();
  for (const auto& [batch, rows, columns] : {std::array<int64_t, 3>{1, 4, 6}, {2, 3, 1}}) {
    const Shape shape{batch, rows * multiple, columns * multiple, 3};
    const Values x = hash_tensor(1, static_cast<size_t>(element_count(shape)), 2);
    const Values d_mode = hash_tensor(2, static_cast<size_t>(batch * rows * columns * 4), 2);
    const Values added = hash_tensor(3, x.size(), 2);
    const auto upload = [&](const Shape& form, const Values& values) {
      return Tensor::from_host<float>(*backend_, form, values);
    };
    const auto differentiate = [&](const Values& before) {
      const Tensor d_pictures = upload(shape, before);
      encoder->differentiate(
          upload(shape, x), [&](const Tensor& mode) { return upload(mode.shape(), d_mode); }, d_pictures);
      return d_pictures.to_host();
    };
    const Values gradient = differentiate(Values(x.size()));
    expect_gradient(gradient, x, [&](const Values& at) {
      return dot(encoder->mode(upload(shape, at)).to_host(), d_mode);
    });
    // It is added, whatever the number of threads; and the callback sees the mode.
    Values sum = gradient;
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += added[i];
    EXPECT_LE(relative_error(differentiate(added), sum), 1e-6);
    EXPECT_TRUE(same_bits_for_any_thread_count([&] { return differentiate(added); }));
    const Values wanted = encoder->mode(upload(shape, x)).to_host();
    const Tensor d_pictures = Tensor::zeros(*backend_, shape);
    encoder->differentiate(
        upload(shape, x),
        [&](const Tensor& mode) {
          EXPECT_EQ(mode.to_host(), wanted);
          return mode;
        },
        d_pictures);
  }
}

// The gradient of Σ w·(ε̂ - ε)·z(picture) with the first factors held, put together from the public parts.
TEST_P(ScoreDistillation, IsTheWeightedDifferenceOfNoisesCarriedBack) {
  const ImageCheckpoint checkpoint(folder_->path());
  ImageToImage network(*backend_, checkpoint);
  network.set_prompt(embed_prompt(*backend_, checkpoint, "a toy"), embed_no_prompt(*backend_, checkpoint));
  const int64_t height = 19, width = 30;
  const Values x = hash_tensor(1, static_cast<size_t>(height * width * 3), 1, 0.5f);
  const auto distilled = [&](const ImageToImage::Distillation& how, uint64_t seed) {
    const Tensor picture = Tensor::from_host<float>(*backend_, {height, width, 3}, x),
                 gradient = Tensor::zeros(*backend_, picture.shape());
    network.distill(picture, how, *make_normal_stream("philox", seed), gradient);
    return gradient.to_host();
  };

  const ImageToImage::Distillation how{.share = 0.3009, .guidance = 3, .weight = 2};
  const auto encode = [&](const Values& at) {
    return network.encode(Tensor::from_host<float>(*backend_, {height, width, 3}, at), nullptr);
  };
  const Tensor latents = encode(x);
  const double alpha = cumulative_alphas(network.schedule())[300];
  Values noisy = latents.to_host();
  const Values noise = draw_channels_last(*make_normal_stream("philox", 7), 1, 4, noisy.size() / 4);
  for (size_t i = 0; i < noise.size(); ++i)
    noisy[i] = static_cast<float>(std::sqrt(alpha) * noisy[i] + std::sqrt(1 - alpha) * noise[i]);
  Values held =
      network.predict_noise(Tensor::from_host<float>(*backend_, latents.shape(), noisy), 300, 3).to_host();
  for (size_t i = 0; i < noise.size(); ++i)
    held[i] = static_cast<float>(2 * (1 - alpha) * (held[i] - noise[i]) / static_cast<double>(noise.size()));
  const Values gradient = distilled(how, 7);
  expect_gradient(gradient, x, [&](const Values& at) { return dot(encode(at).to_host(), held); });

  EXPECT_TRUE(same_bits_for_any_thread_count([&] { return distilled(how, 7); }));
  EXPECT_NE(distilled(how, 8), gradient);
  ImageToImage::Distillation summed = how;
  summed.sum = true;
  summed.weight /= static_cast<float>(noise.size());
  EXPECT_LE(relative_error(distilled(summed, 7), gradient), 1e-6);
  for (const double share : {0.0, 1.0})  // the first and the last time step
    for (const float value : distilled({.share = share}, 7)) ASSERT_TRUE(std::isfinite(value));
}

EG4D_ON_EACH_DEVICE(ScoreDistillation);

}  // namespace
}  // namespace eg4d::test
