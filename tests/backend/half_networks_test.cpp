// f16 and bf16 on a device against the processor, which rounds where a device rounds (make_cpu_backend with
// emulate_half): operations at sizes that networks have, and whole small networks.

#include <gtest/gtest.h>

#include "core/error.h"
#include "diffusion/image_checkpoint.h"
#include "diffusion/video_checkpoint.h"
#include "nn/network_type.h"
#include "support/operation_test.h"
#include "support/temporary_folder.h"
#include "support/tiny_image_model.h"
#include "support/tiny_video_model.h"

namespace eg4d::test {
namespace {

// Runs the same work on a device, in a type.
class Work {
 public:
  Work(Backend& backend, DType type) : backend(backend), type(type) {}

  Tensor operator()(int64_t count, uint32_t seed, float spread = 2) {
    return Tensor::from_host(backend, {count}, numbers(count, seed, spread)).converted(type);
  }
  Tensor f32(int64_t count, uint32_t seed, float spread = 2, float middle = 0) {
    kept_.push_back(Tensor::from_host(backend, {count}, numbers(count, seed, spread, middle)));
    return kept_.back();
  }
  Tensor empty(int64_t count) { return Tensor::empty(backend, {count}, type); }
  std::shared_ptr<const PackedWeight> linear(int64_t in, int64_t out, uint32_t seed, bool bias = true) {
    const float spread = 2 / std::sqrt(static_cast<float>(in));
    return backend.pack_linear({.in = in,
                                .out = out,
                                .weight = numbers(in * out, seed, spread),
                                .bias = bias ? StoredWeight(bias_ = numbers(out, seed + 1)) : StoredWeight(),
                                .type = network_type(backend, type)});
  }
  std::shared_ptr<const PackedWeight> convolution(int64_t in, int64_t out, int64_t height, int64_t width,
                                                  uint32_t seed) {
    const float spread = 2 / std::sqrt(static_cast<float>(in * height * width));
    return backend.pack_convolution({.in = in,
                                     .out = out,
                                     .kernel_height = height,
                                     .kernel_width = width,
                                     .weight = numbers(in * out * height * width, seed, spread),
                                     .bias = bias_ = numbers(out, seed + 1),
                                     .type = network_type(backend, type)});
  }
  Values values(const Tensor& x) { return x.converted(DType::f32).to_host(); }

  Backend& backend;
  const DType type;

 private:
  Values bias_;
  std::vector<Tensor> kept_;
};

class HalfNetworks : public OnEachDevice {
 protected:
  // work(Work&) on this device and on the processor.
  template <class Function>
  void expect_the_same(const std::string& what, const Function& work) {
    if (current_device().is_cpu()) GTEST_SKIP() << "compares a device with the processor";
    const auto processor = make_cpu_backend({.emulate_half = true});
    for (const DType type : {DType::f16, DType::bf16}) {
      Work here(backend(), type), there(*processor, type);
      const double error = relative_error(work(here), work(there));
      EXPECT_LE(error, tolerance(type)) << what << " in " << name_of(type);
      RecordProperty(what + " " + name_of(type), std::to_string(error));
    }
  }
};
EG4D_ON_EACH_DEVICE(HalfNetworks);

TEST_P(HalfNetworks, Linear) {
  for (const auto& [rows, in, out] :
       {std::array<int64_t, 3>{7, 40, 33}, {130, 27, 64}, {1000, 320, 640}, {333, 640, 320}, {42, 1280, 5}})
    for (const bool residual : {false, true})
      for (const Activation activation : {Activation::none, Activation::silu, Activation::gelu})
        expect_the_same("linear " + std::to_string(in), [&, rows = rows, in = in, out = out](Work& w) {
          const Tensor x = w(rows * in, 1), y = w(rows * out, 2);
          const auto weight = w.linear(in, out, 3);
          w.backend.run(Linear{.rows = rows,
                               .x = x.array(),
                               .weight = weight.get(),
                               .activation = activation,
                               .residual = residual ? y.array() : ConstArray(),
                               .y = y.array()});
          return w.values(y);
        });
}

TEST_P(HalfNetworks, LinearFromAndToF32) {
  expect_the_same("linear of f32", [](Work& w) {
    const Tensor x = w.f32(50 * 64, 1), y = w.f32(50 * 48, 2);
    const auto weight = w.linear(64, 48, 3);
    w.backend.run(Linear{.rows = 50, .x = x.array(), .weight = weight.get(), .y = y.array()});
    return w.values(y);
  });
}

TEST_P(HalfNetworks, Convolution) {
  struct Case {
    int64_t batch, height, width, in, out, kernel_height, kernel_width, stride;
  };
  for (const Case& c :
       {Case{2, 12, 10, 320, 64, 3, 3, 1}, Case{2, 12, 10, 64, 64, 3, 3, 2}, Case{1, 9, 9, 4, 96, 3, 3, 1},
        Case{1, 9, 9, 96, 4, 3, 3, 1}, Case{2, 21, 40, 64, 64, 3, 1, 1}, Case{1, 7, 5, 48, 32, 1, 1, 1},
        Case{1, 64, 64, 8, 32, 3, 3, 1}, Case{1, 20, 20, 3, 16, 7, 7, 2}})
    for (const bool residual : {false, true})
      expect_the_same("convolution " + std::to_string(c.in) + " to " + std::to_string(c.out), [&](Work& w) {
        Convolution a;
        a.batch = c.batch;
        a.height = c.height;
        a.width = c.width;
        a.stride = c.stride;
        a.pad_top = a.pad_bottom = c.kernel_height / 2;
        a.pad_left = a.pad_right = c.kernel_width / 2;
        const int64_t pixels = c.batch *
                               convolution_extent(c.height, c.kernel_height, a.pad_top, a.pad_top, c.stride) *
                               convolution_extent(c.width, c.kernel_width, a.pad_left, a.pad_left, c.stride);
        const Tensor x = w(c.batch * c.height * c.width * c.in, 1), y = w(pixels * c.out, 2);
        const auto weight = w.convolution(c.in, c.out, c.kernel_height, c.kernel_width, 3);
        a.x = x.array();
        a.weight = weight.get();
        if (residual) a.residual = y.array();
        a.y = y.array();
        w.backend.run(a);
        return w.values(y);
      });
}

TEST_P(HalfNetworks, FeedForward) {
  for (const auto& [rows, width] : {std::pair<int64_t, int64_t>{70, 48}, {700, 320}, {2500, 320}, {300, 640}})
    expect_the_same("feed forward " + std::to_string(width), [&, rows = rows, width = width](Work& w) {
      const Tensor x = w(rows * width, 1), y = w(rows * width, 2);
      const auto widen = w.linear(width, 8 * width, 3), narrow = w.linear(4 * width, width, 5);
      w.backend.run(FeedForward{.rows = rows,
                                .inner = 4 * width,
                                .x = x.array(),
                                .widen = widen.get(),
                                .narrow = narrow.get(),
                                .residual = y.array(),
                                .y = y.array()});
      return w.values(y);
    });
}

TEST_P(HalfNetworks, Norms) {
  for (const int64_t channels : {32, 320, 640, 960, 2560})
    for (const bool add : {false, true})
      expect_the_same("group norm " + std::to_string(channels), [&](Work& w) {
        const int64_t batch = 2, positions = 90;
        const Tensor x = w(batch * positions * channels, 1), embedding = w(batch * 3 * channels, 2),
                     scale = w.f32(channels, 3), shift = w.f32(channels, 4);
        w.backend.run(GroupNorm{.batch = batch,
                                .positions = positions,
                                .channels = channels,
                                .x = x.array(),
                                .scale = scale.data(),
                                .shift = shift.data(),
                                .add = add ? embedding.array() : ConstArray(),
                                .add_positions = 30,
                                .activation = Activation::silu,
                                .y = x.array()});
        return w.values(x);
      });
  for (const int64_t width : {37, 64, 320, 640, 1024, 1280, 2048}) {
    const auto norm = [&](Work& w, const Tensor& x, const Tensor& y) {
      return LayerNorm{.rows = 33,
                       .width = width,
                       .x = x.array(),
                       .scale = w.f32(width, 3).data(),
                       .shift = w.f32(width, 4).data(),
                       .y = y.array()};
    };
    expect_the_same("layer norm " + std::to_string(width), [&](Work& w) {
      const Tensor x = w(33 * width, 1), y = w.empty(33 * width), add = w(2 * width, 2);
      LayerNorm a = norm(w, x, y);
      a.add = add.array();
      a.rows_per_add = 5;
      a.add_rows = 2;
      a.sum = x.array();
      w.backend.run(a);
      Values values = w.values(y);
      const Values sums = w.values(x);
      values.insert(values.end(), sums.begin(), sums.end());
      return values;
    });
    expect_the_same("mixed norm " + std::to_string(width), [&](Work& w) {
      const Tensor x = w(33 * width, 1), y = w.empty(33 * width), reference = w(33 * width, 2);
      w.backend.run(MixedNorm{
          .norm = norm(w, x, y), .reference = reference.array(), .strength = 0.3f, .keep = width > 64});
      Values values = w.values(y);
      const Values mixed = w.values(reference);
      values.insert(values.end(), mixed.begin(), mixed.end());
      return values;
    });
  }
}

TEST_P(HalfNetworks, AttentionOfPixels) {
  struct Case {
    int64_t sequences, queries, keys, heads, head_dim;
    float spread;
  };
  for (const Case& c : {Case{2, 324, 324, 5, 64, 2}, Case{1, 1296, 1296, 2, 64, 6},
                        Case{3, 200, 400, 2, 64, 2}, Case{2, 324, 77, 5, 64, 2}, Case{1, 77, 77, 3, 64, 2},
                        Case{2, 130, 1, 2, 64, 2}, Case{2, 150, 150, 2, 40, 2}, Case{2, 257, 257, 2, 80, 2},
                        Case{1, 300, 300, 1, 512, 1}, Case{4, 13, 13, 3, 16, 2}})
    expect_the_same("attention " + std::to_string(c.queries) + " of " + std::to_string(c.head_dim),
                    [&](Work& w) {
                      // Keys and values side by side, as one product leaves them.
                      const int64_t width = c.heads * c.head_dim;
                      const Tensor q = w(c.sequences * c.queries * width, 1, c.spread),
                                   kv = w(c.sequences * c.keys * 2 * width, 2),
                                   y = w.empty(c.sequences * c.queries * width);
                      Attention a;
                      a.outer = c.sequences;
                      a.heads = c.heads;
                      a.head_dim = c.head_dim;
                      a.queries = c.queries;
                      a.keys = c.keys;
                      a.q = {q.array(), c.queries * width, 0, width};
                      a.k = a.v = {kv.array(), c.keys * 2 * width, 0, 2 * width};
                      a.v.data = a.v.data.at(width);
                      a.y = y.array();
                      a.y_outer_stride = c.queries * width;
                      a.y_token_stride = width;
                      w.backend.run(a);
                      return w.values(y);
                    });
}

TEST_P(HalfNetworks, AttentionOfFrames) {
  for (const int64_t frames : {1, 5, 16, 17, 21, 25, 32, 40})
    for (const int64_t head_dim : {64, 16})
      expect_the_same("attention of " + std::to_string(frames) + " frames", [&](Work& w) {
        const int64_t outer = 2, inner = 7, heads = 3, width = heads * head_dim,
                      count = outer * frames * inner * width;
        const Tensor q = w(count, 1, 4), kv = w(2 * count, 2, 4), y = w.empty(count);
        Attention a;
        a.outer = outer;
        a.inner = inner;
        a.heads = heads;
        a.head_dim = head_dim;
        a.queries = a.keys = frames;
        a.q = {q.array(), frames * inner * width, width, inner * width};
        a.k = a.v = {kv.array(), 2 * frames * inner * width, 2 * width, 2 * inner * width};
        a.v.data = a.v.data.at(width);
        a.y = y.array();
        a.y_outer_stride = a.q.outer_stride;
        a.y_inner_stride = a.q.inner_stride;
        a.y_token_stride = a.q.token_stride;
        w.backend.run(a);
        return w.values(y);
      });
}

TEST_P(HalfNetworks, Elementwise) {
  for (const int64_t count : {8 * 300, 37}) {
    expect_the_same("scaled sum", [&](Work& w) {
      const Tensor a = w(count, 1), b = w(count, 2);
      w.backend.run(ScaledSum{
          .count = count, .a = a.array(), .b = b.array(), .a_scale = 0.3f, .b_scale = 0.7f, .y = a.array()});
      return w.values(a);
    });
    expect_the_same("concatenation", [&](Work& w) {
      const Tensor a = w(5 * count, 1), y = w.empty(5 * 2 * count);
      for (const int64_t half : {0, 1})
        w.backend.run(CopyRows{.rows = 5,
                               .width = count,
                               .from = a.array(),
                               .from_pitch = count,
                               .to = y.array().at(half * count),
                               .to_pitch = 2 * count});
      return w.values(y);
    });
    expect_the_same("enlargement", [&](Work& w) {
      const Tensor a = w(2 * 3 * 5 * count, 1), y = w.empty(4 * a.count());
      w.backend.run(
          Upsample{.batch = 2, .height = 3, .width = 5, .channels = count, .x = a.array(), .y = y.array()});
      return w.values(y);
    });
  }
}

Tensor random(Backend& backend, const Shape& shape, uint64_t seed) {
  Philox numbers(seed);
  return Tensor::from_host<float>(backend, shape, uniform_values(numbers, element_count(shape), -1.0f, 1.0f));
}

// Rounding happens in another order inside, so whole networks are farther apart than one operation; as far as
// each is from f32 (tests/diffusion/network_types_test.cpp).
class WholeHalfNetworks : public OnEachDevice {
 protected:
  template <class Evaluate>
  void expect_near(double f16, double bf16, const Evaluate& evaluate) {
    if (current_device().is_cpu()) GTEST_SKIP() << "compares a device with the processor";
    const auto exact = make_cpu_backend();
    const Values wanted = evaluate(*exact, NetworkType{});
    EXPECT_LE(relative_error(evaluate(backend(), NetworkType{}), wanted), 1e-4);
    for (const DType type : {DType::f16, DType::bf16}) {
      const double error = relative_error(evaluate(backend(), network_type(backend(), type)), wanted),
                   usual = type == DType::f16 ? f16 : bf16;
      EXPECT_LE(error, 1.3 * usual) << name_of(type);
      EXPECT_GE(error, usual / 1.5) << name_of(type);
    }
  }
  TemporaryFolder folder_;
};
EG4D_ON_EACH_DEVICE(WholeHalfNetworks);

TEST_P(WholeHalfNetworks, VideoUNet) {
  write_tiny_model(TinyModel::sv3d_p, folder_ / "model.safetensors");
  const VideoCheckpoint checkpoint(folder_ / "model.safetensors");
  expect_near(1.9e-3, 1.75e-2, [&](Backend& device, const NetworkType& type) {
    constexpr int64_t frames = 3, rows = 6, side = 8;
    const auto network = checkpoint.unet(device, type);
    const auto conditioning = network->condition(random(device, {rows, 1, network->context_width()}, 1),
                                                 random(device, {rows, network->vector_width()}, 2), frames);
    VideoUNet::Call call(*network, {rows, frames, side, side}, AttentionInjection::Options{});
    call.set_timestep(0.3f);
    for (const uint64_t video : {0, 1, 2}) {  // with the first one's references; the third from a graph
      const Tensor x = random(device, call.input().shape(), 3 + std::min<uint64_t>(video, 1));
      device.run(Convert{.count = x.count(), .x = x.array(), .y = call.input().array()});
      call.run(*conditioning, 0, video == 0);
    }
    return call.prediction().to_host();
  });
}

TEST_P(WholeHalfNetworks, ImageUNet) {
  write_tiny_image_model(folder_.path());
  const ImageCheckpoint checkpoint(folder_.path());
  expect_near(2.9e-3, 3.4e-2, [&](Backend& device, const NetworkType& type) {
    const auto network = checkpoint.unet(device, type);
    const auto conditioning = network->condition(random(device, {2, 77, network->context_width()}, 1),
                                                 random(device, {2, network->vector_width()}, 2));
    const float step = 500;
    return network->forward(random(device, {2, 8, 8, network->channels()}, 3), {&step, 1}, *conditioning)
        .to_host();
  });
}

TEST_P(WholeHalfNetworks, Autoencoder) {
  write_tiny_model(TinyModel::svd, folder_ / "model.safetensors");
  const VideoCheckpoint checkpoint(folder_ / "model.safetensors");
  expect_near(1.6e-3, 1.26e-2, [&](Backend& device, const NetworkType& type) {
    return checkpoint.decoder(device, type)->decode(random(device, {3, 4, 4, 4}, 1), 3).to_host();
  });
}

}  // namespace
}  // namespace eg4d::test
