#include "app/open_backend.h"

#include <cstdio>
#include <exception>
#include <utility>
#include <vector>

#include "app/checks.h"
#include "backend/tracing_backend.h"
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

void declare_precision(Arguments& arguments, FieldPrecision& precision) {
  std::vector<std::pair<std::string, FieldPrecision>> names;
  for (const FieldPrecision each :
       {FieldPrecision::automatic, FieldPrecision::f32, FieldPrecision::tf32, FieldPrecision::bf16})
    names.emplace_back(name_of(each), each);
  arguments.options.add("precision", precision, names,
                        "of products in the deformation field's network (sums are f32): tf32 and bf16 are "
                        "for GPUs, where auto is bf16; the processor has f32 alone");
}

std::unique_ptr<Backend> open_backend(const CommonOptions& common, Needs needs, FieldPrecision precision) {
  std::unique_ptr<Backend> backend = make_backend(common.device, precision);
  if (needs == Needs::networks && common.device == "auto" && !backend->has_networks()) {
    warn("networks run on the CPU only in this version; computing on the processor");
    backend = make_backend("cpu", precision);
  }
  if (common.trace.empty()) return backend;
  require_a_name(common.trace);
  require_writable_file(common.trace);
  return std::make_unique<FileTrace>(std::move(backend), common.trace);
}

}  // namespace eg4d
