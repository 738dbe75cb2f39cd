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
// torch_checkpoint.h tells. With `length`, more may follow the pickle, whose bytes are counted there.
TorchValue unpickle(Bytes pickle, const std::string& name, const StorageLoader& load,
                    const TorchLimits& limits = {}, size_t* length = nullptr);

// The format of torch.save before PyTorch 1.6, in which many published weights still are: five pickles (a
// magic number, the format's number, the machine's types, the value, the storages' keys), then for each key
// the number of elements and the elements.
bool is_old_torch_checkpoint(Bytes file);
TorchValue decode_old_torch_checkpoint(Bytes file, const std::string& name, const TorchLimits& limits);

}  // namespace eg4d
