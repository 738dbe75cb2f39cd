#include "io/tfevents_format.h"

#include <fmt/format.h>

#include <bit>
#include <cstring>

#include "core/error.h"
#include "io/crc32c.h"

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

// Walks over the fields of one message.
class Fields {
 public:
  Fields(std::string_view bytes, const std::string& name) : rest_(bytes), name_(name) {}

  int field = 0;
  uint64_t number = 0;     // of wire types 0, 1 and 5
  std::string_view bytes;  // of wire type 2

  bool next() {
    if (rest_.empty()) return false;
    const uint64_t key = take_varint();
    field = static_cast<int>(key >> 3 & 0xfffffff);
    switch (key & 7) {
      case 0:
        number = take_varint();
        break;
      case 1:
        number = load<uint64_t>(take(8));
        break;
      case 2:
        bytes = take(take_varint());
        break;
      case 5:
        number = load<uint32_t>(take(4));
        break;
      default:
        fail();
    }
    return true;
  }

 private:
  [[noreturn]] void fail() const {
    throw Error(fmt::format("cannot read '{}': an event in it is damaged", name_));
  }

  std::string_view take(uint64_t count) {
    if (count > rest_.size()) fail();
    const std::string_view taken = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return taken;
  }
  uint64_t take_varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const uint8_t byte = static_cast<uint8_t>(take(1)[0]);
      value |= uint64_t{byte & 127u} << shift;
      if (byte < 128) return value;
    }
    fail();
  }

  std::string_view rest_;
  const std::string& name_;
};

Event::Image parse_image(std::string_view bytes, const std::string& name) {
  Event::Image image;
  for (Fields fields(bytes, name); fields.next();) {
    if (fields.field == 1) image.height = static_cast<int>(fields.number);
    if (fields.field == 2) image.width = static_cast<int>(fields.number);
    if (fields.field == 4) image.png = fields.bytes;
  }
  return image;
}

void parse_summary_value(std::string_view bytes, const std::string& name, Event& event) {
  std::string tag;
  for (Fields fields(bytes, name); fields.next();) {
    if (fields.field == 1) tag = fields.bytes;
    if (fields.field == 2)
      event.scalars.push_back({tag, std::bit_cast<float>(static_cast<uint32_t>(fields.number))});
    if (fields.field == 4) {
      event.images.push_back(parse_image(fields.bytes, name));
      event.images.back().tag = tag;
    }
  }
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
  for (Fields fields(record, name); fields.next();) {
    if (fields.field == 1) event.wall_time = std::bit_cast<double>(fields.number);
    if (fields.field == 2) event.step = static_cast<int64_t>(fields.number);
    if (fields.field == 3) event.file_version = fields.bytes;
    if (fields.field == 5)
      for (Fields summary(fields.bytes, name); summary.next();)
        if (summary.field == 1) parse_summary_value(summary.bytes, name, event);
  }
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
