#include <fmt/format.h>

#include <algorithm>

#include "vision/u2net.h"
#include "vision/u2net_stages.h"

namespace eg4d {
namespace {

using Sources = std::vector<size_t>;

Sources united(const Sources& a, const Sources& b) {
  Sources all;
  std::set_union(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(all));
  return all;
}

class Graph {
 public:
  Sources add(const std::string& name, const Sources& sources, int64_t kernel = 3, int64_t stride = 1,
              int64_t dilation = 1, bool needed = true) {
    convolutions.push_back({name, sources, kernel, stride, dilation, needed});
    return {convolutions.size() - 1};
  }

  // A residual U-block.
  Sources add_block(const std::string& stage, const U2NetStage& shape, const Sources& x) {
    const auto unit = [&](const std::string& name, const Sources& sources, int64_t dilation) {
      return add(fmt::format("{}.{}.conv_s1", stage, name), sources, 3, 1, dilation);
    };
    const Sources in = unit("rebnconvin", x, 1);
    std::vector<Sources> down;
    for (int i = 0; i < shape.height; ++i)
      down.push_back(
          unit(fmt::format("rebnconv{}", i + 1), i == 0 ? in : down.back(), down_dilation(shape, i)));
    Sources up = down.back();
    for (int i = shape.height - 1; i-- > 0;)
      up = unit(fmt::format("rebnconv{}d", i + 1), united(up, down[static_cast<size_t>(i)]),
                up_dilation(shape, i));
    return united(in, up);
  }

  std::vector<U2NetConvolution> convolutions;
};

}  // namespace

std::vector<U2NetConvolution> u2net_graph(U2Net::Kind kind) {
  const bool isnet = kind == U2Net::Kind::isnet;
  Graph graph;
  Sources x;
  if (isnet) x = graph.add("conv_in", {}, 3, 2);
  std::vector<Sources> encoded, compared;
  for (size_t i = 0; i < kU2NetStages.size(); ++i)
    encoded.push_back(x = graph.add_block(fmt::format("stage{}", i + 1), kU2NetStages[i], x));
  compared.push_back(x);
  for (size_t i = kU2NetStages.size() - 1; i-- > 0;) {
    x = graph.add_block(fmt::format("stage{}d", i + 1), kU2NetStages[i], united(x, encoded[i]));
    compared.insert(compared.begin(), x);
  }
  Sources sides;
  for (size_t i = 0; i < compared.size(); ++i)
    sides = united(sides, graph.add(fmt::format("side{}", i + 1), compared[i], 3, 1, 1, !isnet || i == 0));
  if (!isnet) graph.add("outconv", sides, 1);
  return graph.convolutions;
}

}  // namespace eg4d
