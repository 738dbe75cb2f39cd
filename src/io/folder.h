#pragma once

#include <filesystem>
#include <string_view>

namespace eg4d {

// Makes the folder and those above it when missing. Throws Error (no permission, a file of that name is
// there).
void make_folder(const std::filesystem::path& folder);

// Whether what is there lies in the folder, links followed. False for what is not there.
bool lies_in(const std::filesystem::path& path, const std::filesystem::path& folder);

// Whether the name ends so, in small or capital letters; `extension` in small ones, with its dot.
bool has_extension(const std::filesystem::path& path, std::string_view extension);

// Numbered files of an earlier, longer sequence would be taken for a part of the new one: removes
// <folder>/<start>NNNN<extension> from NNNN = count on, whose numbers have at least so many digits. Returns
// how many there were.
int remove_frames_from(const std::filesystem::path& folder, std::string_view extension, int count,
                       std::string_view start = "frame_", size_t least_digits = 4);

// Removes everything in the folder but the file or folder `kept`. Throws Error, naming it, for what cannot be
// removed.
void empty_folder(const std::filesystem::path& folder, const std::filesystem::path& kept = {});

}  // namespace eg4d
