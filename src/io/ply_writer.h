#pragma once

#include "io/ply.h"

namespace eg4d {

// The lowest degree that holds every coefficient of harmonics that is not zero.
int sh_degree_of(const GaussianCloud& cloud);

// Throws Error, beginning "cannot write '…'", when an array has another shape than the count asks for.
void check_shapes(const GaussianCloud& cloud, const std::filesystem::path& path);

// As write_gaussian_ply without it, which is of degree 3: the f_rest above the degree (0 to 3) are left out.
void write_gaussian_ply(const std::filesystem::path& path, const GaussianCloud& cloud, int sh_degree);

}  // namespace eg4d
