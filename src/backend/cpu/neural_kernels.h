#pragma once

// The CPU kernels of network operations that oneDNN does not do; each is in the file of its name, norms.cpp
// and neural_elementwise.cpp, pooling.cpp and feature_distance.cpp hold several. They may touch "device"
// memory freely.

#include <vector>

#include "backend/cpu/scratch.h"
#include "backend/neural_ops.h"

namespace eg4d::cpu {

// Per (sample, group).
struct GroupStatistics {
  std::vector<double> mean, inverse_deviation;
};
GroupStatistics group_statistics(const GroupNorm&);
void group_norm(const GroupNorm&);
void group_norm_backward(const GroupNormBackward&);
void layer_norm(const LayerNorm&);
void attention(const Attention&, Scratch& scratch);
void attention_backward(const AttentionBackward&, Scratch& scratch);

class OneDnn;
void feed_forward(const FeedForward&, OneDnn& onednn, Scratch& scratch);  // and mixed_norm: feed_forward.cpp
void mixed_norm(const MixedNorm&, Scratch& scratch);
void geglu(const Geglu&);
void scaled_sum(const ScaledSum&);
void convert(const Convert&);
void activate(const Activate&);
void upsample(const Upsample&);
void relu_backward(const float* y, const float* d_y, float* d_x, int64_t count);  // d_x = d_y where y > 0
void resize_features(const ResizeFeatures&);
void max_pool(const MaxPool&);
void max_pool_backward(const MaxPoolBackward&);
void scale_channels(const ScaleChannels&);
void scale_channels_backward(const ScaleChannelsBackward&);
void feature_distance(const FeatureDistance&);
void feature_distance_backward(const FeatureDistanceBackward&);
void patches(const Patches&);
void copy_rows(const CopyRows&);
void to_bfloat16(const float* x, uint16_t* y, int64_t count);

}  // namespace eg4d::cpu
