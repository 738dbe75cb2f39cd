#pragma once

#include <memory>

#include "app/command.h"
#include "backend/backend.h"

namespace eg4d {

// The backend of --device, --precision and --memory. With --trace it remembers every operation; when it goes,
// the trace is written and a table of it goes to standard error. Where networks are needed, "auto" is a
// device that has them.
enum class Needs { gaussians, networks };
std::unique_ptr<Backend> open_backend(const CommonOptions& common, Needs needs = Needs::gaussians);

}  // namespace eg4d
