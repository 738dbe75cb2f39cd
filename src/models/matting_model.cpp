#include "models/matting_model.h"

#include "models/model_store.h"

namespace eg4d {

std::unique_ptr<Matting> require_matting(Backend& backend, const std::string& name_or_file,
                                         const std::filesystem::path& models_folder,
                                         const NetworkType& type) {
  return std::make_unique<Matting>(
      backend, require_model_of_kind(name_or_file, ModelKind::matting, models_folder).path, 0, type);
}

}  // namespace eg4d
