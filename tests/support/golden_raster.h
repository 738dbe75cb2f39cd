#pragma once

// The `rasterizer` fixture: its cases, its camera, and what counts as the same picture and the same gradient.

#include <string>
#include <vector>

#include "backend/splat_ops.h"
#include "support/golden.h"

namespace eg4d::test {

std::vector<std::string> golden_raster_cases();
RasterizeCamera golden_raster_camera(const nlohmann::json& settings, const SafetensorsFile& file);

// [3,H,W] → [H,W,3].
std::vector<float> channels_last(const std::vector<float>& planes);
// The columns [from, from + take) of rows of `width` floats.
std::vector<float> columns(const std::vector<float>& rows, size_t width, size_t from, size_t take);

// Every pixel within 1e-4 of the image's largest value, but for isolated ones where rounding flipped a
// threshold; those are returned.
std::vector<size_t> expect_image(const std::vector<float>& got, std::vector<float> want, size_t channels,
                                 const char* what);
// Marks the Gaussians that may cover one of the pixels.
std::vector<bool> covering_gaussians(const SafetensorsFile& file, const std::vector<size_t>& pixels);
// Rows that `skip` does not mark: within 1e-3 as a whole, and per element within 1e-2 of the element beyond
// `spread`, the reference's own run-to-run difference; isolated elements may differ more.
void expect_gradient(std::vector<float> got, std::vector<float> want, const std::vector<bool>& skip,
                     double spread, const char* what);

}  // namespace eg4d::test
