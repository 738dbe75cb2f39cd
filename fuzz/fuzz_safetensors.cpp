#include "fuzz.h"
#include "io/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  eg4d::fuzz::survive([&] {
    const eg4d::SafetensorsFile file(eg4d::fuzz::bytes_of(data, size), "fuzz");
    for (const auto& tensor : file.entries()) {
      eg4d::fuzz::require(tensor.second.bytes <= size);
      eg4d::fuzz::survive([&] { file.floats(tensor.first); });
    }
  });
  return 0;
}
