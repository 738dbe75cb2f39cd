#include <cmath>

#include "fuzz.h"
#include "io/ply.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const eg4d::Bytes file = eg4d::fuzz::bytes_of(data, size);
  eg4d::fuzz::survive([&] {
    const eg4d::GaussianCloud cloud = eg4d::decode_gaussian_ply(file, "fuzz");
    eg4d::fuzz::require(cloud.sh_rest.size() == static_cast<size_t>(cloud.count()) * 45);
    for (const float value : cloud.positions) eg4d::fuzz::require(std::isfinite(value));
  });
  eg4d::fuzz::survive([&] {
    const eg4d::PointCloud cloud = eg4d::decode_point_ply(file, "fuzz");
    eg4d::fuzz::require(cloud.colors.size() == cloud.positions.size());
    for (const float value : cloud.colors) eg4d::fuzz::require(std::isfinite(value));
  });
  return 0;
}
