#pragma once

#include <filesystem>
#include <memory>

#include "backend/backend.h"

namespace eg4d::detail {

// make_backend("auto"): the first GPU, else the processor. Warns when there seems to be a GPU (its driver's
// files in the folder of device files, or the library found one) and it cannot be used.
std::unique_ptr<Backend> make_automatic_backend(FieldPrecision precision, size_t memory_cap,
                                                const std::filesystem::path& device_files = "/dev");

}  // namespace eg4d::detail
