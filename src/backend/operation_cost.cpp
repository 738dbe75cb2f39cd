#include "backend/operation_cost.h"

#include <fmt/format.h>

#include "backend/operation_arrays.h"

namespace eg4d {
namespace {

double number(int64_t value) {
  return static_cast<double>(value);
}

int64_t out_height(const Convolution& a) {
  const PackedWeight::Extents& w = a.weight->extents;
  return convolution_extent(a.height, w.kernel_height, a.pad_top, a.pad_bottom, a.stride, a.dilation);
}
int64_t out_width(const Convolution& a) {
  const PackedWeight::Extents& w = a.weight->extents;
  return convolution_extent(a.width, w.kernel_width, a.pad_left, a.pad_right, a.stride, a.dilation);
}

// Floating-point operations.
struct Flop {
  double operator()(const Linear& a) const { return product(a.rows, *a.weight); }
  double operator()(const LinearBackward& a) const { return (*this)(a.forward); }
  double operator()(const Convolution& a) const {
    const PackedWeight::Extents& w = a.weight->extents;
    return 2 * number(a.batch * out_height(a) * out_width(a)) * number(w.in * w.out) *
           number(w.kernel_height * w.kernel_width);
  }
  double operator()(const ConvolutionBackward& a) const { return (*this)(a.forward); }
  double operator()(const Attention& a) const {
    return 4 * number(a.outer * a.inner * a.heads) * number(a.queries * a.keys) * number(a.head_dim);
  }
  double operator()(const AttentionBackward& a) const { return 2.5 * (*this)(a.forward); }
  double operator()(const FeedForward& a) const {
    return product(a.rows, *a.widen) + product(a.rows, *a.narrow);
  }
  double operator()(const DeformationNetwork& a) const {
    const DeformationNetworkLayout& network = a.context->description.network;
    double per_gaussian = 0;
    const auto add = [&](const DeformationNetworkLayout::Layer& layer) {
      per_gaussian += 2 * number(int64_t{layer.in} * layer.out);
    };
    for (const DeformationNetworkLayout::Layer& layer : network.trunk) add(layer);
    for (size_t i = 0; i < network.heads.size(); ++i) {
      if (!a.outputs[i]) continue;
      add(network.heads[i].hidden);
      add(network.heads[i].last);
    }
    return number(a.count) * per_gaussian;
  }
  double operator()(const DeformationNetworkBackward& a) const { return 2 * (*this)(a.forward); }
  template <class Other>
  double operator()(const Other&) const {
    return 0;
  }

 private:
  static double product(int64_t rows, const PackedWeight& weight) {
    return 2 * number(rows) * number(weight.extents.in * weight.extents.out);
  }
};

// Bytes of weights, and of the arrays of operations that know f32 alone.
struct PlainBytes {
  double operator()(const Linear& a) const { return number(static_cast<int64_t>(a.weight->bytes())); }
  double operator()(const Convolution& a) const { return number(static_cast<int64_t>(a.weight->bytes())); }
  double operator()(const FeedForward& a) const {
    return number(static_cast<int64_t>(a.widen->bytes() + a.narrow->bytes()));
  }
  double operator()(const LinearBackward& a) const {
    return (*this)(a.forward) +
           floats(a.forward.rows * (a.forward.weight->extents.out + 2 * a.forward.weight->extents.in));
  }
  double operator()(const NextInputs& a) const {
    return 2 * number(a.count) * static_cast<double>(sizeof(IterationInputs));
  }
  double operator()(const NetworkInput& a) const {
    return floats((a.frames + a.concat_rows) * a.positions * a.channels);
  }
  double operator()(const TimestepSinusoids& a) const { return floats(a.rows * a.width); }
  double operator()(const EulerStep& a) const { return floats((a.scales ? 4 : 3) * a.frames * a.elements); }
  double operator()(const NoisyLatents& a) const { return floats((a.noise ? 2 : 1) * a.count); }
  double operator()(const SampleMoments& a) const {
    return floats((a.noise ? 4 : 3) * a.positions * a.channels);
  }
  double operator()(const FitPicture& a) const {
    return floats((a.height * a.width + a.out_height * a.out_width) * a.channels);
  }
  double operator()(const FitPictureBackward& a) const {
    return (*this)(a.forward) + floats(a.forward.height * a.forward.width * a.forward.channels);
  }
  double operator()(const RasterizeForward& a) const { return floats(15 * a.count + 5 * pixels(a)); }
  double operator()(const RasterizeBackward& a) const {
    return floats(30 * a.forward.count + 5 * pixels(a.forward));
  }
  double operator()(const ShColor& a) const { return floats((a.gain_bias ? 58 : 54) * a.count); }
  double operator()(const ShColorBackward& a) const {
    return floats((a.forward.gain_bias ? 170 : 162) * a.forward.count);
  }
  double operator()(const HexPlane& a) const { return floats(a.count * (3 + feature_width(a))); }
  double operator()(const HexPlaneBackward& a) const {
    return floats(a.forward.count * (9 + feature_width(a.forward)));
  }
  double operator()(const DeformationNetwork& a) const {
    const DeformationNetworkLayout& network = a.context->description.network;
    int64_t kept = 0, outputs = 0;
    for (const DeformationNetworkLayout::Layer& layer : network.trunk) kept += layer.out;
    for (size_t i = 0; i < network.heads.size(); ++i)
      if (a.outputs[i]) {
        kept += network.heads[i].hidden.out;
        outputs += network.heads[i].last.out;
      }
    return floats(a.count * (network.trunk[0].in + outputs + (a.keep ? kept : 0)));
  }
  double operator()(const DeformationNetworkBackward& a) const { return 2 * (*this)(a.forward); }
  double operator()(const GaussianActivation& a) const { return floats(40 * a.count); }
  double operator()(const GaussianActivationBackward& a) const { return floats(80 * a.forward.count); }
  double operator()(const ImageLoss& a) const { return floats(int64_t{9} * a.width * a.height); }
  double operator()(const ResizePicture& a) const {
    return number(int64_t{3} * a.out_width * a.out_height) + floats(int64_t{3} * a.out_width * a.out_height);
  }
  double operator()(const Adam& a) const { return floats(8 * a.count); }  // four arrays, read and written
  double operator()(const HexPlaneAdam& a) const { return (*this)(a.adam); }
  double operator()(const DensityStatistics& a) const { return floats(9 * a.count); }
  double operator()(const DecideDensity& a) const {
    return floats((11 + (a.gradient_sum ? 2 : 0) + (a.max_radii ? 1 : 0)) * a.count) + number(a.count);
  }
  double operator()(const DensityRows& a) const { return number(2 * a.count) + floats(a.count); }
  double operator()(const SplitNoise& a) const { return floats(7 * a.count); }
  double operator()(const SplitGaussians& a) const { return floats(19 * a.count); }
  double operator()(const ClampAbove& a) const { return floats(2 * a.count); }
  double operator()(const ClampUnit& a) const { return floats(2 * a.count); }
  double operator()(const ClampUnitBackward& a) const { return floats(3 * a.count); }
  double operator()(const UnitToBytes& a) const { return 5 * static_cast<double>(a.count); }
  double operator()(const MoveTowards& a) const { return floats(3 * a.count); }
  double operator()(const GatherRows& a) const { return number(2 * a.count * a.row_bytes); }
  double operator()(const CopyBytes& a) const { return 2 * number(static_cast<int64_t>(a.bytes)); }
  double operator()(const FillBytes& a) const { return number(static_cast<int64_t>(a.bytes)); }
  template <class Other>
  double operator()(const Other&) const {
    return 0;
  }

 private:
  static double floats(int64_t count) { return number(count) * sizeof(float); }
  static int64_t pixels(const RasterizeForward& a) { return int64_t{a.width} * a.height; }
  static int64_t feature_width(const HexPlane& a) { return a.context->description.planes.feature_width(); }
};

struct Shapes {
  std::string operator()(const Linear& a) const {
    return fmt::format("{} × {} → {}", a.rows, a.weight->extents.in, a.weight->extents.out);
  }
  std::string operator()(const FeedForward& a) const {
    return fmt::format("{} × {} → 2·{} → {}", a.rows, a.widen->extents.in, a.inner, a.narrow->extents.out);
  }
  std::string operator()(const Convolution& a) const {
    const PackedWeight::Extents& w = a.weight->extents;
    return fmt::format("{}×{}×{}×{} → {}×{}×{}, kernel {}×{}", a.batch, a.height, a.width, w.in,
                       out_height(a), out_width(a), w.out, w.kernel_height, w.kernel_width);
  }
  std::string operator()(const Attention& a) const {
    return fmt::format("{}×{} sequences, {} heads of {}, {} queries, {} keys", a.outer, a.inner, a.heads,
                       a.head_dim, a.queries, a.keys);
  }
  std::string operator()(const GroupNorm& a) const {
    return fmt::format("{} × {} × {}", a.batch, a.positions, a.channels);
  }
  std::string operator()(const LayerNorm& a) const { return fmt::format("{} × {}", a.rows, a.width); }
  std::string operator()(const MixedNorm& a) const { return (*this)(a.norm); }
  std::string operator()(const CopyRows& a) const { return fmt::format("{} × {}", a.rows, a.width); }
  std::string operator()(const NetworkInput& a) const {
    return fmt::format("{} × {} × {}", a.rows, a.positions, 2 * a.channels);
  }
  std::string operator()(const TimestepSinusoids& a) const { return fmt::format("{} × {}", a.rows, a.width); }
  std::string operator()(const EulerStep& a) const { return fmt::format("{} × {}", a.frames, a.elements); }
  std::string operator()(const SampleMoments& a) const {
    return fmt::format("{} × {}", a.positions, a.channels);
  }
  std::string operator()(const RasterizeForward& a) const {
    return fmt::format("{} Gaussians, {}×{}", a.count, a.width, a.height);
  }
  std::string operator()(const RasterizeBackward& a) const { return (*this)(a.forward); }
  std::string operator()(const ResizePicture& a) const {
    return fmt::format("{}×{}", a.out_width, a.out_height);
  }
  std::string operator()(const CopyBytes& a) const { return fmt::format("{} bytes", a.bytes); }
  std::string operator()(const FillBytes& a) const { return fmt::format("{} bytes", a.bytes); }
  template <class Other>
  std::string operator()(const Other& a) const {
    if constexpr (requires { a.count; })
      return std::to_string(a.count);
    else if constexpr (requires { a.forward; })
      return (*this)(a.forward);
    else if constexpr (requires { a.adam; })
      return std::to_string(a.adam.count);
    else if constexpr (requires {
                         a.width;
                         a.height;
                       })
      return fmt::format("{}×{}", a.width, a.height);
    else
      return {};
  }
};

}  // namespace

OperationCost cost_of(const Operation& operation) {
  OperationCost cost;
  std::visit(
      [&](const auto& a) {
        cost.flop = Flop()(a);
        cost.bytes = PlainBytes()(a);
        cost.shape = Shapes()(a);
        auto copy = a;
        bool first = true;
        each_array(copy, [&](const auto& array, int64_t count, Access access) {
          cost.bytes += number(count) * number(static_cast<int64_t>(size_of(array.type))) *
                        (access == Access::update ? 2 : 1);
          if (first && !cost.shape.empty()) cost.shape += fmt::format(", {}", name_of(array.type));
          first = false;
        });
      },
      operation);
  return cost;
}

}  // namespace eg4d
