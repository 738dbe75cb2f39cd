#include "diffusion/video_unet.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "core/threads.h"
#include "support/device_fixture.h"
#include "support/expect_error.h"
#include "support/golden.h"
#include "support/network_fixture.h"

namespace eg4d::test {
namespace {

class VideoUNetTest : public OnEachDevice {
 protected:
  void SetUp() override {
    if (!golden_has("svd_unet")) GTEST_SKIP() << "no svd_unet fixture";
    config = golden_json("svd_unet/config.json");
    weights = golden_weights("svd_unet");
    frames = config.at("num_video_frames").get<int64_t>();
    network = std::make_unique<VideoUNet>(
        *backend, weights, "model.diffusion_model.",
        VideoUNet::Options{.head_channels =
                               config.at("network_config").at("num_head_channels").get<int64_t>()});
  }
  Tensor numbers(Shape shape, uint32_t seed) {
    const auto count = static_cast<size_t>(element_count(shape));
    return Tensor::from_host<float>(*backend, std::move(shape), hash_tensor(seed, count, 2));
  }
  std::shared_ptr<const VideoUNet::Conditioning> conditioning(uint32_t seed) {
    return network->condition(numbers({2 * frames, 1, network->context_width()}, seed),
                              numbers({2 * frames, network->vector_width()}, seed + 1), frames);
  }

  nlohmann::json config;
  WeightMap weights;
  int64_t frames = 0;
  std::unique_ptr<Backend> backend = make_test_backend();
  std::unique_ptr<VideoUNet> network;
};

// Over a single context token the softmax is 1 whatever queries and keys are.
TEST_P(VideoUNetTest, CrossAttentionWithOneTokenIsAConstant) {
  const int64_t context_width = network->context_width(), tokens = 50;
  for (const auto& [name, item] : weights.items()) {
    if (!name.ends_with("attn2.to_q.weight")) continue;
    const std::string layer = name.substr(0, name.size() - std::string("to_q.weight").size());
    const int64_t channels = item.shape[0], head_dim = config.at("network_config").at("num_head_channels");
    const auto dense = [&](const std::string& part, int64_t in, bool bias) {
      const std::vector<float> w = weights.floats(layer + part + ".weight");
      const std::vector<float> b = bias ? weights.floats(layer + part + ".bias") : std::vector<float>();
      return backend->pack_linear(
          {.in = in, .out = channels, .weight = w, .bias = bias ? StoredWeight(b) : StoredWeight()});
    };
    const auto apply = [&](const std::shared_ptr<const PackedWeight>& weight, const Tensor& x) {
      Tensor y = Tensor::empty(*backend, {x.dim(0), channels});
      backend->run(Linear{
          .rows = x.dim(0), .x = x.data(), .weight = weight.get(), .residual = nullptr, .y = y.data()});
      return y;
    };
    const Tensor x = numbers({tokens, channels}, 1), context = numbers({1, context_width}, 2);
    const Tensor q = apply(dense("to_q", channels, false), x),
                 k = apply(dense("to_k", context_width, false), context);
    const Tensor v = apply(dense("to_v", context_width, false), context),
                 mixed = Tensor::empty(*backend, q.shape());
    Attention a;
    a.heads = channels / head_dim;
    a.head_dim = head_dim;
    a.queries = tokens;
    a.keys = 1;
    a.q = {q.data(), 0, 0, channels};
    a.k = {k.data(), 0, 0, channels};
    a.v = {v.data(), 0, 0, channels};
    a.y = mixed.data();
    a.y_token_stride = channels;
    backend->run(a);
    const auto out = dense("to_out.0", channels, true);
    const std::vector<float> full = apply(out, mixed).to_host(), constant = apply(out, v).to_host();
    std::vector<float> repeated;
    for (int64_t i = 0; i < tokens; ++i) repeated.insert(repeated.end(), constant.begin(), constant.end());
    EXPECT_LE(relative_error(full, repeated), 1e-6) << layer;
  }
}

TEST_P(VideoUNetTest, InjectionIntoTheFirstVideoChangesNothing) {
  const auto condition = conditioning(1);
  const Tensor x = numbers({2 * frames, 8, 4, network->in_channels()}, 3);
  const float time = 0.2f;
  VideoUNet::Call call(*network, {2 * frames, frames, 8, 4}, AttentionInjection::Options{});
  EXPECT_EQ(call.injection()->references().size(), network->injection_layers());
  backend->run(CopyBytes{call.input().raw(), x.raw(), x.bytes()});
  call.set_timestep(time);
  call.run(*condition, 0, true);
  EXPECT_EQ(call.prediction().to_host(), network->forward(x, {&time, 1}, *condition).to_host());
  // A later one with other inputs sees the references.
  call.run(*condition, 0, false);
  const std::vector<float> same = call.prediction().to_host();
  const Tensor other = numbers(x.shape(), 4);
  backend->run(CopyBytes{call.input().raw(), other.raw(), other.bytes()});
  call.run(*condition, 0, false);
  EXPECT_NE(call.prediction().to_host(), network->forward(other, {&time, 1}, *condition).to_host());
  EXPECT_LE(relative_error(same, network->forward(x, {&time, 1}, *condition).to_host()), 1e-6);
}

TEST_P(VideoUNetTest, WrongSizesAreNamed) {
  const auto condition = conditioning(1);
  const float time = 0;
  EXPECT_EQ(network->size_multiple(), 4);
  EXPECT_ERROR(network->forward(numbers({2 * frames, 10, 4, 8}, 1), {&time, 1}, *condition),
               "multiples of 4");
  EXPECT_ERROR(network->forward(numbers({frames, 8, 4, 8}, 1), {&time, 1}, *condition), "not [");
  EXPECT_ERROR(network->forward(numbers({2 * frames, 8, 4, 8}, 1), {}, *condition), "one time step");
  EXPECT_ERROR(network->condition(numbers({frames, 2, network->context_width()}, 1),
                                  numbers({frames, network->vector_width()}, 1), frames),
               "the network takes contexts");
  EXPECT_ERROR(VideoUNet(*backend, weights), "attention heads of 64");
}

using VideoUNetTestOnCpu = VideoUNetTest;

TEST_F(VideoUNetTestOnCpu, NumberOfThreadsChangesNothing) {
  const auto condition = conditioning(1);
  const Tensor x = numbers({2 * frames, 8, 8, network->in_channels()}, 3);
  const float time = 0.2f;
  std::vector<float> first;
  for (const int threads : {1, 2, 5}) {
    set_thread_count(threads);
    const std::vector<float> y = network->forward(x, {&time, 1}, *condition).to_host();
    if (first.empty()) first = y;
    EXPECT_EQ(y, first);
  }
  set_thread_count(0);
}

EG4D_ON_EACH_DEVICE(VideoUNetTest);

}  // namespace
}  // namespace eg4d::test
