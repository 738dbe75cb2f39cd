#include "diffusion/control_checkpoint.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/error.h"
#include "diffusion/diffusers_folder.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;

const std::string kPrefix = "control_model.";

}  // namespace

ControlNetCheckpoint::ControlNetCheckpoint(const fs::path& path)
    : weights_(read_control_net(path)),
      form_(ControlNet::check(weights_, kPrefix)),
      heads_(read_control_heads(fs::is_directory(path) ? path : path.parent_path())) {}

void ControlNetCheckpoint::check_fits(const ImageCheckpoint& model) const {
  const auto refuse = [&](const std::string& what) {
    throw Error(fmt::format("the ControlNet '{}' was not made for '{}': {}", weights_.path().string(),
                            model.weights().path().string(), what));
  };
  const ImageUNet::Form &own = form_.network, other = model.unet_form();
  if (own.channels != other.channels)
    refuse(fmt::format("it takes latents of {} channels, not {}", own.channels, other.channels));
  if (own.context != 0 && own.context != other.context)
    refuse(fmt::format("it takes texts of {} channels, not {}", own.context, other.context));
  if (own.vector != other.vector)
    refuse(fmt::format("it takes vectors of {} numbers, not {}", own.vector, other.vector));
  if (own.skips != other.skips)
    refuse(fmt::format("its blocks have {} channels, not {}", fmt::join(own.skips, ", "),
                       fmt::join(other.skips, ", ")));
  if (form_.hint_multiple != model.pixels_of_a_latent())
    refuse(fmt::format("a latent is {} pixels wide for it, not {}", form_.hint_multiple,
                       model.pixels_of_a_latent()));
}

std::unique_ptr<ControlNet> ControlNetCheckpoint::network(Backend& backend, const NetworkType& type,
                                                          const std::shared_ptr<Arena>& arena) const {
  return std::make_unique<ControlNet>(backend, weights_, kPrefix,
                                      ImageUNet::Options{.heads = heads_, .type = type, .arena = arena});
}

}  // namespace eg4d
