#include "vision_manifests.h"

#include <fmt/format.h>

#include <string>
#include <vector>

namespace eg4d::bench {
namespace {

struct Layer {
  int number;
  int64_t out, kernel;
  bool tap;
};

std::vector<Layer> lpips_layers(Lpips::Network network) {
  if (network == Lpips::Network::alex)
    return {{0, 64, 11, true}, {3, 192, 5, true}, {6, 384, 3, true}, {8, 256, 3, true}, {10, 256, 3, true}};
  return {{0, 64, 3, false},   {2, 64, 3, true},    {5, 128, 3, false},  {7, 128, 3, true},
          {10, 256, 3, false}, {12, 256, 3, false}, {14, 256, 3, true},  {17, 512, 3, false},
          {19, 512, 3, false}, {21, 512, 3, true},  {24, 512, 3, false}, {26, 512, 3, false},
          {28, 512, 3, true}};
}

void add_convolution(test::Manifest& manifest, const std::string& name, int64_t in, int64_t out,
                     int64_t kernel) {
  manifest[name + ".weight"] = {out, in, kernel, kernel};
  manifest[name + ".bias"] = {out};
}

}  // namespace

test::Manifest lpips_backbone(Lpips::Network network) {
  test::Manifest manifest;
  int64_t in = 3;
  for (const Layer& layer : lpips_layers(network)) {
    add_convolution(manifest, fmt::format("features.{}", layer.number), in, layer.out, layer.kernel);
    in = layer.out;
  }
  return manifest;
}

test::Manifest lpips_heads(Lpips::Network network) {
  test::Manifest manifest;
  int tap = 0;
  for (const Layer& layer : lpips_layers(network))
    if (layer.tap) manifest[fmt::format("lin{}.model.1.weight", tap++)] = {1, layer.out, 1, 1};
  return manifest;
}

test::Manifest u2net(U2Net::Kind kind) {
  test::Manifest manifest;
  const bool isnet = kind == U2Net::Kind::isnet;
  const int64_t heights[] = {7, 6, 5, 4, 4, 4}, outs[] = {64, 128, 256, 512, 512, 512},
                middles[] = {32, 32, 64, 128, 256, 256}, up_outs[] = {64, 64, 128, 256, 512, 512},
                up_middles[] = {16, 32, 64, 128, 256, 0};
  const auto block = [&](const std::string& name, int64_t height, int64_t in, int64_t middle, int64_t out) {
    const auto unit = [&](const std::string& part, int64_t from, int64_t to) {
      add_convolution(manifest, name + "." + part + ".conv_s1", from, to, 3);
    };
    unit("rebnconvin", in, out);
    for (int64_t i = 1; i <= height; ++i) unit(fmt::format("rebnconv{}", i), i == 1 ? out : middle, middle);
    for (int64_t i = 1; i < height; ++i)
      unit(fmt::format("rebnconv{}d", i), 2 * middle, i == 1 ? out : middle);
  };
  if (isnet) add_convolution(manifest, "conv_in", 3, 64, 3);
  int64_t in = isnet ? 64 : 3;
  for (size_t i = 0; i < 6; ++i) {
    block(fmt::format("stage{}", i + 1), heights[i], in, middles[i], outs[i]);
    in = outs[i];
    if (i < 5)
      block(fmt::format("stage{}d", i + 1), heights[i], outs[i] + up_outs[i + 1], up_middles[i], up_outs[i]);
    add_convolution(manifest, fmt::format("side{}", i + 1), up_outs[i], 1, 3);
  }
  if (!isnet) add_convolution(manifest, "outconv", 6, 1, 1);
  return manifest;
}

}  // namespace eg4d::bench
