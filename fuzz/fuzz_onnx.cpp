#include "fuzz.h"
#include "io/onnx.h"

// Every byte of every tensor is read, so that AddressSanitizer sees one that lies outside.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  eg4d::fuzz::survive([&] {
    const eg4d::OnnxGraph graph = eg4d::decode_onnx(eg4d::fuzz::bytes_of(data, size), "fuzz");
    for (const auto& [name, tensor] : graph.initializers) {
      const size_t bytes =
          static_cast<size_t>(eg4d::element_count(tensor.shape)) * eg4d::size_of(tensor.dtype);
      unsigned sum = 0;
      for (size_t i = 0; i < bytes; ++i) sum += std::to_integer<unsigned>(tensor.data.get()[i]);
      eg4d::fuzz::require(sum <= 255 * bytes);
    }
  });
  return 0;
}
