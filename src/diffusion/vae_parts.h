#pragma once

// What the autoencoder's two halves share.

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "diffusion/vae.h"
#include "diffusion/vae_blocks.h"

namespace eg4d {

inline constexpr int64_t kColors = 3, kLatents = 4;  // channels

// A resolution: its blocks, then the change to the next one, where there is one.
struct AutoencoderLevel {
  std::vector<AutoencoderBlock> blocks;
  std::optional<ConvolutionLayer> resample;
};

// <prefix>quant_conv or <prefix>post_quant_conv, which not all checkpoints have. Without a backend its shapes
// are checked, and nothing comes back.
std::optional<LinearLayer> pointwise_layer(Backend* backend, const WeightMap& weights,
                                           const std::string& name, const NetworkType& type,
                                           int64_t channels);

// Throws Error unless x is [N,H,W,channels], H and W multiples of that.
void check_pictures(const Shape& x, int64_t channels, int64_t multiple);

std::shared_ptr<Arena> arena_of(Backend& backend, const AutoencoderOptions& options);

}  // namespace eg4d
