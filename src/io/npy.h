#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "core/shape.h"
#include "io/mapped_file.h"

namespace eg4d {

// An array of a .npy file (NumPy's format, versions 1 to 3) of f32 or f64 numbers, little endian, row by row.
struct NpyArray {
  Shape shape;
  std::vector<double> values;
};

// Throws Error, one sentence naming the file: other types and orders, damage, more than 2^28 numbers, numbers
// that are not finite.
NpyArray read_npy(const std::filesystem::path& path);
NpyArray decode_npy(Bytes file, const std::string& name);

}  // namespace eg4d
