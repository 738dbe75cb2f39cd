#pragma once

#include <filesystem>

namespace eg4d {

// Makes the folder and those above it when missing. Throws Error (no permission, a file of that name is
// there).
void make_folder(const std::filesystem::path& folder);

}  // namespace eg4d
