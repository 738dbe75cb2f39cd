#pragma once

#include <filesystem>
#include <string>

namespace eg4d {

// What is in a file or folder: a 4D model, any safetensors file, a checkpoint or state dict of the Python
// EG4D (.pth), a PLY, a picture, a video, a dataset, a run folder, a model folder of the Python EG4D. Told by
// content, not by name. Throws Error when it is none of these or damaged.
std::string describe_as_text(const std::filesystem::path& path);
std::string describe_as_json(const std::filesystem::path& path);  // {"kind": "model", …}

}  // namespace eg4d
