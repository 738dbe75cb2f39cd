#pragma once

#include "app/command.h"
#include "pipeline/export.h"

namespace eg4d {

// The options of `export` about surfaces.
class MeshOptions {
 public:
  void declare(Arguments& arguments);
  // Is a mesh asked for: by --mesh, or by a name or format that holds nothing else?
  bool wanted(const Arguments& arguments, const ExportJob& job) const;
  // Puts into `job` what is asked for. Throws UsageError for what does not go together.
  void apply(const Arguments& arguments, ExportJob& job) const;
  // Throws UsageError when one of these options is given: no mesh is asked for.
  static void refuse(const Arguments& arguments);

 private:
  enum class Mesh { none, depth, density, paper };
  Mesh mesh_ = Mesh::none;
  MeshJob job_;
};

}  // namespace eg4d
