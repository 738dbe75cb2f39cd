#pragma once

#include <algorithm>

#include "nn/tensor.h"

namespace eg4d {

// A tensor whose size changes, most often by little: its memory never shrinks and grows by half at least, so
// that it seldom moves.
class ResizableTensor {
 public:
  // The contents are undefined afterwards. Returns whether there was memory that had to move. Copies of the
  // tensor of before keep that.
  bool resize(Backend& backend, Shape shape, DType type = DType::f32) {
    const int64_t wanted = element_count(shape), room = memory_.defined() ? memory_.count() : -1;
    const bool moves = wanted > room;
    if (moves) {
      tensor_ = memory_ = {};
      memory_ = Tensor::empty(backend, {std::max(wanted, room + room / 2)}, type);
    }
    if (moves || tensor_.shape() != shape) tensor_ = memory_.part(0, std::move(shape));
    return moves && room >= 0;
  }

  const Tensor& tensor() const { return tensor_; }
  void fill_zero() { tensor_.fill_zero(); }
  bool defined() const { return tensor_.defined(); }
  template <class T = float>
  T* data() const {
    return tensor_.data<T>();
  }

 private:
  Tensor memory_, tensor_;
};

}  // namespace eg4d
