#pragma once

#include <span>
#include <vector>

namespace eg4d {

// Classifier-free guidance with a scale per video frame: u + scale[t]·(c - u).
enum class GuidanceShape {
  linear,    // min at the first frame, max at the last (SVD)
  triangle,  // min at the first and last frame, max in the middle (SV3D: the orbit closes)
};

struct Guidance {
  GuidanceShape shape = GuidanceShape::linear;
  float min = 1, max = 1;
};

// [frames] scales.
std::vector<float> guidance_scales(const Guidance& guidance, int frames);

// Does any frame need the unconditional half? With a scale of 1 guidance gives the conditional one.
bool needs_unconditional(std::span<const float> scales);

}  // namespace eg4d
