#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace eg4d {

// The JSON header of a safetensors file, taken literally: types are names, nothing is checked against the
// file.
struct SafetensorsHeader {
  struct Tensor {
    std::string name, dtype;
    std::vector<uint64_t> shape;
    uint64_t begin = 0, end = 0;  // data_offsets
  };
  std::vector<Tensor> tensors;  // in the header's order
  std::map<std::string, std::string> metadata;
};

// Reads {"name": {"dtype": "F32", "shape": [2,3], "data_offsets": [0,24]}, …, "__metadata__": {"key":
// "text"}} and nothing else: memory stays in proportion to the text. Throws Error with the rest of a sentence
// that names the file.
SafetensorsHeader parse_safetensors_header(std::string_view text);

}  // namespace eg4d
