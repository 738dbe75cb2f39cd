#pragma once

#include <filesystem>
#include <memory>

#include "diffusion/control_net.h"
#include "diffusion/image_checkpoint.h"

namespace eg4d {

// A ControlNet for SDXL as the diffusers library keeps it (controlnet-depth-sdxl-1.0, its -mid and -small
// relatives): a folder, or its .safetensors file alone. Opening it compares every tensor's name and shape
// with the architecture, without reading the data; an Error names what is missing, surplus or misshaped.
class ControlNetCheckpoint {
 public:
  explicit ControlNetCheckpoint(const std::filesystem::path& file_or_folder);

  // Throws Error unless it was made for networks like this one.
  void check_fits(const ImageCheckpoint& model) const;

  std::unique_ptr<ControlNet> network(Backend& backend, const NetworkType& type = {},
                                      const std::shared_ptr<Arena>& arena = {}) const;

 private:
  WeightMap weights_;
  ControlNet::Form form_;
  std::vector<int64_t> heads_;
};

}  // namespace eg4d
