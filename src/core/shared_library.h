#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace eg4d {

// The parts of eg4d that are shared libraries of their own, so that the program starts without what they need
// (FFmpeg, CUDA): loaded at first use, never unloaded. They are looked for in $EG4D_LIBRARY_DIR, beside the
// program, in the folder above it, in ../lib/eg4d, and where the build installs them.
//
// The file of lib<library>.so; nothing when there is none.
std::optional<std::filesystem::path> find_library(const std::string& library);

// Returns the function of that name from lib<library>.so. Throws Error, a sentence that begins with `purpose`
// and tells what the system says.
void* load_function(const std::string& library, const char* function, const std::string& purpose);

}  // namespace eg4d
