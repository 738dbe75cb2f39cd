#include "pipeline/memory_message.h"

#include <fmt/format.h>

#include "core/byte_size.h"

namespace eg4d {

std::string memory_message(const MemoryUse& use) {
  if (use.cap == 0 && use.streamed == 0) return {};
  std::string text = fmt::format("device memory: at most {}", byte_size_text(use.peak));
  if (use.cap) text += fmt::format(" of the {} of --memory", byte_size_text(use.cap));
  if (use.streamed)
    text += fmt::format("; {} of weights wait in the host's memory", byte_size_text(use.streamed));
  return text;
}

void tell_of_memory(const Backend& backend, Progress& progress) {
  if (const std::string text = memory_message(backend.memory_use()); !text.empty()) progress.message(text);
}

}  // namespace eg4d
