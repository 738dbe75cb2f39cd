#pragma once

#include <functional>
#include <memory>
#include <string>

#include "io/mapped_file.h"
#include "io/torch_checkpoint.h"

namespace eg4d {

// Gives the bytes of a tensor storage by its key; throws Error when there is none of that size.
using StorageLoader = std::function<std::shared_ptr<const std::byte>(const std::string& key, uint64_t bytes)>;

// Runs the pickle (Python's Lib/pickletools.py describes the instructions) as data only, as
// torch_checkpoint.h tells.
TorchValue unpickle(Bytes pickle, const std::string& name, const StorageLoader& load,
                    const TorchLimits& limits = {});

}  // namespace eg4d
