#include "app/open_backend.h"

#include <cstdio>
#include <exception>

#include "app/checks.h"
#include "backend/tracing_backend.h"
#include "core/byte_size.h"
#include "core/log.h"
#include "io/atomic_file.h"

namespace eg4d {
namespace {

class FileTrace final : public TracingBackend {
 public:
  FileTrace(std::unique_ptr<Backend> inner, std::filesystem::path path)
      : TracingBackend(std::move(inner)), path_(std::move(path)) {}
  ~FileTrace() override {
    try {
      std::fputs(table().c_str(), stderr);
      write_file_atomically(path_, events_as_json());
    } catch (const std::exception& error) {  // memory may be short too
      warn(error.what());
    }
  }
  FileTrace(const FileTrace&) = delete;
  FileTrace& operator=(const FileTrace&) = delete;

 private:
  const std::filesystem::path path_;
};

}  // namespace

std::unique_ptr<Backend> open_backend(const CommonOptions& common, Needs needs) {
  const size_t memory_cap = common.memory.empty() ? 0 : parse_byte_size(common.memory, "--memory");
  std::unique_ptr<Backend> backend = make_backend(common.device, common.precision, memory_cap);
  if (needs == Needs::networks && common.device == "auto" && !backend->has_networks()) {
    warn("networks on the GPU need cuBLASLt 13, which is not here (docs/gpu.md); computing on the processor");
    backend = make_backend("cpu", common.precision);
  }
  if (common.trace.empty()) return backend;
  require_a_name(common.trace);
  require_writable_file(common.trace);
  return std::make_unique<FileTrace>(std::move(backend), common.trace);
}

}  // namespace eg4d
