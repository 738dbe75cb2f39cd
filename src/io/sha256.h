#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

namespace eg4d {

// SHA-256 (FIPS 180-4) of bytes that come in pieces.
class Sha256 {
 public:
  void update(const void* data, size_t bytes);
  // 64 lower-case hexadecimal digits of everything so far; more may follow.
  std::string hex() const;

 private:
  void compress(const uint8_t* block);
  std::array<uint32_t, 8> state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<uint8_t, 64> pending_{};
  uint64_t length_ = 0;
};

// Feeds the file to `hash`. `progress` is told the bytes read so far and may throw. Throws Error when it
// cannot be read.
void hash_file(const std::filesystem::path& path, Sha256& hash,
               const std::function<void(int64_t)>& progress = {});

}  // namespace eg4d
