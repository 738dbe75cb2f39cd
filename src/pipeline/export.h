#pragma once

#include <filesystem>
#include <optional>
#include <vector>

#include "core/progress.h"
#include "mesh/surface.h"
#include "pipeline/open_model.h"

namespace eg4d {

class Backend;

// What a folder receives: the number of a format in splat::splat_formats(), one file per moment, or
enum class ExportFormat {
  python = -1,  // the model folder of the Python EG4D
  obj = -2,     // meshes alone
  ply = 0,
};

enum class Topology {
  shared,     // one surface and texture, carried through all times
  per_frame,  // each time has its own
};

// A surface instead of Gaussians.
struct MeshJob {
  mesh::SurfaceOptions surface = {};
  Topology topology = Topology::shared;
  int texture = 1024;      // texels a side
  int texture_views = 48;  // cameras around the object that its colours come from
};

struct ExportJob {
  std::filesystem::path model;  // what open_model takes
  // The object at `time`, or all of its time, in the format that the name's end means (formats/splat_file.h);
  // *.html: a page that shows it; a folder: frame_0000.ply, …, or the Python layout.
  std::filesystem::path output;
  ExportFormat format = ExportFormat::ply;
  UpAxis up = UpAxis::automatic;  // the axis that points up in files of Gaussians; automatic: what the
                                  // programs that read them expect
  double time = 0;                // in [0,1], for one moment
  bool one_moment = false;        // of a mesh, in a file: `time`; otherwise all of its time
  int frames = 0;  // of a sequence or page, times evenly in [0,1]; 0: as many as the training video has
  ModelChoice choice = {};
  std::optional<MeshJob> mesh = {};

  // What becomes of the Gaussians, in files of them.
  int sh_degree = 3;                 // harmonics above it are left out
  double scale = 1;                  // about the origin
  double min_opacity = 0;            // Gaussians that are below it at every moment are left out
  double fps = 20;                   // of a file that moves
  splat::SplatWriting writing = {};  // `up` is set from the above
  bool check = true;                 // read the file again and compare pictures
};

struct ExportResult {
  std::vector<std::filesystem::path> files;
  int removed = 0;  // older numbered files in the folder that would have stood behind the new ones
  int64_t gaussians = 0, pruned = 0;  // that were written; that were left out for their opacity
  // Pictures of what was written, read again, beside the model's, from six sides: in dB, where the format can
  // be read (of a sequence, its middle frame).
  std::optional<double> psnr = {};
  std::string surface = {};  // what a mesh is like
  double fit_error = 0;      // root mean square of positions, where the format fits motion
};

// Writes a model in another form. The deformation of a moment is applied and the colour affine (gain and
// bias) is baked into the SH coefficients. Viewers then show the same picture, except that they look up the
// SH from the deformed instead of the canonical position. A page is the viewer (docs/viewer.md) with the
// object inside. Throws Error, Interrupted.
ExportResult export_model(Backend& backend, const ExportJob& job, Progress& progress);

}  // namespace eg4d
