#pragma once

#include <filesystem>

#include "nn/weights.h"

namespace eg4d::test {

// The image tower of the golden fixture openclip_vit under Hugging Face's names, with a part of a text tower
// and position_ids beside it as the published files have.
void write_tiny_clip(const std::filesystem::path& path);

}  // namespace eg4d::test
