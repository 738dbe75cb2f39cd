#include "nn/tensor.h"

#include <fmt/format.h>

#include "core/error.h"

namespace eg4d {
namespace {

std::shared_ptr<void> allocate(Backend& backend, size_t bytes) {
  void* memory = backend.allocate(std::max<size_t>(bytes, 1));
  return {memory, [&backend](void* p) { backend.release(p); }};
}

}  // namespace

Tensor Tensor::empty(Backend& backend, Shape shape, DType type) {
  Tensor tensor;
  tensor.backend_ = &backend;
  tensor.shape_ = std::move(shape);
  tensor.type_ = type;
  tensor.capacity_ = tensor.bytes();
  tensor.memory_ = allocate(backend, tensor.capacity_);
  return tensor;
}

Tensor Tensor::from_memory(Backend& backend, std::shared_ptr<void> memory, Shape shape, DType type) {
  Tensor tensor;
  tensor.backend_ = &backend;
  tensor.memory_ = std::move(memory);
  tensor.shape_ = std::move(shape);
  tensor.type_ = type;
  tensor.capacity_ = tensor.bytes();
  return tensor;
}

Tensor Tensor::zeros(Backend& backend, Shape shape, DType type) {
  Tensor tensor = empty(backend, std::move(shape), type);
  tensor.fill_zero();
  return tensor;
}

Tensor Tensor::from_bytes(Backend& backend, Shape shape, DType type, const void* host, size_t bytes) {
  Tensor tensor = empty(backend, std::move(shape), type);
  tensor.copy_from_host(host, bytes);
  return tensor;
}

void Tensor::copy_from_host(const void* host, size_t bytes) {
  if (bytes != this->bytes())
    throw Error(
        fmt::format("a tensor of shape {} takes {} bytes, not {}", to_string(shape_), this->bytes(), bytes));
  if (bytes) backend_->copy_to_device(raw(), host, bytes);
}

void Tensor::fill_zero() {
  if (bytes()) backend_->run(FillBytes{raw(), 0, bytes()});
}

Tensor Tensor::clone() const {
  if (!defined()) return {};
  Tensor copy = empty(*backend_, shape_, type_);
  if (bytes()) backend_->run(CopyBytes{copy.raw(), raw(), bytes()});
  return copy;
}

Tensor Tensor::converted(DType type) const {
  if (!defined() || type == type_) return *this;
  Tensor other = empty(*backend_, shape_, type);
  backend_->run(Convert{.count = count(), .x = array(), .y = other.array()});
  return other;
}

Tensor Tensor::rows(int64_t begin, int64_t count) const {
  if (shape_.empty() || begin < 0 || count < 0 || begin > shape_[0] - count)
    throw Error(
        fmt::format("a tensor of shape {} has no rows {} to {}", to_string(shape_), begin, begin + count));
  Tensor view = *this;
  view.shape_[0] = count;
  const size_t row = shape_[0] == 0 ? 0 : bytes() / static_cast<size_t>(shape_[0]);
  view.memory_ = std::shared_ptr<void>(memory_, static_cast<char*>(raw()) + static_cast<size_t>(begin) * row);
  return view;
}

Tensor Tensor::reshaped(Shape shape) const {
  if (element_count(shape) != count())
    throw Error(fmt::format("cannot view a tensor of shape {} as {}", to_string(shape_), to_string(shape)));
  Tensor view = *this;
  view.shape_ = std::move(shape);
  return view;
}

void Tensor::set_rows(int64_t rows) {
  Shape shape = shape_;
  shape.at(0) = rows;
  const auto bytes_of = [&](int64_t length) {
    shape[0] = length;
    return static_cast<size_t>(element_count(shape)) * size_of(type_);
  };
  if (bytes_of(rows) > capacity_) {
    const size_t bytes = bytes_of(rows + rows / 2);
    memory_.reset();  // first, so that both need not fit
    capacity_ = 0;
    memory_ = allocate(*backend_, bytes);
    capacity_ = bytes;
  }
  shape_[0] = rows;
}

Tensor Tensor::part(int64_t offset, Shape shape) const {
  if (offset < 0 || offset + element_count(shape) > count())
    throw Error(fmt::format("a tensor of shape {} has no {} from element {} on", to_string(shape_),
                            to_string(shape), offset));
  Tensor view = *this;
  view.shape_ = std::move(shape);
  view.memory_ = std::shared_ptr<void>(
      memory_, static_cast<char*>(raw()) + static_cast<size_t>(offset) * size_of(type_));
  return view;
}

void Tensor::check(DType wanted) const {
  if (wanted != type_)
    throw Error(fmt::format("a tensor of {} was used as {}", name_of(type_), name_of(wanted)));
}

}  // namespace eg4d
