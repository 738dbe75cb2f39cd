#pragma once

#include <filesystem>
#include <string>

// Checks of what a command line names, made before work starts. All throw Error, one sentence that says what
// to do.
namespace eg4d {

// `path` exists; `what` tells what should be there ("a dataset folder or a run folder").
void require_existing(const std::filesystem::path& path, const std::string& what);

// No "-" and no device: what is written is files that appear complete, some with their index at the front.
void require_a_name(const std::filesystem::path& output);

// A folder that can be made or written into.
void require_writable_folder(const std::filesystem::path& folder);

// The same for what -o names; throws UsageError when it names nothing.
void require_output(const std::filesystem::path& folder);

// A file that can be made or replaced: its folder is there and writable, and it is no folder itself.
void require_writable_file(const std::filesystem::path& file);

}  // namespace eg4d
