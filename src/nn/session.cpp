#include "nn/session.h"

namespace eg4d {

Tensor Session::zeros(Shape shape, DType type) {
  Tensor tensor = arena_.empty(std::move(shape), type);
  run(FillBytes{tensor.raw(), 0, tensor.bytes()});
  return tensor;
}

void Session::keep(Tensor& kept, const Shape& shape) {
  if (planning_ && (!kept.defined() || kept.shape() != shape || kept.dtype() != type_))
    kept = Tensor::empty(backend(), shape, type_);
}

}  // namespace eg4d
