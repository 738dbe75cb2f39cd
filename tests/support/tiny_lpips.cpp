#include "support/tiny_lpips.h"

#include <fmt/format.h>

#include <cmath>

#include "io/torch_checkpoint.h"
#include "support/golden.h"

namespace eg4d::test {
namespace {

struct Layer {
  int number, channels, kernel;
  bool tap;
};
std::vector<Layer> layers_of(Lpips::Network network) {
  if (network == Lpips::Network::alex)
    return {{0, 4, 11, true}, {3, 5, 5, true}, {6, 6, 3, true}, {8, 4, 3, true}, {10, 3, 3, true}};
  return {{0, 2, 3, false},  {2, 3, 3, true},   {5, 3, 3, false},  {7, 4, 3, true},   {10, 3, 3, false},
          {12, 2, 3, false}, {14, 3, 3, true},  {17, 3, 3, false}, {19, 2, 3, false}, {21, 4, 3, true},
          {24, 3, 3, false}, {26, 2, 3, false}, {28, 3, 3, true}};
}

void add(WeightMap& weights, const std::string& name, Shape shape, uint32_t seed, float spread,
         float middle) {
  const auto values = std::make_shared<std::vector<float>>(
      hash_tensor(seed, static_cast<size_t>(element_count(shape)), spread, middle));
  weights.add_tensor(name, DType::f32, std::move(shape),
                     {values, reinterpret_cast<const std::byte*>(values->data())});
}

TorchValue::Dict as_checkpoint(const WeightMap& weights) {
  TorchValue::Dict dict;
  for (const auto& [name, item] : weights.items())
    dict.entries.emplace_back(name, TorchTensor::from<float>(item.shape, weights.floats(name)));
  return dict;
}

}  // namespace

TinyLpips tiny_lpips(Lpips::Network network, uint32_t seed) {
  TinyLpips result;
  result.backbone.set_path("backbone");
  result.heads.set_path("heads");
  int in = 3, tap = 0;
  uint32_t id = 100 * seed;
  for (const Layer& layer : layers_of(network)) {
    const std::string name = fmt::format("features.{}", layer.number);
    const auto spread = static_cast<float>(4 / std::sqrt(in * layer.kernel * layer.kernel));
    add(result.backbone, name + ".weight", {layer.channels, in, layer.kernel, layer.kernel}, id++, spread, 0);
    add(result.backbone, name + ".bias", {layer.channels}, id++, 0.2f, 0.1f);
    in = layer.channels;
    if (layer.tap)
      add(result.heads, fmt::format("lin{}.model.1.weight", tap++), {1, layer.channels, 1, 1}, id++, 1, 0.6f);
  }
  return result;
}

void write_tiny_lpips(Lpips::Network network, const std::filesystem::path& folder) {
  const bool alex = network == Lpips::Network::alex;
  const TinyLpips tiny = tiny_lpips(network);
  TorchValue::Dict backbone = as_checkpoint(tiny.backbone);
  backbone.entries.emplace_back("classifier.1.weight", TorchTensor::from<float>({1}, {0}));
  write_torch_checkpoint(folder / (alex ? "alexnet-owt-7be5be79.pth" : "vgg16-397923af.pth"), backbone);
  write_torch_checkpoint(folder / (alex ? "alex.pth" : "vgg.pth"), as_checkpoint(tiny.heads));
}

}  // namespace eg4d::test
