#include "support/tar.h"

#include <array>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace eg4d::test {
namespace {

constexpr size_t kBlock = 512;

std::string text_at(const std::array<char, kBlock>& header, size_t begin, size_t length) {
  const std::string field(header.data() + begin, length);
  return field.substr(0, field.find('\0'));
}

}  // namespace

void unpack_tar(const std::filesystem::path& archive, const std::filesystem::path& folder) {
  std::ifstream in(archive, std::ios::binary);
  if (!in) throw std::runtime_error("cannot open " + archive.string());
  std::array<char, kBlock> header;
  while (in.read(header.data(), kBlock) && header[0] != '\0') {
    const size_t size = std::stoul("0" + text_at(header, 124, 12), nullptr, 8);
    const char type = header[156];
    std::vector<char> content((size + kBlock - 1) / kBlock * kBlock);
    in.read(content.data(), static_cast<std::streamsize>(content.size()));
    const std::filesystem::path path = folder / text_at(header, 0, 100);
    if (type == '5') {
      std::filesystem::create_directories(path);
    } else if (type == '0' || type == '\0') {
      std::filesystem::create_directories(path.parent_path());
      std::ofstream(path, std::ios::binary).write(content.data(), static_cast<std::streamsize>(size));
    }
  }
}

}  // namespace eg4d::test
