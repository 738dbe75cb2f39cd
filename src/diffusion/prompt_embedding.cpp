#include "diffusion/prompt_embedding.h"

#include <array>

#include "core/log.h"

namespace eg4d {
PromptEmbedding embed_tokens(Backend& backend, const ImageCheckpoint& checkpoint,
                             const ClipTokenizer::Row& first, const ClipTokenizer::Row& second,
                             const NetworkType& type) {
  std::vector<float> states[2];
  PromptEmbedding embedding;
  for (const size_t which : {size_t{0}, size_t{1}}) {
    const auto encoder = checkpoint.text_encoder(backend, which, type);
    const ClipTextEncoder::Output output = encoder->encode({which == 0 ? first : second});
    states[which] = output.hidden.to_host();
    if (output.pooled.defined()) embedding.pooled = output.pooled.to_host();
  }
  for (size_t token = 0; token < ClipTokenizer::kContext; ++token)
    for (const std::vector<float>& state : states) {
      const auto width = static_cast<int64_t>(state.size() / ClipTokenizer::kContext);
      const auto begin = state.begin() + static_cast<int64_t>(token) * width;
      embedding.context.insert(embedding.context.end(), begin, begin + width);
    }
  return embedding;
}

PromptEmbedding embed_prompt(Backend& backend, const ImageCheckpoint& checkpoint, const std::string& prompt,
                             const NetworkType& type) {
  std::array<ClipTokenizer::Row, 2> rows;
  std::string warned;
  for (const size_t which : {size_t{0}, size_t{1}}) {
    const ClipTokenizer& tokenizer = checkpoint.tokenizer(which);
    const std::vector<int32_t> tokens = tokenizer.tokens(prompt, ClipFlavour::hugging_face);
    if (const std::string sentence = tokenizer.truncation(tokens); !sentence.empty() && sentence != warned)
      warn(warned = sentence);
    rows[which] = tokenizer.row(tokens, which == 0 ? tokenizer.end() : 0);
  }
  return embed_tokens(backend, checkpoint, rows[0], rows[1], type);
}

PromptEmbedding embed_no_prompt(Backend& backend, const ImageCheckpoint& checkpoint,
                                const NetworkType& type) {
  if (!checkpoint.config().zeros_for_no_prompt) return embed_prompt(backend, checkpoint, "", type);
  return {std::vector<float>(ClipTokenizer::kContext * static_cast<size_t>(checkpoint.context_width())),
          std::vector<float>(static_cast<size_t>(checkpoint.pooled_width()))};
}

}  // namespace eg4d
