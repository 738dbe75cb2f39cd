#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/error.h"
#include "io/mapped_file.h"

namespace eg4d::fuzz {

inline Bytes bytes_of(const uint8_t* data, size_t size) {
  return std::as_bytes(std::span(data, size));
}

// Bad input must end in an eg4d::Error and nothing else.
template <class Read>
void survive(Read&& read) {
  try {
    read();
  } catch (const Error&) {
  }
}

// What must hold whatever the input was.
inline void require(bool holds) {
  if (!holds) __builtin_trap();
}

}  // namespace eg4d::fuzz
