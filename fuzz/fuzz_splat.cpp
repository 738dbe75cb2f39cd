#include "formats/antimatter_splat.h"
#include "fuzz_splats.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  eg4d::fuzz::survive(
      [&] { eg4d::fuzz::check(eg4d::splat::decode_splat(eg4d::fuzz::bytes_of(data, size), "fuzz")); });
  return 0;
}
