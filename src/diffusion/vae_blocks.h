#pragma once

// The building blocks of the autoencoder.

#include <optional>

#include "nn/loader.h"

namespace eg4d {

// How a block over the frames keeps to little memory: what it works in, an array like its own, is given, and
// the pixels are in so many strips, of each of which it sees all frames.
struct FrameStrips {
  Tensor spare = {};
  int64_t count = 1;
};

// A residual block; in the temporal decoder followed by one over the frames on its result y, blended as
// (1-a)·y + a·(y + h) = y + a·h: the other way round than in the UNet. a is folded into the last layer's
// weights.
class AutoencoderBlock {
 public:
  AutoencoderBlock(const Loader& loader, int64_t in, int64_t out, bool temporal);
  // The number of channels that a block of the checkpoint puts out.
  static int64_t channels_of(const Loader& loader);

  // What the way back needs.
  struct Passed {
    Tensor x, hidden;
  };
  Tensor operator()(Session& session, const Tensor& x, int64_t frames, Passed* passed = nullptr) const;
  // The two parts of it, for those that have little memory. The first, which sees each picture by itself:
  // into `into`, which may be x where the channels stay, or where that is not defined, a new tensor.
  Tensor over_pixels(Session& session, const Tensor& x, const Tensor& into, Passed* passed = nullptr) const;
  // The second, in place. Nothing where the block is not temporal.
  void over_frames(Session& session, const Tensor& y, int64_t frames, const FrameStrips& strips = {}) const;
  int64_t out_channels() const { return second_.out; }
  bool keeps_channels() const { return !shortcut_; }
  // The gradient with respect to x, which may take d_y's place. Not of a temporal block.
  Tensor backward(Session& session, const Passed& passed, const Tensor& d_y) const;

 private:
  struct Temporal {
    NormLayer norm1, norm2;
    ConvolutionLayer first, second;
  };
  NormLayer norm1_, norm2_;
  ConvolutionLayer first_, second_;
  std::optional<LinearLayer> shortcut_;
  std::optional<Temporal> temporal_;
};

// Block, self-attention over the pixels with a single head, block.
class AutoencoderMiddle {
 public:
  AutoencoderMiddle(const Loader& loader, int64_t channels, bool temporal);
  struct Passed {
    AutoencoderBlock::Passed first, second;
    Tensor attended, query_key_value;  // what attention saw, and made of it
  };
  Tensor operator()(Session& session, const Tensor& x, int64_t frames, Passed* passed = nullptr) const;
  Tensor backward(Session& session, const Passed& passed, const Tensor& d_y) const;  // as a block's

 private:
  static Attention describe(const Tensor& x, const Tensor& query_key_value);
  Tensor attend(Session& session, const Tensor& x, Passed* passed) const;
  Tensor attend_backward(Session& session, const Passed& passed, const Tensor& d_y) const;
  AutoencoderBlock first_, second_;
  NormLayer norm_;
  LinearLayer query_key_value_, out_;
};

inline constexpr float kAutoencoderEpsilon = 1e-6f;

}  // namespace eg4d
