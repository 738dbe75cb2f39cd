#include "nn/session.h"

namespace eg4d {

Tensor Session::zeros(Shape shape, DType type) {
  Tensor tensor = arena_.empty(std::move(shape), type);
  run(FillBytes{tensor.raw(), 0, tensor.bytes()});
  return tensor;
}

}  // namespace eg4d
