// L1, SSIM, mean squared error and PSNR against losses/: every "<batch>.img1" / "<batch>.img2".

#include <gtest/gtest.h>

#include <cmath>

#include "backend/backend.h"
#include "nn/tensor.h"
#include "support/device_fixture.h"
#include "support/golden.h"

namespace eg4d::test {
namespace {

constexpr double kForward = 1e-4, kGradient = 1e-3;

// Image `index` of a batch [B,3,H,W] as [H,W,3], and back.
std::vector<float> to_image(const std::vector<float>& batch, int64_t index, int64_t pixels) {
  std::vector<float> image(pixels * 3);
  for (int64_t c = 0; c < 3; ++c)
    for (int64_t p = 0; p < pixels; ++p) image[p * 3 + c] = batch[(index * 3 + c) * pixels + p];
  return image;
}
void from_image(const std::vector<float>& image, int64_t index, int64_t pixels, float scale,
                std::vector<float>& batch) {
  for (int64_t c = 0; c < 3; ++c)
    for (int64_t p = 0; p < pixels; ++p) batch[(index * 3 + c) * pixels + p] = image[p * 3 + c] * scale;
}

struct Result {
  double l1 = 0, ssim = 0, l2 = 0, loss = 0;  // means over the batch
  std::vector<float> psnr, d_images;
};

class Losses : public OnEachDevice {
 protected:
  void SetUp() override {
    if (!golden_has_fixture("losses/io.safetensors")) GTEST_SKIP() << "no losses fixture";
    io_ = std::make_unique<SafetensorsFile>(golden_tensors("losses/io.safetensors"));
    for (const auto& [name, entry] : io_->entries())
      if (name.ends_with(".img1") && entry.shape.at(1) == 3)
        batches_.push_back(name.substr(0, name.size() - 5));
    if (batches_.empty()) GTEST_SKIP() << "no image pairs";
  }

  Result evaluate(const std::string& batch, float l1_weight, float dssim_weight) {
    const Shape shape = io_->at(batch + ".img1").shape;
    const int64_t height = shape[2], width = shape[3], pixels = height * width;
    const std::vector<float> images = io_->floats(batch + ".img1"), targets = io_->floats(batch + ".img2");
    Result result;
    result.d_images.resize(images.size());
    for (int64_t i = 0; i < shape[0]; ++i) {
      const Tensor image = Tensor::from_host(*backend_, {height, width, 3}, to_image(images, i, pixels));
      const Tensor target = Tensor::from_host(*backend_, {height, width, 3}, to_image(targets, i, pixels));
      const Tensor gradient = Tensor::empty(*backend_, {height, width, 3});
      const Tensor values = Tensor::empty(*backend_, {4}, DType::f64);
      ImageLoss loss;
      loss.width = static_cast<int>(width);
      loss.height = static_cast<int>(height);
      loss.image = image.data();
      loss.target = target.data();
      loss.l1_weight = l1_weight;
      loss.dssim_weight = dssim_weight;
      loss.d_image = gradient.data();
      loss.values = values.data<double>();
      loss.want_ssim = true;
      backend_->run(loss);
      const std::vector<double> v = values.to_host<double>();
      const double share = 1.0 / static_cast<double>(shape[0]);
      result.l1 += v[0] * share;
      result.ssim += v[1] * share;
      result.l2 += v[2] * share;
      result.loss += v[3] * share;
      result.psnr.push_back(static_cast<float>(-10 * std::log10(v[2])));
      from_image(gradient.to_host(), i, pixels, static_cast<float>(share), result.d_images);
    }
    return result;
  }

  double value(const std::string& name) { return io_->floats(name)[0]; }
  void expect_near(double ours, const std::string& name) {
    if (!io_->contains(name)) return;
    ++compared_;
    EXPECT_NEAR(ours, value(name), kForward * std::abs(value(name))) << name;
  }
  void expect_gradient(const std::vector<float>& ours, const std::string& name) {
    if (!io_->contains(name)) return;
    ++compared_;
    EXPECT_LE(relative_error(ours, io_->floats(name)), kGradient) << name;
  }

  std::unique_ptr<Backend> backend_ = make_test_backend({.guard_memory = true});
  std::unique_ptr<SafetensorsFile> io_;
  std::vector<std::string> batches_;
  int compared_ = 0;
};

TEST_P(Losses, L1MatchesTheReference) {
  for (const std::string& batch : batches_) {
    const Result result = evaluate(batch, 1, 0);
    expect_near(result.l1, batch + ".l1");
    EXPECT_DOUBLE_EQ(result.loss, result.l1);
    expect_gradient(result.d_images, batch + ".l1.grad_img1");
  }
  EXPECT_GT(compared_, 0);
}

TEST_P(Losses, SsimMatchesTheReference) {
  for (const std::string& batch : batches_) {
    Result result = evaluate(batch, 0, 1);
    expect_near(result.ssim, batch + ".ssim");
    EXPECT_NEAR(result.loss, 1 - result.ssim, 1e-12);
    for (float& d : result.d_images) d = -d;
    expect_gradient(result.d_images, batch + ".ssim.grad_img1");
  }
  EXPECT_GT(compared_, 0);
}

TEST_P(Losses, SquaredErrorAndPsnrMatchTheReference) {
  for (const std::string& batch : batches_) {
    const Result result = evaluate(batch, 1, 0);
    expect_near(result.l2, batch + ".l2");
    if (!io_->contains(batch + ".psnr")) continue;
    EXPECT_LE(relative_error(result.psnr, io_->floats(batch + ".psnr")), kForward) << batch;
    ++compared_;
  }
  EXPECT_GT(compared_, 0);
}

TEST_P(Losses, WeightedSumHasTheSumOfTheGradients) {
  for (const std::string& batch : batches_) {
    const Result result = evaluate(batch, 0.8f, 0.2f);
    if (!io_->contains(batch + ".l1.grad_img1") || !io_->contains(batch + ".ssim.grad_img1")) continue;
    const std::vector<float> l1 = io_->floats(batch + ".l1.grad_img1"),
                             ssim = io_->floats(batch + ".ssim.grad_img1");
    std::vector<float> wanted(l1.size());
    for (size_t i = 0; i < l1.size(); ++i) wanted[i] = 0.8f * l1[i] - 0.2f * ssim[i];
    EXPECT_LE(relative_error(result.d_images, wanted), kGradient);
    EXPECT_NEAR(result.loss, 0.8 * result.l1 + 0.2 * (1 - result.ssim), 1e-6);
    ++compared_;
  }
  EXPECT_GT(compared_, 0);
}

EG4D_ON_EACH_DEVICE(Losses);

}  // namespace
}  // namespace eg4d::test
