#pragma once

#include <filesystem>

namespace eg4d::test {

// Unpacks the files and folders of a plain tar archive (ustar, GNU) into a folder.
void unpack_tar(const std::filesystem::path& archive, const std::filesystem::path& folder);

}  // namespace eg4d::test
