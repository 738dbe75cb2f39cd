#pragma once

#include <memory>
#include <string>

#include "vision/matting.h"

namespace eg4d {

// The network that a person named: "u2net", "u2netp" or "isnet" of the catalogue, or a file (.onnx, .pth,
// .safetensors). Throws Error saying how to get it when it is not here, UsageError for another model's name.
std::unique_ptr<Matting> require_matting(Backend& backend, const std::string& name_or_file,
                                         const std::filesystem::path& models_folder,
                                         const NetworkType& type = {});

}  // namespace eg4d
