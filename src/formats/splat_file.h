#pragma once

#include <filesystem>
#include <span>
#include <string>

#include "formats/splat_sequence.h"
#include "io/ply.h"

namespace eg4d::splat {

// The axis that points up in a file. The program's own models have z up, as their datasets.
enum class UpAxis { automatic, minus_y, y, z };

// How a file is written; each format takes what it has a use for.
struct SplatWriting {
  UpAxis up = UpAxis::minus_y;  // of what is written; only USD tells it in the file
  int spz_version = 3;          // 3 or 4
  int sh_bits = 8;              // of spz
  double error_bound = 0;       // of positions: spz, splat4d; scene units, 0: an 8192th of the object's size
  int palette = 4096;           // rows of harmonics: sog
};

// One kind of file, known by the end of its name.
struct SplatFormat {
  const char* key;                // "compressed-ply": for a command line
  const char* extension;          // ".compressed.ply"
  const char* title;              // "compressed PLY"
  UpAxis up;                      // what programs that read it expect
  int sh_degree;                  // the highest that it holds
  bool by_position_bound, moves;  // takes error_bound; holds several times in one file
  // Any of these may be null: what is not read, not written as one moment, not written as a sequence.
  GaussianCloud (*decode)(Bytes file, const std::string& name);
  void (*write)(const std::filesystem::path&, const GaussianCloud&, const SplatWriting&);
  // Returns the root mean square error of positions where motion is fitted, otherwise 0.
  double (*write_sequence)(const std::filesystem::path&, const SplatSequence&, const SplatWriting&);
};

// All of them. `export`, `open_model` and the help texts know formats from here alone.
std::span<const SplatFormat> splat_formats();
const SplatFormat* splat_format_of(const std::filesystem::path& file);  // null: none of them
const SplatFormat& splat_format(const std::string& key);                // throws std::out_of_range

// Reads any of the formats that can be read; the axes are the file's. Throws Error, one sentence naming the
// file, when it is damaged, truncated, or promises more than its size can hold; OutOfMemory.
GaussianCloud read_splat_file(const std::filesystem::path& path);

}  // namespace eg4d::splat
