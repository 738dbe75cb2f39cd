#include "diffusion/vae_parts.h"

#include <fmt/format.h>

#include "core/error.h"

namespace eg4d {

std::optional<LinearLayer> pointwise_layer(Backend* backend, const WeightMap& weights,
                                           const std::string& name, const NetworkType& type,
                                           int64_t channels) {
  if (!weights.contains_prefix(name + ".")) return {};
  const auto build = [&](Loader& loader) { return loader.linear("", channels, channels); };
  if (backend) return Loader::load(*backend, weights, name, type, build);
  Loader::check(weights, name, build);
  return {};
}

void check_pictures(const Shape& x, int64_t channels, int64_t multiple) {
  if (x.size() != 4 || x[3] != channels || x[1] % multiple != 0 || x[2] % multiple != 0 ||
      element_count(x) == 0)
    throw Error(fmt::format("the autoencoder takes [N,H,W,{}] with H and W multiples of {}, not {}", channels,
                            multiple, to_string(x)));
}

std::shared_ptr<Arena> arena_of(Backend& backend, const AutoencoderOptions& options) {
  return options.arena ? options.arena : std::make_shared<Arena>(backend);
}

}  // namespace eg4d
