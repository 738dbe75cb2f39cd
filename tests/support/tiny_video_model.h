#pragma once

#include <filesystem>

namespace eg4d::test {

enum class TinyModel { svd, sv3d_p };

// Writes a checkpoint of small random networks in the single-file layout, put together from those of the
// golden fixtures: pictures of a multiple of 16 pixels, latents of a quarter of their size.
void write_tiny_model(TinyModel model, const std::filesystem::path& path);

}  // namespace eg4d::test
