#include "io/tfevents_format.h"

#include <bit>
#include <cstring>
#include <span>

#include "io/crc32c.h"
#include "io/protobuf_reader.h"

namespace eg4d::tfevents {
namespace {

template <class T>
std::string little_endian(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

template <class T>
T load(std::string_view bytes) {
  T value;
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

// A CRC of data that holds CRCs is weak; TFRecord therefore rotates it and adds a constant.
uint32_t masked_crc(std::string_view bytes) {
  return std::rotr(crc32c(bytes), 15) + 0xa282ead8u;
}

std::string varint(uint64_t value) {
  std::string bytes;
  for (; value >= 128; value >>= 7) bytes += static_cast<char>(value | 128);
  return bytes += static_cast<char>(value);
}

template <class Body>
void each_field(Bytes message, const std::string& name, const Body& body) {
  ProtobufReader reader(message, name);
  while (const auto field = reader.next()) body(reader, *field);
}

Event::Image parse_image(Bytes bytes, const std::string& name) {
  Event::Image image;
  each_field(bytes, name, [&](const ProtobufReader& reader, const ProtobufReader::Field& field) {
    if (field.number == 1) image.height = static_cast<int>(reader.integer_of(field));
    if (field.number == 2) image.width = static_cast<int>(reader.integer_of(field));
    if (field.number == 4) image.png = reader.text_of(field);
  });
  return image;
}

void parse_summary_value(Bytes bytes, const std::string& name, Event& event) {
  std::string tag;
  each_field(bytes, name, [&](const ProtobufReader& reader, const ProtobufReader::Field& field) {
    if (field.number == 1) tag = reader.text_of(field);
    if (field.number == 2) event.scalars.push_back({tag, reader.real_of(field)});
    if (field.number == 4) {
      event.images.push_back(parse_image(reader.bytes_of(field), name));
      event.images.back().tag = tag;
    }
  });
}

}  // namespace

std::string framed(const std::string& event) {
  const std::string length = little_endian(uint64_t{event.size()});
  return length + little_endian(masked_crc(length)) + event + little_endian(masked_crc(event));
}

Records records(std::string_view file) {
  Records found;
  while (file.size() >= 16) {
    const std::string_view length_bytes = file.substr(0, 8);
    found.damaged = load<uint32_t>(file.substr(8)) != masked_crc(length_bytes);
    const uint64_t length = load<uint64_t>(length_bytes);
    if (found.damaged || length > file.size() - 16) break;
    const std::string_view payload = file.substr(12, length);
    found.damaged = load<uint32_t>(file.substr(12 + length)) != masked_crc(payload);
    if (found.damaged) break;
    found.payloads.push_back(payload);
    file.remove_prefix(16 + length);
  }
  return found;
}

Event parse_event(std::string_view record, const std::string& name) {
  Event event;
  const Bytes bytes = std::as_bytes(std::span(record));
  each_field(bytes, name, [&](const ProtobufReader& reader, const ProtobufReader::Field& field) {
    if (field.number == 1) event.wall_time = std::bit_cast<double>(field.value);
    if (field.number == 2) event.step = reader.integer_of(field);
    if (field.number == 3) event.file_version = reader.text_of(field);
    if (field.number == 5)
      each_field(reader.bytes_of(field), name,
                 [&](const ProtobufReader& summary, const ProtobufReader::Field& value) {
                   if (value.number == 1) parse_summary_value(summary.bytes_of(value), name, event);
                 });
  });
  return event;
}

void put_varint(std::string& to, int field, uint64_t value) {
  to += varint(static_cast<uint64_t>(field) << 3);
  to += varint(value);
}

void put_double(std::string& to, int field, double value) {
  to += varint(static_cast<uint64_t>(field) << 3 | 1);
  to += little_endian(value);
}

void put_float(std::string& to, int field, float value) {
  to += varint(static_cast<uint64_t>(field) << 3 | 5);
  to += little_endian(value);
}

void put_bytes(std::string& to, int field, std::string_view bytes) {
  to += varint(static_cast<uint64_t>(field) << 3 | 2);
  to += varint(bytes.size());
  to += bytes;
}

}  // namespace eg4d::tfevents
