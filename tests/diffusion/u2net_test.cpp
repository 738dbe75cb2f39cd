// U²-Net and IS-Net against PyTorch (tests/data/make_u2net_fixture.py) and their files against damage.

#include "diffusion/u2net.h"

#include <gtest/gtest.h>

#include <set>

#include "diffusion/matting.h"
#include "io/onnx.h"
#include "support/device_fixture.h"
#include "support/expect_error.h"
#include "support/golden.h"
#include "support/network_fixture.h"
#include "support/places.h"
#include "support/random_values.h"
#include "support/temporary_folder.h"

namespace eg4d::test {
namespace {

const std::filesystem::path kData = test_data() / "u2net";

class U2NetFile : public OnEachDeviceWith<const char*> {};

TEST_P(U2NetFile, ComputesWhatPyTorchDoes) {
  auto backend = make_test_backend({.guard_memory = true});
  const std::filesystem::path file = kData / parameter();
  const std::string name = file.stem().string();
  const SafetensorsFile io(kData / "io.safetensors");
  U2Net network(*backend, read_u2net_weights(file));
  EXPECT_EQ(network.kind(), name == "isnet" ? U2Net::Kind::isnet : U2Net::Kind::u2net);
  const Tensor logits = network.forward(channels_last(*backend, io, name + ".x"));
  EXPECT_LE(relative_error(values_like(logits, io.at(name + ".logits").shape), io.floats(name + ".logits")),
            1e-4);
}

INSTANTIATE_TEST_SUITE_P(All, U2NetFile,
                         testing::Combine(testing::ValuesIn(test_devices()),
                                          testing::Values("u2net.pth", "u2net.onnx", "isnet.onnx")),
                         device_label_and([](const std::string& name) { return name; }));

TEST(U2NetOnCpu, NumberOfThreadsAndBatchChangeNothing) {
  auto backend = make_test_backend();
  U2Net network(*backend, read_u2net_weights(kData / "u2net.pth"));
  const auto x = hash_tensor(1, 2 * 33 * 20 * 3, 2);
  const Tensor both = Tensor::from_host<float>(*backend, {2, 33, 20, 3}, x);
  std::vector<float> logits;
  EXPECT_TRUE(same_bits_for_any_thread_count([&] { return logits = network.forward(both).to_host(); }));
  const Tensor second = Tensor::from_host<float>(*backend, {1, 33, 20, 3},
                                                 std::vector<float>(x.begin() + 33 * 20 * 3, x.end()));
  EXPECT_LE(relative_error(network.forward(second).to_host(),
                           std::vector<float>(logits.begin() + 33 * 20, logits.end())),
            1e-5);
}

EG4D_DEVICE_SUITE(U2NetTest);

TEST_P(U2NetTest, PicturesOfOnePixelAndOddSizes) {
  auto backend = make_test_backend();
  for (const char* file : {"u2net.pth", "isnet.onnx"}) {
    U2Net network(*backend, read_u2net_weights(kData / file));
    for (const Shape& shape :
         {Shape{1, 1, 1, 3}, Shape{1, 2, 3, 3}, Shape{1, 97, 61, 3}, Shape{0, 5, 5, 3}}) {
      const Tensor y = network.forward(Tensor::zeros(*backend, shape));
      EXPECT_EQ(y.shape(), (Shape{shape[0], shape[1], shape[2], 1}));
    }
    EXPECT_ERROR(network.forward(Tensor::zeros(*backend, {1, 8, 8, 4})), "takes pictures [N,H,W,3]");
  }
}

TEST(U2NetGraph, NoTwoConvolutionsHaveTheSameSources) {
  for (const auto kind : {U2Net::Kind::u2net, U2Net::Kind::isnet}) {
    std::set<std::vector<size_t>> sources;
    const auto graph = u2net_graph(kind);
    for (const U2NetConvolution& convolution : graph) EXPECT_TRUE(sources.insert(convolution.sources).second);
    EXPECT_EQ(graph.size(), 119u);
  }
}

TEST(U2Net, OtherNetworksAreRefused) {
  TemporaryFolder folder;
  auto backend = make_test_backend();
  WeightMap weights = read_u2net_weights(kData / "u2net.pth");
  weights.remove("stage3.rebnconv2.bn_s1.running_mean");
  EXPECT_ERROR(U2Net(*backend, weights), "'stage3.rebnconv2.bn_s1.running_mean' is missing");
  const float one = 1;
  write_safetensors(folder / "other.safetensors", {{"conv.weight", DType::f32, {1}, &one}});
  EXPECT_ERROR(read_u2net_weights(folder / "other.safetensors"),
               "is not U²-Net (nor U²-Netp or IS-Net): it lacks");
}

// ---------------------------------------------------------------- ONNX

TEST(U2NetOnnx, GraphsOfOtherNetworksAreRefused) {
  TemporaryFolder folder;
  const std::string file = read_text(kData / "u2net.onnx");
  EXPECT_NO_THROW(read_u2net_weights(kData / "u2net.onnx"));
  const auto error_with = [&](const std::string& from, const std::string& to) {
    std::string changed = file;
    for (size_t at = changed.find(from); at != std::string::npos; at = changed.find(from, at + to.size()))
      changed.replace(at, from.size(), to);
    write_text(folder / "a.onnx", changed);
    return error_of([&] { read_u2net_weights(folder / "a.onnx"); });
  };
  EXPECT_TRUE(contains(error_with("MaxPool", "MaxBool"), "is not U²-Net (nor U²-Netp or IS-Net): "));
  EXPECT_TRUE(contains(error_with("Concat", "Konkat"), "is not U²-Net"));
  EXPECT_TRUE(contains(error_with("Conv", "Calm"), "it has no convolutions"));
  EXPECT_TRUE(contains(error_with("Relu", "Tanh"), "is not U²-Net"));
}

TEST(U2NetOnnx, DamageIsAnError) {
  const std::string file = read_text(kData / "isnet.onnx");
  for (size_t size = 0; size < file.size(); size += 997)
    EXPECT_THROW(decode_onnx(std::as_bytes(std::span(file)).first(size), "cut.onnx"), Error) << size;
  EXPECT_ERROR(decode_onnx({}, "empty.onnx"), "cannot read 'empty.onnx': it is no ONNX model");
  // Any damage is an error or another graph, never a crash.
  for (size_t at = 0; at < file.size(); at += 97) {
    std::string damaged = file;
    damaged[at] = static_cast<char>(damaged[at] ^ (1 << at % 8));
    try {
      decode_onnx(std::as_bytes(std::span(damaged)), "a.onnx");
    } catch (const Error&) {
    }
  }
}

// ---------------------------------------------------------------- matting

TEST(Matting, InputIsNormalisedAsRembgDoes) {
  Picture picture(1, 2, 3);
  picture.data = {0, 100, 200, 50, 0, 25};
  const auto u2net = matting_input(picture, U2Net::Kind::u2net);
  EXPECT_NEAR(u2net[1], (0.5 - 0.456) / 0.224, 1e-6);
  EXPECT_NEAR(u2net[2], (1 - 0.406) / 0.225, 1e-6);
  const auto isnet = matting_input(picture, U2Net::Kind::isnet);
  EXPECT_NEAR(isnet[3], -0.25, 1e-6);
  EXPECT_EQ(matting_input(Picture(1, 1, 3), U2Net::Kind::isnet), std::vector<float>(3, -0.5f));
}

EG4D_DEVICE_SUITE(MattingTest);

TEST_P(MattingTest, MatteHasThePicturesSize) {
  auto backend = make_test_backend();
  Matting matting(*backend, kData / "u2net.onnx", 64);
  Picture picture(50, 31, 4);
  for (size_t i = 0; i < picture.data.size(); ++i) picture.data[i] = static_cast<uint8_t>(i * 31 % 253);
  const Picture matte = matting.matte(picture);
  EXPECT_EQ(matte.width, 50);
  EXPECT_EQ(matte.height, 31);
  EXPECT_EQ(matte.channels, 1);
  EXPECT_GT(*std::max_element(matte.data.begin(), matte.data.end()), 200);
  EXPECT_LT(*std::min_element(matte.data.begin(), matte.data.end()), 50);
  EXPECT_EQ(matting.matte(Picture(1, 1, 1)).data.size(), 1u);
}

}  // namespace
}  // namespace eg4d::test
