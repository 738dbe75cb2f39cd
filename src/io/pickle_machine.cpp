#include "io/pickle_machine.h"

#include <fmt/format.h>

#include <bit>
#include <cstring>

#include "core/error.h"

namespace eg4d {

// Names are those of Python's Lib/pickle.py.
namespace op {
enum : uint8_t {
  MARK = '(',
  STOP = '.',
  POP = '0',
  POP_MARK = '1',
  NONE = 'N',
  NEWTRUE = 0x88,
  NEWFALSE = 0x89,
  PROTO = 0x80,
  FRAME = 0x95,
  BININT = 'J',
  BININT1 = 'K',
  BININT2 = 'M',
  LONG1 = 0x8a,
  LONG4 = 0x8b,
  BINFLOAT = 'G',
  BINUNICODE = 'X',
  SHORT_BINUNICODE = 0x8c,
  BINUNICODE8 = 0x8d,
  BINSTRING = 'T',
  SHORT_BINSTRING = 'U',
  BINBYTES = 'B',
  SHORT_BINBYTES = 'C',
  BINBYTES8 = 0x8e,
  EMPTY_LIST = ']',
  EMPTY_DICT = '}',
  EMPTY_TUPLE = ')',
  LIST = 'l',
  DICT = 'd',
  TUPLE = 't',
  TUPLE1 = 0x85,
  TUPLE3 = 0x87,
  APPEND = 'a',
  APPENDS = 'e',
  SETITEM = 's',
  SETITEMS = 'u',
  BINPUT = 'q',
  LONG_BINPUT = 'r',
  MEMOIZE = 0x94,
  BINGET = 'h',
  LONG_BINGET = 'j',
  GLOBAL = 'c',
  STACK_GLOBAL = 0x93,
  BINPERSID = 'Q',
  REDUCE = 'R',
  BUILD = 'b'
};
}

void PickleMachine::fail(const std::string& what) const {
  throw Error(fmt::format("cannot read '{}': {}", name_, what));
}

void PickleMachine::damaged(const char* what) const {
  fail(fmt::format("its pickle is damaged near byte {} ({})", position_, what));
}

void PickleMachine::spend(size_t values) {
  values_ += values;
  if (values_ > limits_.max_values) fail(fmt::format("it holds more than {} values", limits_.max_values));
}

uint64_t PickleMachine::read_unsigned(size_t bytes) {
  uint64_t value = 0;
  const std::string_view text = read_text(bytes);
  for (size_t i = 0; i < bytes; ++i) value |= uint64_t{static_cast<uint8_t>(text[i])} << 8 * i;
  return value;
}

std::string_view PickleMachine::read_text(uint64_t bytes) {
  if (bytes > pickle_.size() - position_) damaged("it ends too early");
  const char* text = reinterpret_cast<const char*>(pickle_.data()) + position_;
  position_ += bytes;
  return {text, static_cast<size_t>(bytes)};
}

std::string_view PickleMachine::read_line() {
  const std::string_view rest(reinterpret_cast<const char*>(pickle_.data()) + position_,
                              pickle_.size() - position_);
  const size_t end = rest.find('\n');
  if (end == rest.npos) damaged("it ends too early");
  position_ += end + 1;
  return rest.substr(0, end);
}

int64_t PickleMachine::read_long(uint64_t bytes) {
  if (bytes > 8) fail("it holds an integer of more than 64 bits");
  if (bytes == 0) return 0;
  const uint64_t value = read_unsigned(bytes);
  const unsigned unused = 64 - 8 * static_cast<unsigned>(bytes);
  return static_cast<int64_t>(value << unused) >> unused;  // two's complement of `bytes` bytes
}

double PickleMachine::read_real() {
  uint64_t bits = 0;
  for (const char c : read_text(8)) bits = bits << 8 | static_cast<uint8_t>(c);
  return std::bit_cast<double>(bits);
}

PickleNode& PickleMachine::push_new(Kind kind) {
  spend(1);
  push(static_cast<uint32_t>(nodes_.size()));
  nodes_.emplace_back().kind = kind;
  return nodes_.back();
}

void PickleMachine::push_text(std::string_view text) {
  spend(text.size() / 16);
  push_new(Kind::text).text = text;
}

uint32_t PickleMachine::top() {
  if (stack_.size() <= (marks_.empty() ? 0 : marks_.back())) damaged("its stack is empty");
  return stack_.back();
}

uint32_t PickleMachine::pop() {
  const uint32_t node = top();
  stack_.pop_back();
  return node;
}

std::vector<uint32_t> PickleMachine::pop_many(size_t count) {
  if (stack_.size() - (marks_.empty() ? 0 : marks_.back()) < count) damaged("its stack is empty");
  std::vector<uint32_t> items(stack_.end() - static_cast<ptrdiff_t>(count), stack_.end());
  stack_.resize(stack_.size() - count);
  return items;
}

std::vector<uint32_t> PickleMachine::pop_to_mark() {
  if (marks_.empty()) damaged("a mark is missing");
  std::vector<uint32_t> items = pop_many(stack_.size() - marks_.back());
  marks_.pop_back();
  return items;
}

PickleNode& PickleMachine::expect(uint32_t node, Kind kind, const char* what) {
  if (nodes_[node].kind != kind) damaged(what);
  return nodes_[node];
}

void PickleMachine::push_container(Kind kind, std::vector<uint32_t> children) {
  if (kind == Kind::dict && children.size() % 2) damaged("a dict with a key and no value");
  spend(children.size());
  push_new(kind).children = std::move(children);
}

void PickleMachine::append(Kind kind, const std::vector<uint32_t>& items) {
  if (kind == Kind::dict && items.size() % 2) damaged("a dict with a key and no value");
  spend(items.size());
  Node& to = expect(
      top(), kind,
      kind == Kind::list ? "items for something other than a list" : "items for something other than a dict");
  to.children.insert(to.children.end(), items.begin(), items.end());
}

void PickleMachine::remember(uint64_t slot) {
  spend(1);
  memo_[slot] = top();
}

void PickleMachine::recall(uint64_t slot) {
  const auto found = memo_.find(slot);
  if (found == memo_.end()) damaged("a memo slot is empty");
  push(found->second);
}

bool PickleMachine::step_number(uint8_t instruction) {
  switch (instruction) {
    case op::NONE:
      push_new(Kind::none);
      return true;
    case op::NEWTRUE:
    case op::NEWFALSE:
      push_new(Kind::boolean).integer = instruction == op::NEWTRUE;
      return true;
    case op::BININT1:
      push_integer(read_long(1) & 0xff);
      return true;
    case op::BININT2:
      push_integer(read_long(2) & 0xffff);
      return true;
    case op::BININT:
      push_integer(read_long(4));
      return true;
    case op::LONG1:
      push_integer(read_long(read_unsigned(1)));
      return true;
    case op::LONG4:
      push_integer(read_long(read_unsigned(4)));
      return true;
    case op::BINFLOAT: {
      const double value = read_real();
      push_new(Kind::real).real = value;
      return true;
    }
  }
  return false;
}

bool PickleMachine::step_text(uint8_t instruction) {
  switch (instruction) {
    case op::SHORT_BINUNICODE:
    case op::SHORT_BINSTRING:
    case op::SHORT_BINBYTES:
      push_text(read_text(read_unsigned(1)));
      return true;
    case op::BINUNICODE:
    case op::BINSTRING:
    case op::BINBYTES:
      push_text(read_text(read_unsigned(4)));
      return true;
    case op::BINUNICODE8:
    case op::BINBYTES8:
      push_text(read_text(read_unsigned(8)));
      return true;
  }
  return false;
}

bool PickleMachine::step_container(uint8_t instruction) {
  switch (instruction) {
    case op::EMPTY_LIST:
      push_container(Kind::list, {});
      return true;
    case op::EMPTY_DICT:
      push_container(Kind::dict, {});
      return true;
    case op::EMPTY_TUPLE:
      push_container(Kind::tuple, {});
      return true;
    case op::LIST:
      push_container(Kind::list, pop_to_mark());
      return true;
    case op::DICT:
      push_container(Kind::dict, pop_to_mark());
      return true;
    case op::TUPLE:
      push_container(Kind::tuple, pop_to_mark());
      return true;
    case op::TUPLE1:
    case op::TUPLE1 + 1:
    case op::TUPLE3:
      push_container(Kind::tuple, pop_many(instruction - op::TUPLE1 + 1));
      return true;
    case op::APPEND:
      append(Kind::list, pop_many(1));
      return true;
    case op::APPENDS:
      append(Kind::list, pop_to_mark());
      return true;
    case op::SETITEM:
      append(Kind::dict, pop_many(2));
      return true;
    case op::SETITEMS:
      append(Kind::dict, pop_to_mark());
      return true;
  }
  return false;
}

void PickleMachine::step(uint8_t instruction) {
  if (step_number(instruction) || step_text(instruction) || step_container(instruction)) return;
  switch (instruction) {
    case op::PROTO:
      if (read_unsigned(1) > 5) fail("its pickle is of a protocol newer than 5");
      return;
    case op::FRAME:
      read_unsigned(8);
      return;
    case op::MARK:
      spend(1);
      marks_.push_back(stack_.size());
      return;
    case op::POP:
      pop();
      return;
    case op::POP_MARK:
      pop_to_mark();
      return;
    case op::BINPUT:
      remember(read_unsigned(1));
      return;
    case op::LONG_BINPUT:
      remember(read_unsigned(4));
      return;
    case op::MEMOIZE:
      remember(memo_.size());
      return;
    case op::BINGET:
      recall(read_unsigned(1));
      return;
    case op::LONG_BINGET:
      recall(read_unsigned(4));
      return;
    case op::GLOBAL: {
      const std::string_view module = read_line();
      push_global(module, read_line());
      return;
    }
    case op::STACK_GLOBAL: {
      const std::string function = expect(pop(), Kind::text, "a name that is no text").text;
      const std::string module = expect(pop(), Kind::text, "a name that is no text").text;
      push_global(module, function);
      return;
    }
    case op::BINPERSID:
      push_storage();
      return;
    case op::REDUCE:
      call();
      return;
    case op::BUILD:
      build();
      return;
  }
  fail(fmt::format("refused: its pickle has an instruction (0x{:02x}) that torch.save does not write",
                   instruction));
}

TorchValue PickleMachine::value_of(uint32_t index, int depth) {
  if (depth > limits_.max_depth)
    fail(fmt::format("its containers are nested more than {} deep", limits_.max_depth));
  const Node& node = nodes_[index];
  spend(1 + node.text.size() / 16);
  auto items = [&] {
    std::vector<TorchValue> values;
    values.reserve(node.children.size());
    for (const uint32_t child : node.children) values.push_back(value_of(child, depth + 1));
    return values;
  };
  switch (node.kind) {
    case Kind::none:
      return {};
    case Kind::boolean:
      return node.integer != 0;
    case Kind::integer:
      return node.integer;
    case Kind::real:
      return node.real;
    case Kind::text:
      return node.text;
    case Kind::list:
      return TorchValue::List{items()};
    case Kind::tuple:
      return TorchValue::Tuple{items()};
    case Kind::dict: {
      TorchValue::Dict dict;
      for (size_t i = 0; i + 1 < node.children.size(); i += 2) {
        TorchValue key = value_of(node.children[i], depth + 1);
        dict.entries.emplace_back(std::move(key), value_of(node.children[i + 1], depth + 1));
      }
      return dict;
    }
    case Kind::tensor:
      return tensors_[static_cast<size_t>(node.integer)];
    case Kind::storage: {
      const Storage& storage = storages_[static_cast<size_t>(node.integer)];
      return TorchTensor{
          node.dtype, {static_cast<int64_t>(storage.bytes / size_of(node.dtype))}, storage.data};
    }
    case Kind::global:
    case Kind::number_type:
      fail(fmt::format("refused: it holds the name '{}' itself, which is no data", node.text));
  }
  return {};
}

TorchValue PickleMachine::run() {
  for (;;) {
    const uint8_t instruction = static_cast<uint8_t>(read_unsigned(1));
    if (instruction == op::STOP) return value_of(pop(), 0);
    step(instruction);
  }
}

TorchValue unpickle(Bytes pickle, const std::string& name, const StorageLoader& load,
                    const TorchLimits& limits, size_t* length) {
  PickleMachine machine(pickle, name, load, limits);
  TorchValue value = machine.run();
  if (length) *length = machine.position();
  return value;
}

}  // namespace eg4d
