#include "diffusion/clip_text.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "diffusion/clip_blocks.h"

namespace eg4d {
namespace {

constexpr auto kContext = static_cast<int64_t>(ClipTokenizer::kContext);

struct Layers {
  ClipNames names = ClipNames::open_clip;
  int64_t vocabulary = 0, width = 0;
  std::vector<float> positions;  // [kContext,width]
  std::vector<ClipBlock> blocks;
  NormLayer final_norm;
  LinearLayer projection;  // out = 0 where there is none
};

std::string token_table(ClipNames names) {
  return names == ClipNames::open_clip ? "token_embedding.weight" : "embeddings.token_embedding.weight";
}

Layers build(Loader& loader) {
  Layers layers;
  const bool own = !loader.has_below("embeddings");
  layers.names = own ? ClipNames::open_clip : ClipNames::hugging_face;
  const std::string positions = own ? "positional_embedding" : "embeddings.position_embedding.weight";
  const std::string norm = own ? "ln_final" : "final_layer_norm", table = token_table(layers.names);
  layers.width = loader.extent({{table.c_str(), 1}, {positions.c_str(), 1}, {(norm + ".weight").c_str(), 0}});
  layers.vocabulary = loader.extent({{table.c_str(), 0}});
  loader.unused(table, {layers.vocabulary, layers.width});  // rows are read as they are asked for
  layers.positions = loader.values(positions, {kContext, layers.width});
  layers.blocks = clip_blocks(loader, layers.width, layers.names);
  if (layers.blocks.empty()) loader.complain(fmt::format("'{}' holds no layers", loader.path()));
  layers.final_norm = loader.norm(norm, layers.width, kClipNormEpsilon);
  if (own && loader.has("text_projection")) {
    const int64_t out = loader.extent({{"text_projection", 1}});
    const std::vector<float> projection = loader.values("text_projection", {layers.width, out});
    layers.projection =
        packed_linear(loader, layers.width, out, swap_last_axes(projection, layers.width, out));
  }
  if (own && loader.has("logit_scale")) loader.unused("logit_scale", {});
  return layers;
}

}  // namespace

struct ClipTextEncoder::Network {
  Network(Backend& b, Layers l, const NetworkType& t) : backend(b), arena(b), layers(std::move(l)), type(t) {}
  Tensor embed(const std::vector<ClipTokenizer::Row>& rows) const;

  Backend& backend;
  Arena arena;
  Layers layers;
  const NetworkType type;
  WeightMap table;  // stays in its file: a text needs few of its rows
  std::string table_name;
  int64_t head_channels = 0;
  Activation activation = Activation::gelu;
};

ClipTextEncoder::ClipTextEncoder(Backend& backend, const WeightMap& weights, const std::string& prefix,
                                 const Options& options)
    : network_(std::make_unique<Network>(backend, Loader::load(backend, weights, prefix, options.type, build),
                                         options.type)) {
  const Layers& layers = network_->layers;
  network_->table_name = prefix + token_table(layers.names);
  network_->table = weights.below(network_->table_name);
  network_->activation = options.activation;
  const int64_t usual = weights.metadata_number("clip_head_channels", kClipHeadChannels);
  network_->head_channels = options.heads > 0 ? layers.width / options.heads : usual;
  if (network_->head_channels == 0 || layers.width % network_->head_channels != 0 ||
      (options.heads > 0 && layers.width % options.heads != 0))
    throw Error(fmt::format("'{}': a text encoder of width {} cannot be divided into {}",
                            weights.path().string(), layers.width,
                            options.heads > 0 ? fmt::format("{} attention heads", options.heads)
                                              : fmt::format("attention heads of {} channels", usual)));
}

ClipTextEncoder::~ClipTextEncoder() = default;

void ClipTextEncoder::check(const WeightMap& weights, const std::string& prefix) {
  Loader::check(weights, prefix, build);
}

int64_t ClipTextEncoder::vocabulary() const {
  return network_->layers.vocabulary;
}
int64_t ClipTextEncoder::width() const {
  return network_->layers.width;
}
int64_t ClipTextEncoder::pooled_width() const {
  return network_->layers.projection.out;
}

// [rows·kContext,width]: tokens and positions.
Tensor ClipTextEncoder::Network::embed(const std::vector<ClipTokenizer::Row>& rows) const {
  std::vector<int64_t> tokens;
  for (const ClipTokenizer::Row& row : rows) tokens.insert(tokens.end(), row.begin(), row.end());
  for (const int64_t token : tokens)
    if (token < 0 || token >= layers.vocabulary)
      throw Error(fmt::format("'{}': the text encoder knows {} tokens, there is none of number {}",
                              table.path().string(), layers.vocabulary, token));
  std::vector<float> values = table.rows(table_name, tokens);
  for (size_t i = 0; i < values.size(); ++i) values[i] += layers.positions[i % layers.positions.size()];
  return Tensor::from_host<float>(backend, {static_cast<int64_t>(tokens.size()), layers.width}, values);
}

ClipTextEncoder::Output ClipTextEncoder::encode(const std::vector<ClipTokenizer::Row>& rows,
                                                const Observer& observer) {
  const Layers& layers = network_->layers;
  const int64_t count = static_cast<int64_t>(rows.size()), width = layers.width;
  const Tensor tokens = network_->embed(rows);
  Output output;
  output.hidden = Tensor::empty(network_->backend, {count, kContext, width});
  if (layers.projection.out > 0)
    output.pooled = Tensor::empty(network_->backend, {count, layers.projection.out});
  const ClipBlock::Call call{.sequences = count,
                             .head_channels = network_->head_channels,
                             .causal = true,
                             .activation = network_->activation};
  const auto walk = [&](Session& session) {
    const Tensor x = session.empty(tokens.shape());
    copy(session, tokens, x);
    for (size_t i = 0; i < layers.blocks.size(); ++i) {
      if (i + 1 == layers.blocks.size()) copy(session, x, output.hidden);
      layers.blocks[i].apply(session, x, call);
    }
    const Tensor last = layer_norm(session, layers.final_norm, x);
    session.observe("last_hidden_state", last);
    if (!output.pooled.defined()) return;
    const Tensor ends = session.empty({count, width});
    for (int64_t row = 0; row < count; ++row) {
      const ClipTokenizer::Row& ids = rows[static_cast<size_t>(row)];
      const int64_t end = std::max_element(ids.begin(), ids.end()) - ids.begin();
      copy(session, last.rows(row * kContext + end, 1), ends.rows(row, 1));
    }
    copy(session, layers.projection(session, ends), output.pooled);
  };
  Session::run(network_->arena, observer, walk, network_->type.activations);
  return output;
}

}  // namespace eg4d
