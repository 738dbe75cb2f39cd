#pragma once

#include <string_view>
#include <vector>

namespace eg4d {

// A video as the viewer's page sends it: the browser has decoded it, and its frames are picture files.
//   "EG4DCLIP"  u32 count  then for each frame  u32 length  and its file's bytes; little-endian
bool is_clip(std::string_view bytes);

// The frames' files, views of `bytes`. Throws Error for what is no clip, cut off or has a rest, for fewer
// than two frames or more than `most`.
std::vector<std::string_view> clip_frames(std::string_view bytes, size_t most);

}  // namespace eg4d
