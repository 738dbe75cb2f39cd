#pragma once

#include <filesystem>
#include <string>

#include "io/mapped_file.h"
#include "io/torch_value.h"

namespace eg4d {

// Bounds on what a checkpoint may ask for.
struct TorchLimits {
  uint64_t max_bytes = uint64_t{16} << 30;  // of all tensors together
  size_t max_values = 2'000'000;            // numbers, texts, containers and their slots
  int max_depth = 64;                       // of containers in containers
};

// Reads what torch.save wrote (the zip format, and the one before PyTorch 1.6) as data only. A pickle is a
// program: this reader knows tensors, plain containers, numbers and text, and refuses every other name that
// the file would call. Nothing of the file is ever run. Tensors are made contiguous; their device and
// requires_grad are dropped. Throws Error, one sentence naming the file: refused names, damage, tensors that
// reach beyond their storage, limits exceeded.
TorchValue read_torch_checkpoint(const std::filesystem::path& path, const TorchLimits& limits = {});
TorchValue decode_torch_checkpoint(Bytes file, const std::string& name, const TorchLimits& limits = {});

// Writes a file that torch.load(path, weights_only=True) accepts: pickle protocol 2, every storage at a
// multiple of 64 bytes, as torch.save does. The same value gives the same bytes. Atomic. At most 4 GiB.
// Throws Error.
void write_torch_checkpoint(const std::filesystem::path& path, const TorchValue& value);

}  // namespace eg4d
