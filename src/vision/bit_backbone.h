#pragma once

#include <vector>

#include "nn/loader.h"

namespace eg4d {

// The residual network of BiT (Kolesnikov et al., "Big Transfer", 2020) as DPT-Hybrid has it: convolutions
// with standardised weights (Qiao et al. 2019) and padding as TensorFlow's "SAME", group norms, the
// activation after the addition. The weights are standardised once, here.
class BitBackbone {
 public:
  explicit BitBackbone(const Loader& loader);  // embedder.*, encoder.stages.*

  // pictures: [N,H,W,3], H and W multiples of 4·2^(stages-1) → what each stage puts out: [N,H/4,W/4,…],
  // [N,H/8,W/8,…], …
  std::vector<Tensor> operator()(Session& session, const Tensor& pictures) const;

  size_t stages() const { return stages_.size(); }
  int64_t channels(size_t stage) const { return stages_.at(stage).back().third.convolution.out; }

 private:
  // A convolution and its group norm.
  struct Unit {
    ConvolutionLayer convolution;
    NormLayer norm;
    int64_t stride = 1;
    Unit() = default;
    Unit(const Loader& loader, const char* convolution_name, const char* norm_name, int64_t in,
         int64_t kernel, int64_t stride);
    Tensor operator()(Session& session, const Tensor& x, Activation activation) const;
  };
  struct Block {
    Unit first, second, third;
    bool projects = false;
    Unit skip;
  };
  static Block load_block(const Loader& loader, int64_t in, int64_t stride);
  static Tensor apply(Session& session, const Block& block, const Tensor& x);

  Unit stem_;
  std::vector<std::vector<Block>> stages_;
};

}  // namespace eg4d
