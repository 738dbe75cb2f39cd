#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>

#include "nn/weights.h"

namespace eg4d::test {

// Weights that fixtures have as a rule, the integer hash of golden/NOTES.md, in place of a file:
//   {"dtype": "F16", "hash": {"<name>": {"k": 3, "s": 0.2, "add": 1, "shape": [64, 3]}, …}}
// Numbers are rounded to f16 where "dtype" says so, else f32.
WeightMap hashed_weights(const nlohmann::json& rule);
WeightMap hashed_weights(const std::filesystem::path& rule_file);

// The weights of a fixture's folder: weights.safetensors, or the file or rule that config.json's "weights"
// names.
WeightMap fixture_weights(const std::filesystem::path& folder);

// A model's folder out of a fixture's: a copy in which <name>.hash.json became <name>.safetensors.
void copy_model_folder(const std::filesystem::path& from, const std::filesystem::path& to);
// The folder of the fixture sdxl_img2img: its pipeline.tar unpacked, or its pipeline/ copied so.
void copy_pipeline(const std::filesystem::path& fixture, const std::filesystem::path& to);

}  // namespace eg4d::test
