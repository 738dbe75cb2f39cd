#include <cstring>

#include "fuzz.h"
#include "io/torch_checkpoint.h"
#include "io/unpickler.h"

namespace {

constexpr eg4d::TorchLimits kLimits{.max_bytes = 1 << 20, .max_values = 20000, .max_depth = 64};

// Every byte of every tensor is read, so that AddressSanitizer sees one that lies outside.
void visit(const eg4d::TorchValue& value) {
  if (const auto* tensor = value.get_if<eg4d::TorchTensor>()) {
    eg4d::fuzz::require(tensor->floats().size() == static_cast<size_t>(eg4d::element_count(tensor->shape)));
  } else if (const auto* dict = value.get_if<eg4d::TorchValue::Dict>()) {
    for (const auto& [key, entry] : dict->entries) {
      visit(key);
      visit(entry);
    }
  } else if (value.get_if<eg4d::TorchValue::List>() || value.get_if<eg4d::TorchValue::Tuple>()) {
    for (const auto& item : value.items()) visit(item);
  }
}

std::shared_ptr<const std::byte> zeros(const std::string&, uint64_t bytes) {
  if (bytes > 4096) throw eg4d::Error("no storage of that size");
  return eg4d::TorchTensor::from<uint8_t>({static_cast<int64_t>(bytes)}, std::vector<uint8_t>(bytes)).data;
}

}  // namespace

// A zip archive and the old format are read as torch.save's file, anything else as the pickle within one.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const eg4d::Bytes file = eg4d::fuzz::bytes_of(data, size);
  eg4d::fuzz::survive([&] {
    const bool zip = size >= 2 && std::memcmp(data, "PK", 2) == 0;
    visit(zip || eg4d::is_old_torch_checkpoint(file) ? eg4d::decode_torch_checkpoint(file, "fuzz", kLimits)
                                                     : eg4d::unpickle(file, "fuzz", zeros, kLimits));
  });
  return 0;
}
