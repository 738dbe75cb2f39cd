// A cap on a GPU's memory: it is kept, weights that have to leave give the same bits, and what cannot be done
// is told.

#include <gtest/gtest.h>

#include "nn/layers.h"
#include "nn/prepared_call.h"
#include "support/device_fixture.h"
#include "support/expect_error.h"
#include "support/random_values.h"

namespace eg4d::test {
namespace {

constexpr size_t kCap = size_t{3} << 30;

class MemoryCap : public OnEachDevice {
 protected:
  void SetUp() override {
    if (current_device().is_cpu()) GTEST_SKIP() << "the processor's memory has no cap";
    backend_ = make_backend(current_device().name, FieldPrecision::f32, kCap);
    if (!backend_->has_networks()) GTEST_SKIP() << "networks' libraries are missing";
  }

  // Takes what there is, then more, until weights have left.
  void take_the_rest() {
    // Down to what devices give memory in: a smaller piece takes as much.
    for (size_t piece = size_t{512} << 20; piece >= (size_t{2} << 20); piece /= 2)
      while (backend_->memory_use().available >= piece) ballast_.push_back(taken(piece));
    while (backend_->memory_use().streamed == 0) ballast_.push_back(taken(size_t{1} << 20));
  }
  void take_everything() {
    while (true) ballast_.push_back(taken(size_t{1} << 20));
  }
  std::shared_ptr<void> taken(size_t bytes) {
    Backend* backend = backend_.get();
    return {backend->allocate(bytes), [backend](void* memory) { backend->release(memory); }};
  }

  std::unique_ptr<Backend> backend_;
  std::vector<std::shared_ptr<void>> ballast_;
};

EG4D_ON_EACH_DEVICE(MemoryCap);

// Layers of several kinds and sizes, each used twice in one prepared call.
class SmallNetwork {
 public:
  SmallNetwork(Backend& backend, DType precision)
      : type_{precision, precision,
              precision == DType::f32 ? NetworkType::Products::f32 : NetworkType::Products::half},
        arena_(backend) {
    for (int i = 0; i < 12; ++i) linear_.push_back(linear(backend, kWidth, kWidth));
    for (int i = 0; i < 3; ++i) {
      forward_.push_back({linear(backend, kWidth, 8 * kWidth), linear(backend, 4 * kWidth, kWidth)});
      const std::vector<float> weight = random(9 * kWidth * kWidth, 0.03f), bias = random(kWidth, 0.1f);
      convolutions_.push_back({kWidth, kWidth, 3, 3,
                               backend.pack_convolution({.in = kWidth,
                                                         .out = kWidth,
                                                         .kernel_height = 3,
                                                         .kernel_width = 3,
                                                         .weight = weight,
                                                         .bias = bias,
                                                         .type = type_})});
    }
    input_ = random(kRows * kSide * kSide * kWidth, 1);
    prepare();
  }

  void prepare() {
    call_ = std::make_unique<PreparedFunction>(arena_, type_.activations, Shape{kRows, kSide, kSide, kWidth},
                                               [this](Session& session, const Tensor& input) {
                                                 Tensor x = input;
                                                 for (size_t i = 0; i < 2 * linear_.size(); ++i) {
                                                   Tensor y = linear_[i % 12](session, x, Activation::silu);
                                                   if (i % 4 == 1) forward_[i / 4 % 3].add_to(session, x, y);
                                                   if (i % 4 == 3) y = convolutions_[i / 4 % 3](session, y);
                                                   x = y;
                                                 }
                                                 return x;
                                               });
  }
  std::vector<float> run() { return call_->apply(input_); }

 private:
  static constexpr int64_t kWidth = 320, kRows = 2, kSide = 8;

  std::vector<float> random(int64_t count, float size) {
    return uniform_values(numbers_, count, -size, size);
  }
  LinearLayer linear(Backend& backend, int64_t in, int64_t out) {
    const std::vector<float> weight = random(in * out, 0.1f), bias = random(out, 0.1f);
    return {in, out,
            backend.pack_linear({.in = in, .out = out, .weight = weight, .bias = bias, .type = type_})};
  }

  NetworkType type_;
  Philox numbers_{7};
  Arena arena_;
  std::vector<LinearLayer> linear_;
  std::vector<FeedForwardLayer> forward_;
  std::vector<ConvolutionLayer> convolutions_;
  std::unique_ptr<PreparedFunction> call_;
  std::vector<float> input_;
};

TEST_P(MemoryCap, StreamedWeightsGiveTheSameBits) {
  for (const DType precision : {DType::f16, DType::f32}) {
    SCOPED_TRACE(name_of(precision));
    SmallNetwork network(*backend_, precision);
    const std::vector<float> wanted = network.run();
    EXPECT_TRUE(same_bits(network.run(), wanted));
    EXPECT_EQ(backend_->memory_use().streamed, 0u);
    take_the_rest();
    EXPECT_GT(backend_->memory_use().streamed, 0u);
    // One by one, then as a graph, then that again.
    for (int i = 0; i < 4; ++i) EXPECT_TRUE(same_bits(network.run(), wanted)) << i;
    const MemoryUse use = backend_->memory_use();
    EXPECT_LE(use.peak, use.cap);
    EXPECT_THROW(taken(kCap - use.outside), OutOfMemory);  // all weights together are less: they stay
    EXPECT_EQ(backend_->memory_use().streamed, use.streamed);
    // All that can leave.
    EXPECT_THROW(take_everything(), OutOfMemory);
    EXPECT_GT(backend_->memory_use().streamed, use.streamed);
    for (int i = 0; i < 4; ++i) EXPECT_TRUE(same_bits(network.run(), wanted)) << i;
    ballast_.clear();
    network.prepare();
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(same_bits(network.run(), wanted)) << i;
    EXPECT_EQ(backend_->memory_use().streamed, 0u);  // there is room again
    EXPECT_LE(backend_->memory_use().peak, use.cap);
  }
}

TEST_P(MemoryCap, NetworksThatAreGoneLeaveNothing) {
  const size_t before = backend_->allocated_bytes();
  {
    SmallNetwork network(*backend_, DType::f16);
    const std::vector<float> wanted = network.run();
    take_the_rest();
    EXPECT_TRUE(same_bits(network.run(), wanted));
  }
  ballast_.clear();
  EXPECT_EQ(backend_->memory_use().streamed, 0u);
  EXPECT_LT(backend_->allocated_bytes(), before + (size_t{64} << 20));  // what operations work in is kept
}

TEST_P(MemoryCap, WhatDoesNotFitIsTold) {
  EXPECT_ERROR(backend_->allocate(kCap), "--memory allows 3.00 GiB, and this takes at least ");
  EXPECT_ERROR(take_everything(), "could not allocate 1 MiB on the GPU: --memory allows 3.00 GiB");
  const MemoryUse use = backend_->memory_use();
  EXPECT_EQ(use.cap, kCap);
  EXPECT_LE(use.peak, kCap);
  EXPECT_GT(use.peak, kCap - (size_t{300} << 20));
  ballast_.clear();
  backend_->release(backend_->allocate(size_t{1} << 30));  // and it goes on
}

// Of eight weights of 32 MiB the sentence counts no more than the ring through which they could come.
TEST_P(MemoryCap, WhatCouldLeaveIsNotPartOfTheLeast) {
  const auto least = [&] {
    try {
      taken(kCap);
    } catch (const OutOfMemory& error) {
      const std::string text = error.what(), before = "at least ";
      return std::stod(text.substr(text.find(before) + before.size()));
    }
    return 0.0;
  };
  constexpr int64_t kWidth = 4096;
  const std::vector<float> values(kWidth * kWidth, 0.5f);
  std::vector<std::shared_ptr<const PackedWeight>> weights;
  const auto pack = [&] {
    weights.push_back(backend_->pack_linear({.in = kWidth,
                                             .out = kWidth,
                                             .weight = values,
                                             .type = {DType::f16, DType::f16, NetworkType::Products::half}}));
  };
  const double without = least();
  for (int i = 0; i < 8; ++i) pack();
  const double with = least();
  EXPECT_GE(with, without);
  EXPECT_LT(with, without + 0.15);  // GiB
}

TEST_P(MemoryCap, OneThatLeavesNothingIsTold) {
  EXPECT_ERROR(make_backend(current_device().name, FieldPrecision::f32, size_t{1} << 30),
               "--memory leaves nothing to compute with (1.00 GiB, and 1.50 GiB is the least for anything)");
}

// The sentence names the option. More than any GPU has: what one is asked for in earnest it takes from other
// programs, such as the tests beside, until it finds that it is too much.
TEST_P(MemoryCap, WithoutOneTheDevicesMemoryEndsInASentenceToo) {
  const auto backend = make_backend(current_device().name);
  EXPECT_EQ(backend->memory_use().cap, 0u);
  EXPECT_ERROR(backend->allocate(size_t{1} << 40), "--memory SIZE");
}

}  // namespace
}  // namespace eg4d::test
