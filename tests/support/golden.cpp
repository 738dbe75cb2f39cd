#include "support/golden.h"
#include "support/places.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <map>
#include <span>
#include <stdexcept>

namespace eg4d::test {

namespace {

size_t comparisons = 0;

std::string named_folder() {
  const char* folder = std::getenv("EG4D_GOLDEN_DIR");
  return folder ? folder : "";
}

}  // namespace

bool golden_set_is_named() {
  return !named_folder().empty();
}

std::filesystem::path golden_folder() {
  return golden_set_is_named() ? std::filesystem::path(named_folder()) : test_data() / "golden";
}

bool golden_has(const std::string& relative) {
  const std::filesystem::path path = golden_folder() / relative;
  return std::filesystem::exists(path) || std::filesystem::exists(path.string() + ".gz");
}

bool golden_has_fixture(const std::string& relative, GoldenPart part) {
  if (golden_has(relative)) return true;
  const bool others_are_there = golden_has(relative.substr(0, relative.find('/')));
  if (!golden_set_is_named() || (others_are_there && part == GoldenPart::needed))
    ADD_FAILURE() << golden_folder() / relative << " is not there";
  return false;
}

void golden_absent(const std::string& what) {
  if (golden_set_is_named()) GTEST_SKIP() << "this set has no " << what;
  ADD_FAILURE() << "there is no " << what;
}

void count_golden_comparison() {
  ++comparisons;
}
size_t golden_comparisons() {
  return comparisons;
}

std::string stored_text(const std::filesystem::path& path) {
  const std::string packed = path.string() + ".gz";
  const std::string name = std::filesystem::exists(packed) ? packed : path.string();
  const gzFile file = gzopen(name.c_str(), "rb");  // reads files that are not packed, too
  if (!file) throw std::runtime_error("cannot open " + name);
  std::string content;
  char piece[1 << 16];
  int count = 0;
  while ((count = gzread(file, piece, sizeof piece)) > 0) content.append(piece, static_cast<size_t>(count));
  if (gzclose(file) != Z_OK || count < 0) throw std::runtime_error(name + " is damaged");
  return content;
}

nlohmann::json golden_json(const std::string& relative) {
  return nlohmann::json::parse(stored_text(golden_folder() / relative));
}

SafetensorsFile golden_tensors(const std::string& relative) {
  return stored_tensors(golden_folder() / relative);
}

SafetensorsFile stored_tensors(const std::filesystem::path& path) {
  const std::string packed = path.string() + ".gz";
  if (!std::filesystem::exists(packed)) return SafetensorsFile(path);
  static std::map<std::string, std::string>
      unpacked;  // for good: the files that were given out point into it
  const auto [place, is_new] = unpacked.try_emplace(packed);
  if (is_new) place->second = stored_text(path);
  return SafetensorsFile(std::as_bytes(std::span(place->second)), packed);
}

double relative_error(const std::vector<float>& a, const std::vector<float>& b) {
  if (!b.empty()) count_golden_comparison();
  if (a.size() != b.size()) return std::numeric_limits<double>::infinity();
  double difference = 0, norm = 0, other = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double d = static_cast<double>(a[i]) - b[i];
    difference += d * d;
    norm += static_cast<double>(b[i]) * b[i];
    other += static_cast<double>(a[i]) * a[i];
  }
  if (!std::isfinite(difference)) return std::numeric_limits<double>::infinity();
  const double error = norm == 0 ? std::sqrt(other) : std::sqrt(difference / norm);
  static const bool verbose = std::getenv("EG4D_TEST_VERBOSE") != nullptr;
  if (verbose) std::printf("  %zu numbers, relative error %.2e\n", a.size(), error);
  return error;
}

std::vector<float> hash_tensor(uint32_t k, size_t count, float s, float add) {
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) {
    uint32_t x = (static_cast<uint32_t>(i) + 1) * 0x9E3779B1u + k * 0x85EBCA77u;
    x ^= x >> 15;
    x *= 0x2C1B3C6Du;
    x ^= x >> 12;
    x *= 0x297A2D39u;
    x ^= x >> 15;
    values[i] = (static_cast<float>(x >> 8) * 0x1p-24f - 0.5f) * s + add;
  }
  return values;
}

}  // namespace eg4d::test
