#pragma once

#include <cstdint>
#include <vector>

#include "formats/splat_file.h"

// What may be done to plain Gaussians on their way into or out of a file; turning them is cloud_rotation.h.
namespace eg4d {

using splat::UpAxis;

// From the program's axes (z up, x stays where it is) to those in which `up` points up, and back. `automatic`
// is none.
void turn_from_z_up(GaussianCloud& cloud, UpAxis up);
void turn_to_z_up(GaussianCloud& cloud, UpAxis up);

// Coefficients above the degree become zero.
void limit_sh_degree(GaussianCloud& cloud, int degree);

// About the origin; `factor` above zero.
void scale_cloud(GaussianCloud& cloud, float factor);

// Rows by number, in the order given.
GaussianCloud select_rows(const GaussianCloud& cloud, const std::vector<uint32_t>& rows);

}  // namespace eg4d
