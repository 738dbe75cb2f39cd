#include "pipeline/matting_model.h"

#include <fmt/format.h>

#include "core/error.h"
#include "pipeline/model_store.h"

namespace eg4d {

std::unique_ptr<Matting> require_matting(Backend& backend, const std::string& name_or_file,
                                         const std::filesystem::path& models_folder) {
  std::filesystem::path file = name_or_file;
  if (!std::filesystem::is_regular_file(file)) {
    if (file.has_parent_path() || file.has_extension())
      throw Error(fmt::format("there is no model file {}", name_or_file));
    const ModelEntry& entry = find_model_entry(name_or_file);
    if (entry.kind != ModelKind::matting)
      throw UsageError(fmt::format("{} cuts nothing out; u2net, u2netp and isnet do", name_or_file));
    file = require_file(entry, models_folder).path;
  }
  return std::make_unique<Matting>(backend, file);
}

}  // namespace eg4d
