// A stand-in for libeg4d_cuda.so that answers as $EG4D_STUB_CUDA says: "no_driver: details", "version",
// "operations", or nothing for a backend that knows its name alone.
#include <cstdlib>

#include "backend/cuda_library.h"
#include "backend/forwarding_backend.h"

namespace {

using namespace eg4d;

class StubBackend final : public ForwardingBackend {
 public:
  StubBackend(int device, FieldPrecision precision, size_t memory_cap)
      : ForwardingBackend(nullptr), name_("stub " + std::to_string(device)) {
    if (precision != FieldPrecision::automatic) name_ += std::string(" in ") + name_of(precision);
    if (memory_cap) name_ += " with " + std::to_string(memory_cap >> 20) + " MiB";
  }
  std::string name() const override { return name_; }
  bool computes_in(DType) const override { return false; }

 private:
  std::string name_;
};

std::string wanted() {
  const char* value = std::getenv("EG4D_STUB_CUDA");
  return value ? value : "";
}

constexpr std::pair<const char*, CudaProblem> kProblems[] = {
    {"no_driver", CudaProblem::no_driver},           {"driver_too_old", CudaProblem::driver_too_old},
    {"no_device", CudaProblem::no_device},           {"no_such_device", CudaProblem::no_such_device},
    {"device_too_old", CudaProblem::device_too_old}, {"out_of_memory", CudaProblem::out_of_memory},
    {"cap_too_small", CudaProblem::cap_too_small},   {"other", CudaProblem::other},
};

[[maybe_unused]] CudaBackend make_backend(int device, FieldPrecision precision, size_t memory_cap) {
  const std::string text = wanted();
  CudaBackend answer;
  for (const auto& [name, problem] : kProblems)
    if (text.starts_with(std::string(name) + ":")) answer.problem = problem;
  if (answer.problem == CudaProblem::none)
    answer.backend = std::make_unique<StubBackend>(device, precision, memory_cap);
  else
    answer.details = text.substr(text.find(':') + 1);
  return answer;
}

}  // namespace

#ifndef EG4D_STUB_WITHOUT_FUNCTION
extern "C" __attribute__((visibility("default"))) const CudaLibrary* EG4D_CUDA_LIBRARY() {
  static CudaLibrary library;
  library = {};
  library.make_backend = make_backend;
  if (wanted() == "version") ++library.version;
  if (wanted() == "operations") ++library.operations;
  return &library;
}
#endif
