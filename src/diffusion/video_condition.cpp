#include "diffusion/video_condition.h"

#include <vector>

namespace eg4d {
namespace {

void append(std::vector<float>& values, std::span<const float> more) {
  values.insert(values.end(), more.begin(), more.end());
}

}  // namespace

VideoCondition video_condition(Backend& backend, const PictureCondition& picture, bool both_halves) {
  const auto frames = static_cast<size_t>(picture.frames);
  std::vector<float> context, concat, vector;
  if (both_halves) {
    context.resize(frames * picture.context.size());
    concat.resize(picture.concat.size());
    append(vector, picture.vector);
  }
  for (size_t frame = 0; frame < frames; ++frame) append(context, picture.context);
  append(concat, picture.concat);
  append(vector, picture.vector);

  const int64_t halves = both_halves ? 2 : 1, rows = halves * picture.frames;
  const auto width_of = [rows](const std::vector<float>& values) {
    return static_cast<int64_t>(values.size()) / rows;
  };
  const int64_t channels =
      static_cast<int64_t>(picture.concat.size()) / (int64_t{picture.height} * picture.width);
  return {Tensor::from_host<float>(backend, {rows, 1, width_of(context)}, context),
          Tensor::from_host<float>(backend, {rows, width_of(vector)}, vector),
          Tensor::from_host<float>(backend, {halves, picture.height, picture.width, channels}, concat)};
}

}  // namespace eg4d
