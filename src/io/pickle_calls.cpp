#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "core/half.h"
#include "io/pickle_machine.h"
#include "io/torch_storage_types.h"

namespace eg4d {
namespace {

using Global = PickleNode::Global;

struct NamedGlobal {
  std::string_view name;
  Global global;
};
// NumPy's scalars are here because the Python EG4D's checkpoints hold some among their settings (learning
// rates, extent).
constexpr NamedGlobal kGlobals[] = {{"collections.OrderedDict", Global::ordered_dict},
                                    {"torch._utils._rebuild_tensor", Global::rebuild_tensor},
                                    {"torch._utils._rebuild_tensor_v2", Global::rebuild_tensor},
                                    {"torch._utils._rebuild_parameter", Global::rebuild_parameter},
                                    {"torch.Size", Global::size},
                                    {"numpy.dtype", Global::number_type},
                                    {"numpy.core.multiarray.scalar", Global::number},
                                    {"numpy._core.multiarray.scalar", Global::number},
                                    {"_codecs.encode", Global::encode}};

constexpr size_t kMaxAxes = 16;

// A name from the file, fit for a terminal.
std::string printable(std::string_view name) {
  std::string text(name.substr(0, 100));
  for (char& c : text)
    if (c < 0x20 || c > 0x7e) c = '?';
  return text;
}

template <class T>
T load(const std::string& bytes) {
  T value;
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

bool is_row_major(const Shape& shape, const Shape& strides) {
  int64_t expected = 1;
  for (size_t axis = shape.size(); axis-- > 0;) {
    if (shape[axis] != 1 && strides[axis] != expected) return false;
    expected *= shape[axis];
  }
  return true;
}

}  // namespace

void PickleMachine::push_global(std::string_view module, std::string_view function) {
  if (module.size() > 200 || function.size() > 200) damaged("a very long name");
  const std::string name = fmt::format("{}.{}", module, function);
  auto push_known = [&](Global global, DType dtype) {
    Node& node = push_new(Kind::global);
    node.global = global;
    node.dtype = dtype;
    node.text = name;
  };
  for (const NamedGlobal& known : kGlobals)
    if (known.name == name) return push_known(known.global, DType::u8);
  if (module == "torch")
    for (const TorchStorageType& type : kTorchStorageTypes)
      if (type.name == function) return push_known(Global::storage_type, type.dtype);
  if (name == "torch.storage.UntypedStorage" || name == "torch.UntypedStorage")
    return push_known(Global::storage_type, DType::u8);
  if (module == "torch" && function.ends_with("Storage"))
    fail(fmt::format("its tensors are of a type that is not supported ({})", printable(name)));
  fail(fmt::format(
      "refused: the file would run '{}'; only tensors, numbers, text and plain containers are read",
      printable(name)));
}

// ('storage', storage type, key, location, number of elements[, None]); the location is the device, which is
// dropped. The old format's last entry could make the storage a part of another one.
void PickleMachine::push_storage() {
  const std::vector<uint32_t> id = expect(pop(), Kind::tuple, "a persistent id that is no tuple").children;
  if (id.size() < 5 || id.size() > 6 || nodes_[id[0]].text != "storage")
    damaged("a persistent id of unknown form");
  if (id.size() == 6) expect(id[5], Kind::none, "a storage that is part of another one");
  const Node& type = expect(id[1], Kind::global, "a persistent id without storage type");
  if (type.global != Global::storage_type) damaged("a persistent id without storage type");
  const std::string key = expect(id[2], Kind::text, "a persistent id without key").text;
  const int64_t count = expect(id[4], Kind::integer, "a persistent id without size").integer;
  const DType dtype = type.dtype;
  uint64_t bytes = 0;
  if (count < 0 || __builtin_mul_overflow(static_cast<uint64_t>(count), size_of(dtype), &bytes))
    damaged("a storage of impossible size");
  auto [found, is_new] = storage_by_key_.try_emplace(key, storages_.size());
  if (is_new) storages_.push_back({load_(key, bytes), bytes});
  if (storages_[found->second].bytes != bytes) damaged("one storage of two sizes");
  const int64_t place = static_cast<int64_t>(found->second);
  Node& node = push_new(Kind::storage);
  node.integer = place;
  node.dtype = dtype;
}

void PickleMachine::call() {
  const Node arguments = expect(pop(), Kind::tuple, "a call without arguments");
  const Node& function = expect(pop(), Kind::global, "a call of something other than a name");
  auto argument_count = [&](size_t least, size_t most) {
    if (arguments.children.size() < least || arguments.children.size() > most)
      damaged("a call with wrong arguments");
  };
  spend(arguments.children.size());  // they were copied
  switch (function.global) {
    case Global::ordered_dict:
      argument_count(0, 1);
      return call_ordered_dict(arguments);
    case Global::rebuild_tensor:
      argument_count(4, 7);
      return call_rebuild_tensor(arguments);
    case Global::rebuild_parameter:
      argument_count(3, 3);
      expect(arguments.children[0], Kind::tensor, "a parameter that is no tensor");
      return push(arguments.children[0]);
    case Global::size:
      argument_count(1, 1);
      expect(arguments.children[0], Kind::tuple, "a torch.Size that is no tuple");
      return push(arguments.children[0]);
    case Global::number_type:
      argument_count(1, 3);
      return call_number_type(arguments);
    case Global::number:
      argument_count(2, 2);
      return call_number(arguments);
    case Global::encode:
      argument_count(2, 2);
      return call_encode(arguments);
    case Global::storage_type:
      damaged("a storage made by a call");
  }
}

void PickleMachine::call_ordered_dict(const Node& arguments) {
  std::vector<uint32_t> entries;
  if (!arguments.children.empty()) {
    const Node& pairs =
        expect(arguments.children[0], Kind::list, "an OrderedDict of something other than a list");
    for (const uint32_t pair : pairs.children) {
      const Node& node = nodes_[pair];
      if ((node.kind != Kind::tuple && node.kind != Kind::list) || node.children.size() != 2)
        damaged("an OrderedDict of something other than pairs");
      spend(2);
      entries.insert(entries.end(), node.children.begin(), node.children.end());
    }
  }
  push_container(Kind::dict, std::move(entries));
}

Shape PickleMachine::axes_of(uint32_t index) {
  const Node& node = expect(index, Kind::tuple, "a tensor without shape");
  if (node.children.size() > kMaxAxes) damaged("a tensor of too many axes");
  Shape axes;
  for (const uint32_t child : node.children) {
    const int64_t extent = expect(child, Kind::integer, "a tensor without shape").integer;
    if (extent < 0) damaged("a tensor of negative size");
    axes.push_back(extent);
  }
  return axes;
}

// (storage, offset, size, stride[, requires_grad, backward hooks[, metadata]])
void PickleMachine::call_rebuild_tensor(const Node& arguments) {
  const Node& storage = expect(arguments.children[0], Kind::storage, "a tensor without storage");
  const int64_t offset = expect(arguments.children[1], Kind::integer, "a tensor without offset").integer;
  const Shape shape = axes_of(arguments.children[2]), strides = axes_of(arguments.children[3]);
  if (shape.size() != strides.size() || offset < 0) damaged("a tensor of impossible shape");
  tensors_.push_back(
      view(storages_[static_cast<size_t>(storage.integer)], storage.dtype, offset, shape, strides));
  push_new(Kind::tensor).integer = static_cast<int64_t>(tensors_.size()) - 1;
}

TorchTensor PickleMachine::view(const Storage& storage, DType dtype, int64_t offset, const Shape& shape,
                                const Shape& strides) {
  const size_t element = size_of(dtype);
  int64_t count = 1, last = offset;  // elements of the tensor; the furthest element of the storage
  bool impossible = false, overflow = false;
  for (size_t axis = 0; axis < shape.size(); ++axis) {
    int64_t reach = 0;
    impossible |= __builtin_mul_overflow(count, shape[axis], &count);
    overflow |= __builtin_mul_overflow(shape[axis] - 1, strides[axis], &reach);
    overflow |= __builtin_add_overflow(last, reach, &last);
  }
  if (impossible) damaged("a tensor of impossible shape");
  if (count == 0) return {dtype, shape, nullptr};
  if (overflow || static_cast<uint64_t>(last) >= storage.bytes / element)
    fail(fmt::format("a tensor of shape {} reaches beyond its storage of {} bytes", to_string(shape),
                     storage.bytes));
  if (is_row_major(shape, strides))
    return {dtype, shape, {storage.data, storage.data.get() + static_cast<size_t>(offset) * element}};

  // With strides of zero, a small storage could ask for any amount of memory.
  if (static_cast<uint64_t>(count) > (limits_.max_bytes - copied_bytes_) / element)
    fail(fmt::format("its tensors take more than {} bytes", limits_.max_bytes));
  copied_bytes_ += static_cast<uint64_t>(count) * element;
  std::shared_ptr<std::byte[]> memory(new std::byte[static_cast<size_t>(count) * element]);
  std::vector<int64_t> index(shape.size(), 0);
  int64_t from = offset;
  for (int64_t i = 0; i < count; ++i) {
    std::memcpy(memory.get() + static_cast<size_t>(i) * element,
                storage.data.get() + static_cast<size_t>(from) * element, element);
    for (size_t axis = shape.size(); axis-- > 0;) {
      if (++index[axis] < shape[axis]) {
        from += strides[axis];
        break;
      }
      from -= strides[axis] * (shape[axis] - 1);
      index[axis] = 0;
    }
  }
  return {dtype, shape, {memory, memory.get()}};
}

// numpy.dtype('f8', align, copy)
void PickleMachine::call_number_type(const Node& arguments) {
  std::string code = expect(arguments.children[0], Kind::text, "a NumPy type without name").text;
  if (!code.empty() && (code[0] == '<' || code[0] == '|' || code[0] == '=')) code.erase(0, 1);
  push_new(Kind::number_type).text = std::move(code);
}

// numpy scalar(dtype, its bytes)
void PickleMachine::call_number(const Node& arguments) {
  const std::string code =
      expect(arguments.children[0], Kind::number_type, "a NumPy number without type").text;
  const std::string bytes = expect(arguments.children[1], Kind::text, "a NumPy number without bytes").text;
  if (code.size() != 2 || code[1] - '0' != static_cast<int>(bytes.size()))
    fail(fmt::format("it holds a NumPy number of the unsupported type '{}'", printable(code)));
  if (code == "f8")
    push_new(Kind::real).real = load<double>(bytes);
  else if (code == "f4")
    push_new(Kind::real).real = load<float>(bytes);
  else if (code == "f2")
    push_new(Kind::real).real = half_to_float(load<uint16_t>(bytes));
  else if (code == "i8")
    push_integer(load<int64_t>(bytes));
  else if (code == "i4")
    push_integer(load<int32_t>(bytes));
  else if (code == "i2")
    push_integer(load<int16_t>(bytes));
  else if (code == "i1")
    push_integer(load<int8_t>(bytes));
  else if (code == "u4")
    push_integer(load<uint32_t>(bytes));
  else if (code == "u2")
    push_integer(load<uint16_t>(bytes));
  else if (code == "u1")
    push_integer(load<uint8_t>(bytes));
  else if (code == "b1")
    push_new(Kind::boolean).integer = load<uint8_t>(bytes) != 0;
  else
    fail(fmt::format("it holds a NumPy number of the unsupported type '{}'", printable(code)));
}

// _codecs.encode(text, 'latin1'): how protocol 2 writes bytes. Code points 128..255 take two bytes in UTF-8.
void PickleMachine::call_encode(const Node& arguments) {
  const std::string& text = expect(arguments.children[0], Kind::text, "bytes without text").text;
  if (expect(arguments.children[1], Kind::text, "bytes without encoding").text != "latin1")
    damaged("bytes of unknown encoding");
  std::string bytes;
  for (size_t i = 0; i < text.size(); ++i) {
    const uint8_t first = static_cast<uint8_t>(text[i]);
    if (first < 0x80) {
      bytes.push_back(text[i]);
    } else {
      if ((first != 0xc2 && first != 0xc3) || ++i == text.size()) damaged("bytes that are not Latin-1");
      bytes.push_back(static_cast<char>((first & 3) << 6 | (text[i] & 0x3f)));
    }
  }
  push_text(bytes);
}

// obj.__setstate__(state): an OrderedDict's attributes (a state_dict's version numbers) are dropped, a NumPy
// type's byte order is checked.
void PickleMachine::build() {
  const Node& state = nodes_[pop()];
  const Node& object = nodes_[top()];
  if (object.kind == Kind::dict && state.kind == Kind::dict) return;
  if (object.kind == Kind::number_type && state.kind == Kind::tuple && state.children.size() >= 2) {
    const std::string& order = nodes_[state.children[1]].text;
    if (order == "<" || order == "|" || order == "=") return;
    fail("it holds a NumPy number that is not little-endian");
  }
  damaged("a state for something that has none");
}

}  // namespace eg4d
