#include "io/npy.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <cstring>
#include <string_view>

#include "core/error.h"

namespace eg4d {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr int64_t kMostNumbers = int64_t{1} << 28;

// The text behind 'key': of the header, which is a Python dict.
std::string_view value_of(std::string_view header, std::string_view key) {
  const size_t at = header.find(key);
  if (at == std::string_view::npos) return {};
  std::string_view rest = header.substr(at + key.size());
  const size_t colon = rest.find_first_not_of("'\" ");
  if (colon == std::string_view::npos || rest[colon] != ':') return {};
  rest.remove_prefix(colon + 1);
  rest.remove_prefix(std::min(rest.find_first_not_of(' '), rest.size()));
  return rest;
}

template <class T>
void convert(Bytes from, std::vector<double>& to) {
  for (size_t i = 0; i < to.size(); ++i) {
    T value;
    std::memcpy(&value, from.data() + i * sizeof(T), sizeof(T));
    to[i] = static_cast<double>(value);
  }
}

}  // namespace

NpyArray read_npy(const std::filesystem::path& path) {
  return decode_npy(MappedFile(path).bytes(), path.string());
}

NpyArray decode_npy(Bytes file, const std::string& name) {
  const auto bad = [&](const char* what) { return Error(fmt::format("cannot read '{}': {}", name, what)); };
  const std::string_view text(reinterpret_cast<const char*>(file.data()), file.size());
  if (!text.starts_with(kMagic) || text.size() < 12) throw bad("it is no NumPy array (.npy)");
  const auto byte = [&](size_t i) { return static_cast<size_t>(static_cast<uint8_t>(text[i])); };
  const size_t major = byte(6), length_bytes = major == 1 ? 2 : 4;
  if (major < 1 || major > 3) throw bad("its version of the .npy format is not known");
  size_t length = 0;
  for (size_t i = 0; i < length_bytes; ++i) length |= byte(8 + i) << (8 * i);
  const size_t begin = 8 + length_bytes;
  if (length > text.size() - begin) throw bad("it ends within its header");
  const std::string_view header = text.substr(begin, length);

  const std::string_view type = value_of(header, "descr"), order = value_of(header, "fortran_order");
  const bool doubles = type.starts_with("'<f8'");
  if (!doubles && !type.starts_with("'<f4'"))
    throw bad("its numbers are not f32 or f64, little endian (numpy.save of an array of floats)");
  if (!order.starts_with("False")) throw bad("its columns come first (fortran_order)");
  std::string_view sizes = value_of(header, "shape");
  if (!sizes.starts_with("(")) throw bad("its header tells no shape");
  sizes = sizes.substr(1, sizes.find(')') - 1);

  NpyArray array;
  int64_t count = 1;
  while (!sizes.empty()) {
    const size_t digit = sizes.find_first_of("0123456789");
    if (digit == std::string_view::npos) break;
    sizes.remove_prefix(digit);
    int64_t size = 0;
    const auto read = std::from_chars(sizes.data(), sizes.data() + sizes.size(), size);
    if (read.ec != std::errc() || size > kMostNumbers || (size > 0 && count > kMostNumbers / size))
      throw bad("its shape is out of range");
    sizes.remove_prefix(static_cast<size_t>(read.ptr - sizes.data()));
    count *= size;
    array.shape.push_back(size);
  }
  const Bytes data = file.subspan(begin + length);
  const size_t width = doubles ? 8 : 4;
  if (data.size() < static_cast<size_t>(count) * width) throw bad("it ends before its last number");
  array.values.resize(static_cast<size_t>(count));
  if (doubles)
    convert<double>(data, array.values);
  else
    convert<float>(data, array.values);
  for (const double value : array.values)
    if (!std::isfinite(value)) throw bad("it holds NaN or infinity");
  return array;
}

}  // namespace eg4d
