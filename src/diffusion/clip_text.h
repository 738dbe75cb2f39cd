#pragma once

#include <memory>
#include <vector>

#include "diffusion/clip_tokenizer.h"
#include "nn/session.h"
#include "nn/weights.h"

namespace eg4d {

// A text encoder of CLIP (Radford et al. 2021): a transformer whose tokens see those before them only. SDXL
// uses two: OpenAI's CLIP-L under Hugging Face's names ("embeddings.token_embedding.weight"), and OpenCLIP's
// bigG under its own ("token_embedding.weight"), which also projects the state of the end token.
class ClipTextEncoder {
 public:
  // Sizes are read from the tensors; these two leave no trace there.
  struct Options {
    int64_t heads = 0;  // 0: of as many channels as the metadata "clip_head_channels" tell, else 64
    Activation activation = Activation::gelu;
    NetworkType type = {};
  };
  // Throws Error when tensors below `prefix` are missing, surplus or have another shape. The backend must
  // outlive it; the weights may go.
  ClipTextEncoder(Backend& backend, const WeightMap& weights, const std::string& prefix,
                  const Options& options);
  ~ClipTextEncoder();
  static void check(const WeightMap& weights, const std::string& prefix);

  int64_t vocabulary() const;    // 49408
  int64_t width() const;         // CLIP-L 768, bigG 1280
  int64_t pooled_width() const;  // bigG 1280; 0 without a projection

  struct Output {   // f32
    Tensor hidden;  // [rows,77,width]: before the last block, without the final norm
    Tensor
        pooled;  // [rows,pooled_width]: of the end token (the first one of the highest number); or undefined
  };
  // Observer name: last_hidden_state. Throws Error for a token that the vocabulary does not have.
  Output encode(const std::vector<ClipTokenizer::Row>& rows, const Observer& observer = {});

 private:
  struct Network;
  std::unique_ptr<Network> network_;
};

}  // namespace eg4d
