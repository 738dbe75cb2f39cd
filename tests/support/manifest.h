#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "core/dtype.h"
#include "core/shape.h"

namespace eg4d::test {

// Names and shapes of a published checkpoint: tests/data/manifests/<name>.json.gz.
using Manifest = std::map<std::string, Shape>;
Manifest read_manifest(const std::string& name);

// A safetensors file of f16 zeros with these tensors that takes no room on the disk.
void write_sparse_safetensors(const std::filesystem::path& path, const Manifest& manifest,
                              const char* dtype = "F16");

}  // namespace eg4d::test
