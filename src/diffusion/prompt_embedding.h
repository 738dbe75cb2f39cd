#pragma once

#include <string>
#include <vector>

#include "diffusion/image_checkpoint.h"

namespace eg4d {

// A prompt as SDXL's UNet takes it.
struct PromptEmbedding {
  std::vector<float>
      context;  // [77,context_width]: both encoders' states before their last block, side by side
  std::vector<float> pooled;  // [pooled_width]: of the second encoder
};

// Loads the text encoders one after the other for as long as it takes. A prompt that is too long is cut, with
// a warning that says where. type: of the encoders. Throws Error for what is not UTF-8, and when tokenizer
// and encoder do not fit.
PromptEmbedding embed_prompt(Backend& backend, const ImageCheckpoint& checkpoint, const std::string& prompt,
                             const NetworkType& type = {});

// From the tokens for each encoder.
PromptEmbedding embed_tokens(Backend& backend, const ImageCheckpoint& checkpoint,
                             const ClipTokenizer::Row& first, const ClipTokenizer::Row& second,
                             const NetworkType& type = {});

// Of a negative prompt that is not given: zeros, or those of the empty prompt, as the model wants it.
PromptEmbedding embed_no_prompt(Backend& backend, const ImageCheckpoint& checkpoint,
                                const NetworkType& type = {});

}  // namespace eg4d
