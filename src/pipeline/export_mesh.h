#pragma once

#include "pipeline/export.h"
#include "splat/model.h"

namespace eg4d {

// The part of export_model that writes surfaces (job.mesh): one moment as GLB, OBJ, PLY or USD; all of the
// time as a GLB or USD that moves, or a folder of numbered files. One topology: the surface of the moment
// that suits best is carried to the others (mesh/carried_surface.h), and its texture is made of several
// moments. Throws Error, Interrupted.
ExportResult export_mesh(Backend& backend, const ExportJob& job, const Model& model, Progress& progress);

// The ending of a mesh's files in a folder: ".obj", ".glb" or ".ply".
const char* mesh_extension(ExportFormat format);

}  // namespace eg4d
