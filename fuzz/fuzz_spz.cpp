#include "formats/compression.h"
#include "formats/spz.h"
#include "fuzz_splats.h"

// What is compressed hides from the mutator what it means: the input is also read as what a gzip stream
// holds.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto read = [](eg4d::Bytes file) {
    eg4d::fuzz::survive([&] { eg4d::fuzz::check(eg4d::splat::decode_spz(file, "fuzz")); });
    eg4d::splat::spz_version(file);
  };
  read(eg4d::fuzz::bytes_of(data, size));
  const std::string packed = eg4d::splat::gzip({reinterpret_cast<const char*>(data), size});
  read(std::as_bytes(std::span(packed)));
  return 0;
}
