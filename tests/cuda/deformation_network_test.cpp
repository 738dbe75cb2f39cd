// The GPU's deformation network against the plain one in double.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "backend/cuda/splat_kernels.h"
#include "cuda/support/device.h"
#include "cuda/support/rounded_mlp.h"
#include "random/random.h"
#include "support/golden.h"
#include "support/random_values.h"
#include "support/reference_mlp.h"

namespace eg4d::test {
namespace {

using Values = std::vector<float>;
using cuda::MatrixPrecision;

struct Sizes {
  std::vector<int> trunk;
  int hidden;
  std::vector<int> outputs;
};

class NetworkCase {
 public:
  NetworkCase(const Sizes& sizes, int64_t count, uint64_t seed) : count_(count), random_(seed) {
    for (size_t i = 0; i + 1 < sizes.trunk.size(); ++i)
      mlp.trunk.push_back(layer(sizes.trunk[i], sizes.trunk[i + 1]));
    for (const int out : sizes.outputs)
      mlp.heads.push_back({layer(sizes.trunk.back(), sizes.hidden), layer(sizes.hidden, out)});
    features = doubles(count * sizes.trunk.front(), 1);
    for (const int out : sizes.outputs) d_outputs.push_back(doubles(count * out, 1));
  }

  // Draws features anew until no number before a ReLU is nearer to 0 than the margin: there, sums that differ
  // in their last bits would switch it, and one entry of the derivatives would differ by all that it is.
  void keep_clear_of_zero(const RoundedMlp& rounded, double margin) {
    const int64_t width = mlp.trunk.front().in;
    std::vector<int64_t> rows(static_cast<size_t>(count_));
    std::iota(rows.begin(), rows.end(), 0);
    while (!rows.empty()) {
      std::vector<double> of_rows;
      for (const int64_t row : rows)
        of_rows.insert(of_rows.end(), features.begin() + row * width, features.begin() + (row + 1) * width);
      const std::vector<double> margins = rounded.margins(mlp, of_rows);
      std::vector<int64_t> again;
      for (size_t i = 0; i < rows.size(); ++i)
        if (margins[i] < margin) again.push_back(rows[i]);
      for (const int64_t row : again) std::ranges::copy(doubles(width, 1), features.begin() + row * width);
      rows = again;
    }
  }
  void repeat_rows(int64_t times) {
    count_ *= times;
    const auto repeat = [&](std::vector<double>& values) {
      const std::vector<double> once = values;
      for (int64_t i = 1; i < times; ++i) values.insert(values.end(), once.begin(), once.end());
    };
    repeat(features);
    for (auto& d : d_outputs) repeat(d);
  }

  // Everything that the GPU computes of it, one array after the other.
  std::vector<Values> on_gpu(MatrixPrecision precision, bool keep_activations = true, bool any_gpu = false) {
    buffers_.clear();
    results_.clear();
    cuda::Mlp net;
    net.any_gpu = any_gpu;
    net.count = count_;
    net.features = upload(features);
    for (const auto& layer : mlp.trunk) {
      net.trunk.push_back(device_layer(layer));
    }
    for (const auto& head : mlp.heads) {
      cuda::Mlp::Head on_device{device_layer(head.hidden), device_layer(head.last)};
      on_device.output = result(DeviceBuffer<float>(count_ * head.last.out));
      net.heads.push_back(on_device);
    }
    if (keep_activations)
      net.activations =
          upload_raw(DeviceBuffer<float>(static_cast<int64_t>((cuda::mlp_activation_bytes(net) + 3) / 4)));
    run(net, precision, false);
    if (keep_activations) {
      for (size_t i = 0; i < d_outputs.size(); ++i)
        if (!d_outputs[i].empty() || count_ == 0) net.heads[i].d_output = upload(d_outputs[i]);
      net.d_features = result(DeviceBuffer<float>::zeros(static_cast<int64_t>(features.size())));
      run(net, precision, true);
    }
    std::vector<Values> values;
    for (const size_t index : results_) values.push_back(buffers_[index].to_host());
    return values;
  }

  // The same, in the same order, from the definition.
  std::vector<Values> wanted() const {
    return in_order(reference_mlp(mlp, features), reference_mlp_backward(mlp, features, d_outputs));
  }
  std::vector<Values> wanted(const RoundedMlp& rounded) const {
    const RoundedMlp::Result result = rounded(mlp, features, d_outputs);
    return in_order(result.outputs, result.gradients);
  }

  ReferenceMlp<double> mlp;
  std::vector<double> features;
  std::vector<std::vector<double>> d_outputs;

 private:
  static std::vector<Values> in_order(const std::vector<std::vector<double>>& outputs,
                                      const MlpGradients<double>& d) {
    std::vector<Values> values;
    const auto add_layer = [&](const ReferenceLayer<double>& layer) {
      values.push_back(converted<float>(layer.weight));
      values.push_back(converted<float>(layer.bias));
    };
    for (const auto& layer : d.parameters.trunk) add_layer(layer);
    for (size_t i = 0; i < outputs.size(); ++i) {
      add_layer(d.parameters.heads[i].hidden);
      add_layer(d.parameters.heads[i].last);
      values.push_back(converted<float>(outputs[i]));
    }
    values.push_back(converted<float>(d.features));
    return values;
  }

  std::vector<double> doubles(int64_t count, float bound) {
    return converted<double>(uniform_values<float>(random_, count, -bound, bound));
  }
  ReferenceLayer<double> layer(int in, int out) {
    const float bound = std::sqrt(3.0f / static_cast<float>(in));
    ReferenceLayer<double> layer{in, out, doubles(int64_t{in} * out, bound), {}};
    layer.bias = doubles(out, 0.3f);
    return layer;
  }
  float* upload_raw(DeviceBuffer<float> buffer) {
    buffers_.push_back(std::move(buffer));
    return buffers_.back().data();
  }
  float* upload(const std::vector<double>& values) {
    return upload_raw(DeviceBuffer<float>(converted<float>(values)));
  }
  float* result(DeviceBuffer<float> buffer) {
    results_.push_back(buffers_.size());
    return upload_raw(std::move(buffer));
  }
  cuda::DenseLayer device_layer(const ReferenceLayer<double>& layer) {
    cuda::DenseLayer d{layer.in, layer.out, upload(layer.weight), upload(layer.bias)};
    d.d_weight = result(DeviceBuffer<float>::zeros(int64_t{layer.in} * layer.out));
    d.d_bias = result(DeviceBuffer<float>::zeros(layer.out));
    return d;
  }
  static void run(const cuda::Mlp& net, MatrixPrecision precision, bool backward) {
    const DeviceBuffer<uint8_t> workspace(
        static_cast<int64_t>(cuda::mlp_workspace_bytes(net, precision, backward)));
    if (backward)
      cuda::mlp_backward(net, precision, workspace.data(), nullptr);
    else
      cuda::mlp_forward(net, precision, workspace.data(), nullptr);
    cuda::check(cudaDeviceSynchronize(), "computing a network");
  }

  int64_t count_;
  Philox random_;
  std::vector<DeviceBuffer<float>> buffers_;
  std::vector<size_t> results_;
};

const Sizes kCases[] = {{{128, 256, 256}, 256, {3, 3, 4, 1, 3}},  // published
                        {{32, 64, 64}, 64, {3, 4}},
                        {{100, 128}, 128, {4, 8}},
                        {{33, 17}, 21, {3, 3, 1, 8}},  // nothing aligned
                        {{4, 130, 12, 129}, 200, {2}}};

double largest_error(const std::vector<Values>& got, const std::vector<Values>& want) {
  if (got.size() != want.size()) return std::numeric_limits<double>::infinity();
  double largest = 0;
  for (size_t i = 0; i < got.size(); ++i) largest = std::max(largest, relative_error(got[i], want[i]));
  return largest;
}
void expect_near(const std::vector<Values>& got, const std::vector<Values>& want, double limit) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) EXPECT_LE(relative_error(got[i], want[i]), limit) << "array " << i;
}

struct Compared {
  const char* name;
  MatrixPrecision precision;
  RoundedMlp definition;
  double margin;  // what a difference in the last bits can move a number before a ReLU by
  double limit;
};
const Compared kCompared[] = {{"f32", MatrixPrecision::f32, {unrounded, false}, 1e-4, 2e-5},
                              {"tf32", MatrixPrecision::tf32, {round_to_tf32, false}, 1e-4, 5e-4},
                              {"bf16", MatrixPrecision::bf16, {round_to_bf16, true}, 3e-4, 2e-3}};

// Sizes that bf16's kernels do not take are computed in tf32.
const RoundedMlp& definition_of(const Compared& compared, const Sizes& sizes) {
  const bool fits = sizes.hidden % 64 == 0 && sizes.trunk.back() == sizes.hidden;
  return compared.precision == MatrixPrecision::bf16 && !fits ? kCompared[1].definition : compared.definition;
}

TEST(CudaDeformationNetwork, LikeTheDefinition) {
  EG4D_NEEDS_GPU();
  uint64_t seed = 1;
  for (const Compared& compared : kCompared) {
    double largest[2] = {};
    for (const Sizes& sizes : kCases) {
      for (const int64_t count : {0, 1, 31, 129, 700}) {
        const RoundedMlp& definition = definition_of(compared, sizes);
        NetworkCase network(sizes, count, ++seed);
        network.keep_clear_of_zero(definition, compared.margin);
        const std::vector<Values> wanted = network.wanted(definition);
        for (const bool any_gpu : {false, true}) {
          SCOPED_TRACE(testing::Message() << compared.name << (any_gpu ? " for any GPU, " : ", ")
                                          << sizes.trunk.front() << " features, " << count << " rows");
          const std::vector<Values> got = network.on_gpu(compared.precision, true, any_gpu);
          expect_near(got, wanted, compared.limit);
          largest[any_gpu] = std::max(largest[any_gpu], largest_error(got, wanted));
        }
      }
    }
    RecordProperty(compared.name, testing::PrintToString(largest[0]));
    RecordProperty(std::string(compared.name) + "_any_gpu", testing::PrintToString(largest[1]));
  }
}

// Small enough for sanitizers, which take a hundred times as long.
class NetworkOfSizes : public testing::TestWithParam<std::pair<int, int64_t>> {};

TEST_P(NetworkOfSizes, AFewForEachKernel) {
  EG4D_NEEDS_GPU();
  const auto& [which, count] = GetParam();
  for (const Compared& compared : kCompared)
    for (const bool any_gpu : {false, true}) {
      SCOPED_TRACE(testing::Message() << compared.name << (any_gpu ? " for any GPU" : ""));
      if (any_gpu && compared.precision == MatrixPrecision::tf32) continue;  // the same
      const RoundedMlp& definition = definition_of(compared, kCases[which]);
      NetworkCase network(kCases[which], count, 100 + static_cast<uint64_t>(which));
      network.keep_clear_of_zero(definition, compared.margin);
      expect_near(network.on_gpu(compared.precision, true, any_gpu), network.wanted(definition),
                  compared.limit);
    }
}

INSTANTIATE_TEST_SUITE_P(Few, NetworkOfSizes,
                         testing::Values(std::pair{0, 70}, std::pair{1, 130}, std::pair{2, 33},
                                         std::pair{3, 70}));

// Tensor cores cut off what does not fit into a sum's bits, always towards zero.
TEST(CudaDeformationNetwork, SumsOverManyRowsDoNotDrift) {
  EG4D_NEEDS_GPU();
  constexpr int64_t kRows = 64, kTimes = 625;
  NetworkCase network(kCases[0], kRows, 31);
  network.keep_clear_of_zero(kCompared[0].definition, kCompared[0].margin);
  std::vector<Values> wanted = network.wanted();
  network.repeat_rows(kTimes);
  const std::vector<Values> got = network.on_gpu(MatrixPrecision::f32);
  double largest = 0;
  ASSERT_EQ(got.size(), wanted.size());
  for (size_t i = 0; i < got.size(); ++i) {
    if (got[i].size() != wanted[i].size()) continue;  // not a parameter's
    for (float& value : wanted[i]) value *= kTimes;
    largest = std::max(largest, relative_error(got[i], wanted[i]));
  }
  EXPECT_LE(largest, 1e-4);
  RecordProperty("f32", testing::PrintToString(largest));
}

// Needs no GPU.
TEST(CudaDeformationNetwork, TheRoundedReferenceWithoutRoundingIsTheDefinition) {
  NetworkCase network(kCases[1], 40, 23);
  expect_near(network.wanted(RoundedMlp{unrounded, true}), network.wanted(), 1e-7);
  EXPECT_EQ(round_to_bf16(1 + 1.0 / 256), 1);
  EXPECT_EQ(round_to_bf16(-1 - 3.0 / 256), -1 - 1.0 / 64);
  EXPECT_EQ(round_to_tf32(1 + 1.0 / 2048), 1 + 1.0 / 1024);
  EXPECT_EQ(round_to_tf32(0), 0);
}

// How far the roundings take the results from the definition.
TEST(CudaDeformationNetwork, RoundedProductsStayNearTheDefinition) {
  EG4D_NEEDS_GPU();
  NetworkCase network(kCases[0], 700, 22);
  const std::vector<Values> want = network.wanted();
  expect_near(network.on_gpu(MatrixPrecision::tf32), want, 0.03);
  expect_near(network.on_gpu(MatrixPrecision::bf16), want, 0.15);
  for (const Compared& compared : kCompared)
    RecordProperty(compared.name,
                   testing::PrintToString(largest_error(network.on_gpu(compared.precision), want)));
}

TEST(CudaDeformationNetwork, SameBitsFromRunToRun) {
  EG4D_NEEDS_GPU();
  for (const Compared& compared : kCompared)
    for (const bool any_gpu : {false, true}) {
      NetworkCase network(kCases[0], 3000, 20);
      const std::vector<Values> first = network.on_gpu(compared.precision, true, any_gpu);
      for (int run = 0; run < 3; ++run) {
        const std::vector<Values> again = network.on_gpu(compared.precision, true, any_gpu);
        for (size_t i = 0; i < first.size(); ++i) EXPECT_TRUE(same_bits(again[i], first[i])) << i;
      }
    }
}

TEST(CudaDeformationNetwork, WithoutActivationsTheOutputsAreTheSame) {
  EG4D_NEEDS_GPU();
  for (const MatrixPrecision precision : {MatrixPrecision::f32, MatrixPrecision::bf16})
    for (const bool any_gpu : {false, true}) {
      NetworkCase network(kCases[0], 300, 21);
      const std::vector<Values> kept = network.on_gpu(precision, true, any_gpu);
      const std::vector<Values> passing = network.on_gpu(precision, false, any_gpu);
      // Trunk: weight and bias; heads: hidden's, last's and the output.
      for (size_t head = 0; head < 5; ++head)
        EXPECT_TRUE(same_bits(passing[4 + 5 * head + 4], kept[4 + 5 * head + 4]));
    }
}

// Needs no GPU.
TEST(CudaDeformationNetwork, WithoutHeadsThereIsStillAWorkspace) {
  cuda::Mlp network;
  network.count = 1000;
  network.trunk = {{32, 64}, {64, 64}};
  for (const MatrixPrecision precision : {MatrixPrecision::f32, MatrixPrecision::tf32, MatrixPrecision::bf16})
    EXPECT_GT(cuda::mlp_workspace_bytes(network, precision, true), 0u);
}

}  // namespace
}  // namespace eg4d::test
