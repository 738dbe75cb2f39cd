#pragma once

#include <array>
#include <memory>

#include "nn/prepared_call.h"
#include "nn/weights.h"

namespace eg4d {

// DPT-Hybrid (Ranftl et al., "Vision transformers for dense prediction", 2021): how near each pixel of a
// picture is. A residual network (BiT's) makes features, a vision transformer goes on with the last of them,
// and both come together again from coarse to fine. Names are those of Hugging Face's library, as in
// Intel/dpt-hybrid-midas.
class DptHybrid {
 public:
  // What the tensors do not tell.
  struct Options {
    int64_t heads = 0;                      // of the attention; 0: 64 channels each
    std::array<int64_t, 2> taps = {8, 11};  // the blocks, from 0, whose results are used
    NetworkType type = {};
  };
  // Throws Error when tensors are missing, surplus or have another shape. The backend must outlive it; the
  // weights may go.
  DptHybrid(Backend& backend, const WeightMap& weights, const Options& options);
  ~DptHybrid();
  // Only compares names and shapes; throws as the constructor does.
  static void check(const WeightMap& weights);

  int64_t picture_size() const;  // that it was trained with: 384

  // pictures: [N,H,W,3], (value - 0.5)/0.5, H and W multiples of 32 → [N,H,W,1], at least 0, larger is
  // nearer. Observer names: "embeddings" (tokens with their positions), "encoder" (after the last block),
  // "fused" (the feature map before the head), "raw" (depth that may be below 0).
  Tensor forward(const Tensor& pictures, const Observer& observer = {});
  // The same, prepared for pictures of one shape. The network must outlive it.
  std::unique_ptr<PreparedFunction> prepare(const Shape& pictures);

 private:
  struct Network;
  std::unique_ptr<Network> network_;
};

}  // namespace eg4d
