#include "diffusion/clip_blocks.h"

#include <fmt/format.h>

namespace eg4d {

LinearLayer packed_linear(const Loader& loader, int64_t in, int64_t out, const std::vector<float>& weight,
                          const std::vector<float>& bias) {
  LinearLayer layer{in, out, nullptr};
  if (!loader.checking())
    layer.weight = loader.backend().pack_linear(
        {.in = in, .out = out, .weight = weight, .bias = bias, .type = loader.type()});
  return layer;
}

std::vector<float> swap_last_axes(const std::vector<float>& values, int64_t b, int64_t c) {
  std::vector<float> swapped(values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    const int64_t at = static_cast<int64_t>(i), outer = at / (b * c), row = at / c % b, column = at % c;
    swapped[static_cast<size_t>((outer * c + column) * b + row)] = values[i];
  }
  return swapped;
}

namespace {

// What Hugging Face's library calls a block's tensors.
struct BlockNames {
  const char *norm1, *norm2, *query, *key, *value, *out, *widen, *narrow;
  float epsilon;
};
constexpr BlockNames kHuggingFace = {"layer_norm1",      "layer_norm2",      "self_attn.q_proj",
                                     "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj",
                                     "mlp.fc1",          "mlp.fc2",          kClipNormEpsilon};
constexpr BlockNames kVisionTransformer = {"layernorm_before",
                                           "layernorm_after",
                                           "attention.attention.query",
                                           "attention.attention.key",
                                           "attention.attention.value",
                                           "attention.output.dense",
                                           "intermediate.dense",
                                           "output.dense",
                                           1e-12f};

}  // namespace

ClipBlock::ClipBlock(const Loader& loader, int64_t width, ClipNames names) {
  if (names == ClipNames::open_clip) {
    norm1_ = loader.norm("ln_1", width, kClipNormEpsilon);
    norm2_ = loader.norm("ln_2", width, kClipNormEpsilon);
    const std::vector<float> weight = loader.values("attn.in_proj_weight", {3 * width, width});
    const std::vector<float> bias = loader.values("attn.in_proj_bias", {3 * width});
    query_key_value_ = packed_linear(loader, width, 3 * width, weight, bias);
    out_ = loader.linear("attn.out_proj", width, width);
    const int64_t inner =
        loader.extent({{"mlp.c_fc.bias", 0}, {"mlp.c_fc.weight", 0}, {"mlp.c_proj.weight", 1}});
    widen_ = loader.linear("mlp.c_fc", width, inner);
    narrow_ = loader.linear("mlp.c_proj", inner, width);
    return;
  }
  const BlockNames& own = names == ClipNames::hugging_face ? kHuggingFace : kVisionTransformer;
  norm1_ = loader.norm(own.norm1, width, own.epsilon);
  norm2_ = loader.norm(own.norm2, width, own.epsilon);
  query_key_value_ = loader.stacked_linear({own.query, own.key, own.value}, width, width, {});
  out_ = loader.linear(own.out, width, width);
  const std::string widen = own.widen, narrow = own.narrow;
  const int64_t inner = loader.extent(
      {{(widen + ".bias").c_str(), 0}, {(widen + ".weight").c_str(), 0}, {(narrow + ".weight").c_str(), 1}});
  widen_ = loader.linear(widen, width, inner);
  narrow_ = loader.linear(narrow, inner, width);
}

std::vector<ClipBlock> clip_blocks(const Loader& loader, int64_t width, ClipNames names) {
  const std::string name = names == ClipNames::open_clip      ? "transformer.resblocks"
                           : names == ClipNames::hugging_face ? "encoder.layers"
                                                              : "encoder.layer";
  std::vector<ClipBlock> blocks;
  for (int64_t i = 0, count = loader.children(name); i < count; ++i)
    blocks.emplace_back(loader.at(fmt::format("{}.{}", name, i)), width, names);
  return blocks;
}

void ClipBlock::apply(Session& session, const Tensor& x, const Call& call) const {
  const int64_t width = x.dim(1), count = x.dim(0) / call.sequences;
  {
    const Tensor normed = layer_norm(session, norm1_, x);
    const Tensor qkv = query_key_value_(session, normed);
    Attention a;
    a.outer = call.sequences;
    a.heads = width / call.head_channels;
    a.head_dim = call.head_channels;
    a.queries = a.keys = count;
    a.causal = call.causal;
    a.q = {qkv.array(), count * 3 * width, 0, 3 * width};
    a.k = a.v = a.q;
    a.k.data = a.k.data.at(width);
    a.v.data = a.v.data.at(2 * width);
    a.y = normed.array();
    a.y_outer_stride = count * width;
    a.y_token_stride = width;
    session.run(a);
    out_.add_to(session, normed, x);
  }
  const Tensor normed = layer_norm(session, norm2_, x);
  narrow_.add_to(session, widen_(session, normed, call.activation), x);
}

}  // namespace eg4d
