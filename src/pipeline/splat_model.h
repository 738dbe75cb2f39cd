#pragma once

#include <filesystem>

#include "splat/cloud_changes.h"
#include "splat/model.h"

namespace eg4d {

// Whether the name is that of a file of plain Gaussians that can be read (formats/splat_file.h) and that is
// no part of a model of the Python EG4D: neither a point_cloud.ply nor beside a deformation.pth.
bool is_splat_file(const std::filesystem::path& named);

// Such a file as a model that stands still. `up`: the axis that points up in it; automatic: what its format
// means. A PLY of Inria's and most others has -y up. What the file does not tell (picture size, camera) is
// EG4D's, except that the camera stands where it sees all of the object. Throws Error, one sentence naming
// the file.
Model read_splat_model(Backend& backend, const std::filesystem::path& file, UpAxis up);

}  // namespace eg4d
