#pragma once

#include <filesystem>
#include <vector>

#include "core/progress.h"
#include "pipeline/open_model.h"

namespace eg4d {

class Backend;

enum class ExportFormat {
  ply,     // 3D Gaussians as every viewer reads them, one file per moment
  python,  // the model folder of the Python EG4D
};

// The axis that points up in what is written. The model itself has z up, as its dataset. PLY files of 3D
// Gaussian splatting mostly come from photogrammetry, where y points down: SuperSplat, PlayCanvas, Babylon.js
// and others expect that and turn what they read by half a turn.
enum class UpAxis { minus_y, y, z };

struct ExportJob {
  std::filesystem::path model;   // what open_model takes
  std::filesystem::path output;  // *.ply: the object at `time`; *.html: a page that shows it; a folder:
                                 // frame_0000.ply, …, or the Python layout
  ExportFormat format = ExportFormat::ply;
  UpAxis up = UpAxis::minus_y;  // of PLY files
  double time = 0;              // in [0,1], for one file
  int frames = 0;  // of a sequence or page, times evenly in [0,1]; 0: as many as the training video has
  ModelChoice choice = {};
};

struct ExportResult {
  std::vector<std::filesystem::path> files;
  int removed = 0;  // older numbered files in the folder that would have stood behind the new ones
};

// Writes a model in another form. A PLY has the attribute names and order of 3D Gaussian splatting with SH
// degree 3; the deformation of that moment is applied and the colour affine (gain and bias) is baked into the
// SH coefficients. Viewers then show the same picture, except that they look up the SH from the deformed
// instead of the canonical position. A page is the viewer (docs/viewer.md) with the object inside. Throws
// Error, Interrupted.
ExportResult export_model(Backend& backend, const ExportJob& job, Progress& progress);

}  // namespace eg4d
