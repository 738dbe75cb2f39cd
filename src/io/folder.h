#pragma once

#include <filesystem>

namespace eg4d {

// Makes the folder and those above it when missing. Throws Error (no permission, a file of that name is
// there).
void make_folder(const std::filesystem::path& folder);

// Removes everything in the folder but the file or folder `kept`. Throws Error, naming it, for what cannot be
// removed.
void empty_folder(const std::filesystem::path& folder, const std::filesystem::path& kept = {});

}  // namespace eg4d
