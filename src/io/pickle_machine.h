#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/dtype.h"
#include "core/shape.h"
#include "io/unpickler.h"

namespace eg4d {

// What the pickle machine's stack and memo refer to by index, so that shared and recursive containers are
// harmless.
struct PickleNode {
  enum class Kind : uint8_t {
    none,
    boolean,
    integer,
    real,
    text,
    list,
    tuple,
    dict,
    global,
    storage,
    tensor,
    number_type
  };
  // The names that a file may call; everything else is refused where it is named.
  enum class Global : uint8_t {
    ordered_dict,
    rebuild_tensor,
    rebuild_parameter,
    size,
    storage_type,
    number_type,
    number,
    encode
  };

  Kind kind = Kind::none;
  Global global = Global::ordered_dict;
  DType dtype = DType::u8;  // of a storage, of a storage type
  int64_t integer = 0;      // boolean, integer; the place of a storage or tensor in the machine's tables
  double real = 0;
  std::string text;                // text; the name of a global; NumPy's code of a number type, such as "f8"
  std::vector<uint32_t> children;  // list, tuple; dict: key, value, key, value, …
};

// A stack machine for pickles. pickle_machine.cpp runs the instructions, pickle_calls.cpp knows what the
// named functions do.
class PickleMachine {
 public:
  PickleMachine(Bytes pickle, const std::string& name, const StorageLoader& load, const TorchLimits& limits)
      : pickle_(pickle), name_(name), load_(load), limits_(limits) {}
  TorchValue run();
  size_t position() const { return position_; }  // behind what was read

 private:
  using Node = PickleNode;
  using Kind = PickleNode::Kind;
  using Global = PickleNode::Global;
  struct Storage {
    std::shared_ptr<const std::byte> data;
    uint64_t bytes = 0;
  };

  [[noreturn]] void fail(const std::string& what) const;
  [[noreturn]] void damaged(const char* what) const;
  void spend(size_t values);  // counts towards max_values

  // The program text.
  uint64_t read_unsigned(size_t bytes);
  std::string_view read_text(uint64_t bytes);
  std::string_view read_line();
  int64_t read_long(uint64_t bytes);
  double read_real();

  // The stack.
  void push(uint32_t node) { stack_.push_back(node); }
  Node& push_new(Kind kind);
  void push_text(std::string_view text);
  void push_integer(int64_t value) { push_new(Kind::integer).integer = value; }
  uint32_t top();
  uint32_t pop();
  std::vector<uint32_t> pop_to_mark();
  std::vector<uint32_t> pop_many(size_t count);
  void push_container(Kind kind, std::vector<uint32_t> children);
  void append(Kind kind, const std::vector<uint32_t>& items);
  Node& expect(uint32_t node, Kind kind, const char* what);
  void remember(uint64_t slot);
  void recall(uint64_t slot);

  void step(uint8_t instruction);
  bool step_number(uint8_t instruction);
  bool step_text(uint8_t instruction);
  bool step_container(uint8_t instruction);

  // Calls.
  void push_global(std::string_view module, std::string_view function);
  void push_storage();  // a persistent id
  void call();
  void build();
  void call_ordered_dict(const Node& arguments);
  void call_rebuild_tensor(const Node& arguments);
  void call_number_type(const Node& arguments);
  void call_number(const Node& arguments);
  void call_encode(const Node& arguments);
  Shape axes_of(uint32_t node);
  TorchTensor view(const Storage& storage, DType dtype, int64_t offset, const Shape& shape,
                   const Shape& strides);

  TorchValue value_of(uint32_t node, int depth);

  Bytes pickle_;
  size_t position_ = 0;
  std::string name_;
  const StorageLoader& load_;
  TorchLimits limits_;
  size_t values_ = 0;
  uint64_t copied_bytes_ = 0;
  std::vector<Node> nodes_;
  std::vector<uint32_t> stack_;
  std::vector<size_t> marks_;
  std::unordered_map<uint64_t, uint32_t> memo_;
  std::vector<Storage> storages_;
  std::unordered_map<std::string, size_t> storage_by_key_;
  std::vector<TorchTensor> tensors_;
};

}  // namespace eg4d
