#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "io/prepared_file.h"
#include "nn/tensor.h"

namespace eg4d {

// Adam's state of one tensor: both moments have its shape.
struct Moments {
  Tensor first, second;
  int64_t steps = 0;
};

// Adam's state of what Stage III goes on training: "sh_dc", "sh_rest", "grid" and, when it is trained, "box".
using NamedMoments = std::map<std::string, Moments>;

// The file with a model file's moments: best_moments.safetensors beside best.safetensors. The model file
// itself stays lean: moments are twice its size.
std::filesystem::path moments_file(const std::filesystem::path& model);

// `iterations` is that of the model (ModelInfo). Atomic. Throws Error.
void save_moments(const std::filesystem::path& path, const NamedMoments& moments, int64_t iterations);
PreparedFile prepare_moments(const NamedMoments& moments, int64_t iterations);  // waits for the device

// Empty when there is no such file, or when it belongs to a model of other iterations (the program was
// stopped between the two files). Throws Error when it is damaged.
std::optional<NamedMoments> load_moments(Backend& backend, const std::filesystem::path& path,
                                         int64_t iterations);

}  // namespace eg4d
