#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "io/prepared_file.h"
#include "splat/deformation_field.h"
#include "splat/gaussians.h"
#include "splat/options.h"

namespace eg4d {

// What a model file tells besides its tensors.
struct ModelInfo {
  ReconstructOptions options;
  bool deforms = true;                            // false: a static model (coarse stage only)
  int64_t iterations = 0;                         // of both stages, and of Stage III when it was refined
  double extent = 0;                              // scene extent of the training cameras
  double largest_time = 1;                        // of the dataset; rendering takes time / largest_time
  int frame_count = 0;                            // time steps of the training video
  int width = 0, height = 0;                      // of the training pictures
  double fov_x = 0;                               // radians
  double camera_radius = 0;                       // mean distance of the training cameras from the origin
  std::map<std::string, std::string> provenance;  // program version, dataset, preset, …
};

// The iterations that are not the coarse stage's: by which the published code counts.
int64_t fine_iterations(const ModelInfo& info);

// A 4D object: canonical Gaussians and their deformation over time in [0,1].
struct Model {
  ModelInfo info;
  Gaussians gaussians;
  DeformationField field;
  const DeformationField* active_field() const { return info.deforms ? &field : nullptr; }
};

// The 4D model file: one safetensors file (docs/formats.md) with tensors gaussians.positions, …, field.grid,
// field.box, field.network and a JSON header in its metadata. Written atomically. Throws NotFinite
// (training_state.h) when a tensor holds NaN or infinity; the file of before then stays.
void save_model(const std::filesystem::path& path, const ModelInfo& info, const Gaussians& gaussians,
                const DeformationField* field);
// The same in two parts: this one waits for the device, looks for NaN and throws.
PreparedFile prepare_model(const ModelInfo& info, const Gaussians& gaussians, const DeformationField* field);

// Throws Error when the file is not a model, is of a later version, or its tensors do not fit its header or
// hold NaN.
Model load_model(Backend& backend, const std::filesystem::path& path);

}  // namespace eg4d
