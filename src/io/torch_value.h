#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "core/dtype.h"
#include "core/shape.h"

namespace eg4d {

// A dense, row-major tensor of a PyTorch checkpoint in host memory; copies and views of one storage share it.
struct TorchTensor {
  DType dtype = DType::f32;
  Shape shape;
  std::shared_ptr<const std::byte> data;

  size_t bytes() const { return static_cast<size_t>(element_count(shape)) * size_of(dtype); }
  std::vector<float> floats() const;  // any dtype
  template <class T>
  static TorchTensor from(Shape shape, const std::vector<T>& values) {
    return from_bytes(dtype_of<T>(), std::move(shape), values.data());
  }
  static TorchTensor from_bytes(DType dtype, Shape shape, const void* data);  // copies
};

// What torch.save stores, reduced to data: numbers, text, tensors and containers of them. Python's bytes are
// text, OrderedDict is a dict, torch.Size a tuple, torch.nn.Parameter its tensor, a NumPy scalar its number.
// The accessors throw Error saying what was found instead.
class TorchValue {
 public:
  struct List {
    std::vector<TorchValue> items;
  };
  struct Tuple {
    std::vector<TorchValue> items;
  };
  struct Dict {
    std::vector<std::pair<TorchValue, TorchValue>> entries;  // in the file's order
  };

  TorchValue() = default;  // None
  // Implicit, so that nested values can be written down as they read.
  // NOLINTBEGIN(google-explicit-constructor)
  TorchValue(bool value) : value_(value) {}
  TorchValue(int64_t value) : value_(value) {}
  TorchValue(int value) : value_(int64_t{value}) {}
  TorchValue(double value) : value_(value) {}
  TorchValue(std::string value) : value_(std::move(value)) {}
  TorchValue(const char* value) : value_(std::string(value)) {}
  TorchValue(TorchTensor value) : value_(std::move(value)) {}
  TorchValue(List value) : value_(std::move(value)) {}
  TorchValue(Tuple value) : value_(std::move(value)) {}
  TorchValue(Dict value) : value_(std::move(value)) {}
  // NOLINTEND(google-explicit-constructor)

  const char* type_name() const;  // "None", "bool", "int", "float", "str", "tensor", "list", "tuple", "dict"
  bool is_none() const { return std::holds_alternative<std::monostate>(value_); }
  template <class T>
  const T* get_if() const {
    return std::get_if<T>(&value_);
  }

  bool boolean() const;
  int64_t integer() const;
  double real() const;  // also of an int
  const std::string& text() const;
  const TorchTensor& tensor() const;
  const std::vector<TorchValue>& items() const;  // of a list or tuple
  const std::vector<std::pair<TorchValue, TorchValue>>& entries() const;
  const TorchValue* find(std::string_view key) const;  // in a dict; nothing when it has no such text key
  const TorchValue& at(std::string_view key) const;

 private:
  template <class T>
  const T& as(const char* wanted) const;
  std::variant<std::monostate, bool, int64_t, double, std::string, TorchTensor, List, Tuple, Dict> value_;
};

}  // namespace eg4d
