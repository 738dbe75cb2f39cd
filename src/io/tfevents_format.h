#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "io/tfevents.h"

// The two layers below an event: TFRecord framing and protocol buffer fields.
namespace eg4d::tfevents {

std::string framed(const std::string& event);

struct Records {
  std::vector<std::string_view> payloads;
  bool damaged = false;  // a wrong checksum ended the list; a record cut off at the end is no damage
};
Records records(std::string_view file);

Event parse_event(std::string_view record, const std::string& name);

// Fields are numbered; wire types are 0 (varint), 1 (8 bytes), 2 (length and bytes), 5 (4 bytes).
void put_varint(std::string& to, int field, uint64_t value);
void put_double(std::string& to, int field, double value);
void put_float(std::string& to, int field, float value);
void put_bytes(std::string& to, int field, std::string_view bytes);

}  // namespace eg4d::tfevents
