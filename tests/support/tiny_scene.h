#pragma once

#include <filesystem>

#include "splat/training_data.h"

namespace eg4d::test {

// A handful of coloured blobs, one of which moves with time, seen from `views` cameras on an orbit at `times`
// instants.
TrainingViews tiny_scene(Backend& backend, int views, int times, int width, int height);

// The same as a dataset folder in the D-NeRF layout: PNG pictures, view 0 as test, the others as train.
void write_tiny_dataset(const std::filesystem::path& folder, int views, int times, int width, int height);

}  // namespace eg4d::test
