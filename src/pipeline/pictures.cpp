#include "pipeline/pictures.h"

#include <algorithm>

#include "core/threads.h"

namespace eg4d {

Picture to_picture(const Tensor& image) {
  Backend& backend = image.backend();
  const Tensor bytes = Tensor::empty(backend, image.shape(), DType::u8);
  backend.run(UnitToBytes{image.data(), bytes.data<uint8_t>(), image.count()});
  return view_picture(bytes);
}

Picture view_picture(const Tensor& picture) {
  Picture result(static_cast<int>(picture.dim(1)), static_cast<int>(picture.dim(0)), 3);
  result.data = picture.to_host<uint8_t>();
  return result;
}

BackgroundWriter::Limits picture_writing() {
  const int threads = std::clamp(thread_count() / 2, 1, 8);
  return {.threads = threads, .jobs = 2 * threads, .bytes = size_t{64} << 20};
}

Picture side_by_side(const Picture& left, const Picture& right) {
  Picture both(left.width + right.width, left.height, 3);
  const auto copy_rows = [&both](const Picture& from, int offset) {
    const size_t row = static_cast<size_t>(from.width) * 3;
    for (int y = 0; y < from.height; ++y) {
      std::copy_n(from.data.begin() + static_cast<ptrdiff_t>(y * row), row,
                  both.data.begin() + (static_cast<ptrdiff_t>(y) * both.width + offset) * 3);
    }
  };
  copy_rows(left, 0);
  copy_rows(right, left.width);
  return both;
}

}  // namespace eg4d
