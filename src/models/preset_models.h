#pragma once

#include <string>

namespace eg4d {

// The commands whose settings depend on the network that they use.
enum class PaintingStage { animate, multiview, refine };

// The model that a preset of the command is for, a name of the catalogue: svd_mini for animate's mini, the
// published default for presets that are for no particular one.
std::string model_of_preset(PaintingStage stage, const std::string& preset);

// The preset that is for a model, which is a name of the catalogue or the path of a file or folder that has
// its published name: svd for svd_image_decoder, mini for svd_mini; paper for any other.
std::string preset_of_model(PaintingStage stage, const std::string& name_or_path);

}  // namespace eg4d
