#include "formats/splat_file.h"

#include <fmt/format.h>

#include <new>
#include <stdexcept>

#include "core/error.h"
#include "formats/antimatter_splat.h"
#include "formats/compressed_ply.h"
#include "formats/gltf_splats.h"
#include "formats/sog.h"
#include "formats/splat4d.h"
#include "formats/splatv.h"
#include "formats/spz.h"
#include "formats/usd_splats.h"
#include "io/ply_writer.h"

namespace eg4d::splat {
namespace {

namespace fs = std::filesystem;

GaussianCloud decode_any_ply(Bytes file, const std::string& name) {
  return is_compressed_ply(file) ? decode_compressed_ply(file, name) : decode_gaussian_ply(file, name);
}

// In the order in which help lists them.
constexpr SplatFormat kFormats[] = {
    {"ply", ".ply", "PLY", UpAxis::minus_y, 3, false, false, decode_any_ply,
     [](const fs::path& path, const GaussianCloud& cloud, const SplatWriting&) {
       write_gaussian_ply(path, cloud, sh_degree_of(cloud));
     },
     nullptr},
    {"compressed-ply", ".compressed.ply", "compressed PLY", UpAxis::minus_y, 3, false, false, decode_any_ply,
     [](const fs::path& path, const GaussianCloud& cloud, const SplatWriting&) {
       write_compressed_ply(path, cloud);
     },
     nullptr},
    {"splat", ".splat", ".splat", UpAxis::minus_y, 0, false, false, decode_splat,
     [](const fs::path& path, const GaussianCloud& cloud, const SplatWriting&) { write_splat(path, cloud); },
     nullptr},
    {"spz", ".spz", ".spz", UpAxis::y, 3, true, false, decode_spz,
     [](const fs::path& path, const GaussianCloud& cloud, const SplatWriting& writing) {
       write_spz(path, cloud,
                 {writing.spz_version, writing.sh_bits, static_cast<float>(writing.error_bound)});
     },
     nullptr},
    {"sog", ".sog", "SOG", UpAxis::minus_y, 3, false, false, decode_sog,
     [](const fs::path& path, const GaussianCloud& cloud, const SplatWriting& writing) {
       write_sog(path, cloud, {.palette = writing.palette});
     },
     nullptr},
    {"glb", ".glb", "GLB", UpAxis::y, 3, false, false, nullptr,
     [](const fs::path& path, const GaussianCloud& cloud, const SplatWriting&) {
       write_gltf_splats(path, cloud);
     },
     nullptr},
    {"splat4d", ".splat4d", ".splat4d", UpAxis::minus_y, 0, true, true, nullptr, nullptr,
     [](const fs::path& path, const SplatSequence& sequence, const SplatWriting& writing) {
       write_splat4d(path, sequence, {.position_bound = writing.error_bound});
       return 0.0;
     }},
    {"splatv", ".splatv", ".splatv", UpAxis::minus_y, 0, false, true, nullptr, nullptr,
     [](const fs::path& path, const SplatSequence& sequence, const SplatWriting&) {
       return write_splatv(path, sequence);
     }},
    {"usda", ".usda", "USD", UpAxis::y, 3, false, true, nullptr, nullptr,
     [](const fs::path& path, const SplatSequence& sequence, const SplatWriting& writing) {
       write_usd_splats(path, sequence, writing.up == UpAxis::z ? 'Z' : 'Y');
       return 0.0;
     }},
};

}  // namespace

std::span<const SplatFormat> splat_formats() {
  return kFormats;
}

const SplatFormat* splat_format_of(const fs::path& file) {
  std::string name = file.filename().string();
  for (char& c : name) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  const SplatFormat* found = nullptr;
  for (const SplatFormat& format : kFormats) {
    const std::string_view extension = format.extension;
    if (name.size() > extension.size() && name.ends_with(extension) &&
        (!found || extension.size() > std::string_view(found->extension).size()))
      found = &format;
  }
  return found;
}

const SplatFormat& splat_format(const std::string& key) {
  for (const SplatFormat& format : kFormats)
    if (key == format.key) return format;
  throw std::out_of_range(key);
}

GaussianCloud read_splat_file(const fs::path& path) {
  const SplatFormat* format = splat_format_of(path);
  if (!format || !format->decode)
    throw Error(
        fmt::format("cannot read '{}': Gaussians are read from .ply, .compressed.ply, .splat, .spz and .sog",
                    path.string()));
  const MappedFile file(path);
  try {
    return format->decode(file.bytes(), path.string());
  } catch (const std::bad_alloc&) {
    throw OutOfMemory(fmt::format(
        "cannot read '{}': its Gaussians take more memory than there is (240 bytes each)", path.string()));
  }
}

}  // namespace eg4d::splat
