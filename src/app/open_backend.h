#pragma once

#include <memory>

#include "app/command.h"
#include "backend/backend.h"

namespace eg4d {

// The backend of --device. With --trace it remembers every operation; when it goes, the trace is written and
// a table of it goes to standard error.
std::unique_ptr<Backend> open_backend(const CommonOptions& common);

}  // namespace eg4d
