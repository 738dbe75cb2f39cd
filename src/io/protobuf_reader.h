#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "io/mapped_file.h"

namespace eg4d {

// Goes through one message in Protocol Buffers' wire format
// (https://protobuf.dev/programming-guides/encoding), field by field. Contents stay where they are: messages,
// texts and packed numbers are parts of the bytes given. Throws Error naming the file when something is
// truncated or malformed.
class ProtobufReader {
 public:
  ProtobufReader(Bytes message, const std::string& name) : message_(message), name_(name) {}

  struct Field {
    uint32_t number = 0;
    enum class Kind : uint8_t { varint, fixed64, bytes, fixed32 } kind = Kind::varint;
    uint64_t value = 0;  // of varint, fixed32 and fixed64
    Bytes bytes;
  };
  // Nothing at the end of the message.
  std::optional<Field> next();

  // What the kind must be for the field to be of use; Error otherwise.
  Bytes bytes_of(const Field& field) const;
  std::string text_of(const Field& field) const;
  int64_t integer_of(const Field& field) const;
  float real_of(const Field& field) const;
  // A repeated integer field may come packed or one by one; appends.
  void append_integers(const Field& field, std::vector<int64_t>& values) const;

 private:
  [[noreturn]] void damaged() const;
  uint64_t varint(size_t& position, Bytes bytes) const;
  uint64_t fixed(size_t size);

  Bytes message_;
  const std::string& name_;
  size_t position_ = 0;
};

}  // namespace eg4d
