#pragma once

#include <filesystem>
#include <functional>
#include <vector>

#include "io/image.h"

namespace eg4d {

// The frames of a video: a folder of pictures (in the order of their names, numbers by value), a run folder
// (its video/), or any video file. Frames that are wholly black are left out with a warning (the published
// pipeline does so). `prepare` is applied to each frame as it is read, so that only what it returns is kept
// in memory. Throws Error (no such path, no frames, an unreadable picture) and UsageError for more than
// max_frames.
std::vector<Picture> read_frames(const std::filesystem::path& source, int max_frames,
                                 const std::function<Picture(const Picture&)>& prepare);

// `count` frames of such a source, evenly in time, the first and the last among them; all where there are no
// more. A video file is read twice. Black frames are as good as others.
std::vector<Picture> read_frames_evenly(const std::filesystem::path& source, int count,
                                        const std::function<Picture(const Picture&)>& prepare);

// The pictures (png, jpg, jpeg, webp) in a folder, in that order.
std::vector<std::filesystem::path> picture_files(const std::filesystem::path& folder);

}  // namespace eg4d
