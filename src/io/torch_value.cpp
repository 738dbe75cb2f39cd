#include "io/torch_value.h"

#include <fmt/format.h>

#include <cstring>

#include "core/element_conversion.h"
#include "core/error.h"

namespace eg4d {

std::vector<float> TorchTensor::floats() const {
  return floats_from(dtype, data.get(), static_cast<size_t>(element_count(shape)));
}

TorchTensor TorchTensor::from_bytes(DType dtype, Shape shape, const void* data) {
  TorchTensor tensor{dtype, std::move(shape), nullptr};
  std::shared_ptr<std::byte[]> memory(new std::byte[tensor.bytes()]);
  if (tensor.bytes()) std::memcpy(memory.get(), data, tensor.bytes());
  tensor.data = std::shared_ptr<const std::byte>(memory, memory.get());
  return tensor;
}

const char* TorchValue::type_name() const {
  constexpr const char* kNames[] = {"None", "bool", "int", "float", "str", "tensor", "list", "tuple", "dict"};
  return kNames[value_.index()];
}

template <class T>
const T& TorchValue::as(const char* wanted) const {
  if (const T* found = std::get_if<T>(&value_)) return *found;
  throw Error(fmt::format("the checkpoint holds a {} where a {} belongs", type_name(), wanted));
}

bool TorchValue::boolean() const {
  return as<bool>("bool");
}
int64_t TorchValue::integer() const {
  return as<int64_t>("int");
}

double TorchValue::real() const {
  if (const int64_t* whole = std::get_if<int64_t>(&value_)) return static_cast<double>(*whole);
  return as<double>("float");
}

const std::string& TorchValue::text() const {
  return as<std::string>("str");
}
const TorchTensor& TorchValue::tensor() const {
  return as<TorchTensor>("tensor");
}

const std::vector<TorchValue>& TorchValue::items() const {
  if (const List* list = std::get_if<List>(&value_)) return list->items;
  return as<Tuple>("list or tuple").items;
}

const std::vector<std::pair<TorchValue, TorchValue>>& TorchValue::entries() const {
  return as<Dict>("dict").entries;
}

const TorchValue* TorchValue::find(std::string_view key) const {
  for (const auto& [name, value] : entries())
    if (const std::string* text = name.get_if<std::string>(); text && *text == key) return &value;
  return nullptr;
}

const TorchValue& TorchValue::at(std::string_view key) const {
  if (const TorchValue* found = find(key)) return *found;
  throw Error(fmt::format("the checkpoint has no entry '{}'", key));
}

}  // namespace eg4d
