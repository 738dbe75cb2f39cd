#include "io/protobuf_reader.h"

#include <fmt/format.h>

#include <bit>

#include "core/error.h"

namespace eg4d {

void ProtobufReader::damaged() const {
  throw Error(fmt::format("cannot read '{}': it is damaged or truncated", name_));
}

uint64_t ProtobufReader::varint(size_t& position, Bytes bytes) const {
  uint64_t value = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    if (position >= bytes.size()) damaged();
    const auto byte = std::to_integer<uint64_t>(bytes[position++]);
    value |= (byte & 0x7f) << shift;
    if (byte < 0x80) return value;
  }
  damaged();
}

uint64_t ProtobufReader::fixed(size_t size) {
  if (message_.size() - position_ < size) damaged();
  uint64_t value = 0;
  for (size_t i = 0; i < size; ++i) value |= std::to_integer<uint64_t>(message_[position_ + i]) << 8 * i;
  position_ += size;
  return value;
}

std::optional<ProtobufReader::Field> ProtobufReader::next() {
  if (position_ == message_.size()) return {};
  const uint64_t tag = varint(position_, message_);
  if (tag >> 3 == 0 || tag >> 3 > 0x1fffffff) damaged();
  Field field;
  field.number = static_cast<uint32_t>(tag >> 3);
  switch (tag & 7) {
    case 0:
      field.kind = Field::Kind::varint;
      field.value = varint(position_, message_);
      return field;
    case 1:
      field.kind = Field::Kind::fixed64;
      field.value = fixed(8);
      return field;
    case 2: {
      field.kind = Field::Kind::bytes;
      const uint64_t size = varint(position_, message_);
      if (size > message_.size() - position_) damaged();
      field.bytes = message_.subspan(position_, static_cast<size_t>(size));
      position_ += static_cast<size_t>(size);
      return field;
    }
    case 5:
      field.kind = Field::Kind::fixed32;
      field.value = fixed(4);
      return field;
    default:
      damaged();
  }
}

Bytes ProtobufReader::bytes_of(const Field& field) const {
  if (field.kind != Field::Kind::bytes) damaged();
  return field.bytes;
}

std::string ProtobufReader::text_of(const Field& field) const {
  const Bytes bytes = bytes_of(field);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

int64_t ProtobufReader::integer_of(const Field& field) const {
  if (field.kind != Field::Kind::varint) damaged();
  return static_cast<int64_t>(field.value);
}

float ProtobufReader::real_of(const Field& field) const {
  if (field.kind != Field::Kind::fixed32) damaged();
  return std::bit_cast<float>(static_cast<uint32_t>(field.value));
}

void ProtobufReader::append_integers(const Field& field, std::vector<int64_t>& values) const {
  if (field.kind != Field::Kind::bytes) {
    values.push_back(integer_of(field));
    return;
  }
  for (size_t position = 0; position < field.bytes.size();)
    values.push_back(static_cast<int64_t>(varint(position, field.bytes)));
}

}  // namespace eg4d
