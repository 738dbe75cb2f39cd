#include "io/clip.h"

#include <fmt/format.h>

#include "core/error.h"

namespace eg4d {
namespace {

constexpr std::string_view kMark = "EG4DCLIP";

// Takes a number from the front.
size_t take_number(std::string_view& bytes) {
  if (bytes.size() < 4) throw Error("the video is cut off");
  size_t value = 0;
  for (int i = 3; i >= 0; --i) value = value << 8 | static_cast<unsigned char>(bytes[static_cast<size_t>(i)]);
  bytes.remove_prefix(4);
  return value;
}

}  // namespace

bool is_clip(std::string_view bytes) {
  return bytes.starts_with(kMark);
}

std::vector<std::string_view> clip_frames(std::string_view bytes, size_t most) {
  if (!is_clip(bytes)) throw Error("this is no video as the viewer's page sends it");
  bytes.remove_prefix(kMark.size());
  const size_t count = take_number(bytes);
  if (count < 2 || count > most)
    throw Error(fmt::format("a video of {} frames was sent: 2 to {} are taken", count, most));
  std::vector<std::string_view> frames;
  for (size_t i = 0; i < count; ++i) {
    const size_t length = take_number(bytes);
    if (length > bytes.size()) throw Error("the video is cut off");
    frames.push_back(bytes.substr(0, length));
    bytes.remove_prefix(length);
  }
  if (!bytes.empty()) throw Error("something follows the video's last frame");
  return frames;
}

}  // namespace eg4d
