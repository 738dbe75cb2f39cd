#include "core/log.h"

#include <cstdio>
#include <mutex>

namespace eg4d {
namespace {

std::mutex mutex;

std::function<void(const std::string&)>& current_sink() {
  static std::function<void(const std::string&)> sink;
  return sink;
}

}  // namespace

void warn(const std::string& sentence) {
  const std::lock_guard lock(mutex);
  if (current_sink()) {
    current_sink()(sentence);
  } else {
    std::fprintf(stderr, "warning: %s\n", sentence.c_str());
  }
}

void set_warning_sink(std::function<void(const std::string&)> sink) {
  const std::lock_guard lock(mutex);
  current_sink() = std::move(sink);
}

}  // namespace eg4d
