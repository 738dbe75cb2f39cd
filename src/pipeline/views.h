#pragma once

#include "scene/dataset.h"
#include "splat/model.h"
#include "splat/options.h"
#include "splat/training_data.h"

namespace eg4d {

// Reads a split's pictures into device memory (composited on the background) with their cameras.
// `largest_time` is what times are divided by.
TrainingViews load_views(Backend& backend, const Dataset& dataset, const DatasetSplit& split,
                         const ReconstructOptions& options, double largest_time);

// The same of what is trained on: the split "train" and, with data.train_on_test, the test split. With
// data.random_background views keep their transparency; throws UsageError when no picture has any.
TrainingViews load_training_views(Backend& backend, const Dataset& dataset, const ReconstructOptions& options,
                                  double largest_time);

// What a model file tells of the pictures it was trained with: extent, times, size and cameras.
void describe_training(ModelInfo& info, const TrainingViews& views, double largest_time);

}  // namespace eg4d
