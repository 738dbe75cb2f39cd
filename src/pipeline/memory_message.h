#pragma once

#include <string>

#include "backend/backend.h"
#include "core/progress.h"

namespace eg4d {

// What a cap on memory, or too little of it, led to: "device memory: at most 5.99 GiB of the 6.00 GiB of
// --memory; 1.20 GiB of weights wait in the host's memory". Empty where there is neither.
std::string memory_message(const MemoryUse& use);

void tell_of_memory(const Backend& backend, Progress& progress);

}  // namespace eg4d
