#include "backend/make_backend.h"

#include <fmt/format.h>

#include <charconv>
#include <cstdlib>
#include <optional>

#include "backend/cuda_library.h"
#include "core/error.h"
#include "core/log.h"
#include "core/shared_library.h"

namespace eg4d {
namespace {

// Of "cuda" or "cuda:N"; nothing for another text.
std::optional<int> index_of(const std::string& device) {
  if (device == "cuda") return 0;
  const std::string prefix = "cuda:";
  if (!device.starts_with(prefix)) return std::nullopt;
  int index = -1;
  const char* const end = device.data() + device.size();
  const auto [parsed, error] = std::from_chars(device.data() + prefix.size(), end, index);
  if (error != std::errc() || parsed != end || index < 0) return std::nullopt;
  return index;
}

const CudaLibrary& cuda_library(const std::string& device) {
  using Entry = const CudaLibrary* (*)();
  const auto entry = reinterpret_cast<Entry>(load_function(
      "eg4d_cuda", EG4D_CUDA_LIBRARY_NAME,
      fmt::format("device '{}' needs libeg4d_cuda.so, which a build with EG4D_CUDA=ON makes", device)));
  const CudaLibrary& library = *entry();
  if (library.version != kCudaLibraryVersion || library.operations != kOperationsLayout)
    throw Error(fmt::format(
        "device '{}' is not available: '{}' is of another version of eg4d; build both from the same sources",
        device, find_library("eg4d_cuda")->string()));
  return library;
}

std::string reason(CudaProblem problem) {
  switch (problem) {
    case CudaProblem::no_driver:
      return "there is no NVIDIA driver";
    case CudaProblem::driver_too_old:
      return "the NVIDIA driver is too old";
    case CudaProblem::no_device:
      return "there is no GPU that this process may use";
    case CudaProblem::no_such_device:
      return "there is no GPU of that number";
    case CudaProblem::device_too_old:
      return "the GPU is too old";
    case CudaProblem::out_of_memory:
      return "the GPU has no memory left";
    case CudaProblem::cap_too_small:
      return "--memory leaves nothing to compute with";
    case CudaProblem::none:
    case CudaProblem::other:
      break;
  }
  return "the GPU cannot be used";
}

std::string sentence(const std::string& device, const CudaBackend& answer) {
  const std::string details = answer.details.empty() ? "" : " (" + answer.details + ")";
  return fmt::format("device '{}' is not available: {}{}", device, reason(answer.problem), details);
}

std::unique_ptr<Backend> processor(FieldPrecision precision) {
  if (precision != FieldPrecision::automatic && precision != FieldPrecision::f32)
    throw UsageError(
        fmt::format("--precision {} is for GPUs: the processor computes the deformation field in f32; give "
                    "f32, or leave it out",
                    name_of(precision)));
  return make_cpu_backend();
}

// Is told as it is, wherever a device is sought: another device is not what the user asked for.
class CapTooSmall : public Error {
 public:
  using Error::Error;
};

bool has_gpu_files(const std::filesystem::path& folder) {
  std::error_code error;
  for (const char* file : {"nvidiactl", "nvidia0", "dxg"})  // the last one: Windows' Linux
    if (std::filesystem::exists(folder / file, error)) return true;
  return false;
}

}  // namespace

namespace detail {

std::unique_ptr<Backend> make_automatic_backend(FieldPrecision precision, size_t memory_cap,
                                                const std::filesystem::path& device_files) {
  // The same command is to run on machines with a GPU and without.
  const auto on_processor = [&] {
    if (memory_cap) warn("--memory caps a GPU's memory; on the processor it has no effect");
    return processor(precision);
  };
  const char* const visible = std::getenv("CUDA_VISIBLE_DEVICES");
  if (visible && !*visible) return on_processor();  // the user hides all GPUs: nothing to warn of
  bool gpu_seems_there = has_gpu_files(device_files);
  if (!gpu_seems_there && !find_library("eg4d_cuda")) return on_processor();
  std::string problem;
  try {
    CudaBackend answer = cuda_library("cuda").make_backend(0, precision, memory_cap);
    if (answer.backend) return std::move(answer.backend);
    if (answer.problem == CudaProblem::cap_too_small) throw CapTooSmall(sentence("cuda", answer));
    gpu_seems_there |= answer.problem != CudaProblem::no_driver && answer.problem != CudaProblem::no_device;
    problem = sentence("cuda", answer);
  } catch (const CapTooSmall&) {
    throw;
  } catch (const Error& error) {
    problem = error.what();
  }
  if (gpu_seems_there) warn(problem + "; computing on the processor");
  return on_processor();
}

}  // namespace detail

std::unique_ptr<Backend> make_backend(const std::string& device, FieldPrecision precision,
                                      size_t memory_cap) {
  if (device == "cpu") {
    if (memory_cap)
      throw UsageError("--memory caps a GPU's memory: leave it out where the processor computes");
    return processor(precision);
  }
  if (device == "auto") return detail::make_automatic_backend(precision, memory_cap);
  const std::optional<int> index = index_of(device);
  if (!index) throw UsageError(fmt::format("unknown device '{}': use auto, cpu or cuda[:N]", device));
  CudaBackend answer = cuda_library(device).make_backend(*index, precision, memory_cap);
  if (answer.problem == CudaProblem::cap_too_small) throw CapTooSmall(sentence(device, answer));
  if (!answer.backend) throw Error(sentence(device, answer) + "; --device cpu computes on the processor");
  return std::move(answer.backend);
}

}  // namespace eg4d
