#include <cmath>
#include <string_view>

#include "fuzz.h"
#include "scene/dataset.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  eg4d::fuzz::survive([&] {
    const auto split = eg4d::parse_transforms({reinterpret_cast<const char*>(data), size}, "folder", "train");
    eg4d::fuzz::require(!split.frames.empty());
    for (const eg4d::DatasetFrame& frame : split.frames) eg4d::fuzz::require(std::isfinite(frame.time));
  });
  return 0;
}
