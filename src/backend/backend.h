#pragma once

// The seam to devices: the one interface of device work.
//
// Everything above this file holds device memory as pointers it may not read or write: contents cross the
// seam only through copy_to_device and copy_to_host. Work is enqueued on streams and may still be running
// when a call returns; copy_to_host and synchronize wait. The CPU backend runs every call to its end before
// it returns, but code above the seam must not rely on that. The guarded CPU backend (make_cpu_backend)
// enforces the memory rule with mprotect.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "backend/neural_ops.h"
#include "backend/splat_ops.h"
#include "backend/stream.h"

namespace eg4d {

class Backend {
 public:
  virtual ~Backend() = default;

  virtual std::string name() const = 0;  // "cpu (AVX-512, 2 threads)"

  // Device memory, aligned to 64 bytes; throws Error when there is none left. release waits for nothing: the
  // memory stays valid for work already enqueued.
  virtual void* allocate(size_t bytes) = 0;
  virtual void release(void* memory) = 0;
  virtual size_t allocated_bytes() const = 0;
  virtual size_t peak_allocated_bytes() const = 0;

  // Streams order work; work on different streams may overlap. Stream{} is the default stream and always
  // exists.
  virtual Stream create_stream() = 0;
  virtual void destroy_stream(Stream stream) = 0;
  virtual void synchronize(Stream stream) = 0;
  // Work enqueued later on `waiter` starts after all work enqueued so far on `signaller`.
  virtual void wait(Stream waiter, Stream signaller) = 0;

  // The host memory of copy_to_device may be reused on return; that of copy_to_host is filled on return.
  virtual void copy_to_device(void* device, const void* host, size_t bytes, Stream stream = {}) = 0;
  virtual void copy_to_host(void* host, const void* device, size_t bytes, Stream stream = {}) = 0;
  virtual void copy_on_device(void* to, const void* from, size_t bytes, Stream stream = {}) = 0;
  virtual void fill_bytes(void* device, uint8_t value, size_t bytes, Stream stream = {}) = 0;

  virtual SplatOps& splat() = 0;    // Stage II: rasteriser, deformation field, losses, optimiser
  virtual NeuralOps& neural() = 0;  // network layers
};

struct CpuBackendOptions {
  // Makes device memory inaccessible outside backend operations, so that code above the seam that cheats
  // crashes here rather than on a GPU. Slow; for tests. Also switched on by the environment variable
  // EG4D_GUARD_MEMORY=1.
  bool guard_memory = false;
};
std::unique_ptr<Backend> make_cpu_backend(const CpuBackendOptions& options = {});

// "auto", "cpu" or "cuda[:N]"; throws UsageError for another name and Error when the device is not there.
std::unique_ptr<Backend> make_backend(const std::string& device);

}  // namespace eg4d
