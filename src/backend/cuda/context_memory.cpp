#include "backend/cuda/context_memory.h"

#include <cuda_runtime_api.h>
#include <dlfcn.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <string>

namespace eg4d::cuda {
namespace {

// What is usual, and what is too little or too much to be a context.
constexpr size_t kUsual = size_t{512} << 20, kLeast = size_t{64} << 20, kMost = size_t{1536} << 20;

// The few functions of NVML that this asks (NVIDIA's "NVML API reference").
struct Management {
  struct Memory {
    unsigned long long total, free, used;
  };
  int (*start)() = nullptr;
  int (*device)(const char* uuid, void** handle) = nullptr;
  int (*memory)(void* handle, Memory* memory) = nullptr;
  bool there = false;
};

// Stays loaded, and started.
Management load() {
  Management library;
  void* const handle = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!handle) return library;
  library.start = reinterpret_cast<int (*)()>(dlsym(handle, "nvmlInit_v2"));
  library.device = reinterpret_cast<int (*)(const char*, void**)>(dlsym(handle, "nvmlDeviceGetHandleByUUID"));
  library.memory =
      reinterpret_cast<int (*)(void*, Management::Memory*)>(dlsym(handle, "nvmlDeviceGetMemoryInfo"));
  library.there = library.start && library.device && library.memory && library.start() == 0;
  return library;
}

// "GPU-6f4c0f5e-…": NVML counts devices otherwise than CUDA does.
std::string uuid_of(int device) {
  cudaDeviceProp properties{};
  if (cudaGetDeviceProperties(&properties, device) != cudaSuccess) return {};
  std::string text = "GPU";
  for (size_t i = 0; i < sizeof properties.uuid.bytes; ++i) {
    if (i == 0 || i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    const auto byte = static_cast<unsigned char>(properties.uuid.bytes[i]);
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  return text;
}

// By everybody; 0 where it is not known.
size_t taken_of(int device) {
  static const Management library = load();
  void* handle = nullptr;
  Management::Memory memory{};
  if (!library.there || library.device(uuid_of(device).c_str(), &handle) != 0 ||
      library.memory(handle, &memory) != 0)
    return 0;
  return static_cast<size_t>(memory.used);
}

// Where nobody else uses the GPU, all that is taken.
size_t estimate() {
  size_t free = 0, total = 0;
  if (cudaMemGetInfo(&free, &total) != cudaSuccess) return kUsual;
  return total - free <= kMost ? std::max(total - free, kLeast) : kUsual;
}

}  // namespace

ContextMemory::ContextMemory(int device, bool exactly)
    : device_(device), before_(exactly ? taken_of(device) : 0) {}

size_t ContextMemory::bytes() const {
  // A process has one context for all its backends: the first one sees it made.
  static std::mutex mutex;
  static std::map<int, size_t> known;
  const std::scoped_lock lock(mutex);
  const size_t after = before_ ? taken_of(device_) : 0;
  if (after > before_ + kLeast && after - before_ <= kMost) known[device_] = after - before_;
  const auto found = known.find(device_);
  return found != known.end() ? found->second : estimate();
}

}  // namespace eg4d::cuda
