#pragma once

// The seam to devices: the one interface of device work.
//
// Everything above this file holds device memory as pointers it may not read or write: contents cross the
// seam only through copy_to_device and copy_to_host. Operations are done in the order in which they are
// given, and may still be running when a call returns; only copy_to_host waits. The CPU backend runs every
// operation to its end before it returns, but code above the seam must not rely on that. The guarded CPU
// backend (make_cpu_backend) enforces the memory rule with mprotect.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "backend/layer_weights.h"
#include "backend/operations.h"
#include "core/error.h"

namespace eg4d {

// A device that does not have an operation, or what it works on.
class NotOnThisDevice : public Error {
 public:
  using Error::Error;
};

// Operations that were noted once, to be done again with the same arguments: the same memory, whose contents
// may have changed. The memory must still be there; so must the backend.
class Recording {
 public:
  virtual ~Recording() = default;
};

// What a device's memory is taken for, in bytes.
struct MemoryUse {
  size_t cap = 0;       // on all of it; 0: there is none
  size_t now = 0;       // all that this process takes: allocations, what is kept for the next ones, the rest
  size_t peak = 0;      // of it
  size_t outside = 0;   // of it: what the device's driver and libraries take
  size_t streamed = 0;  // weights that lie in host memory and come when they are needed
  size_t available = SIZE_MAX;  // can still be allocated, about, before weights move to the host
};

class Backend {
 public:
  virtual ~Backend() = default;

  virtual std::string name() const = 0;  // "cpu (AVX-512, 2 threads)", "cuda:0 (NVIDIA H100, field in bf16)"

  // Device memory, aligned to 64 bytes; throws Error when there is none left. release waits for nothing: the
  // memory stays valid for work already enqueued.
  virtual void* allocate(size_t bytes) = 0;
  virtual void release(void* memory) = 0;
  virtual size_t allocated_bytes() const = 0;
  // Zeros, and no limit, where the device does not know.
  virtual MemoryUse memory_use() const { return {}; }

  // Does it take activations of this floating-point type?
  virtual bool computes_in(DType) const { return true; }
  // Does it have the operations of networks (neural_ops.h)? Whoever has them takes activations in f32.
  bool has_networks() const { return computes_in(DType::f32); }
  // Does it have products of 8 bits (NetworkType::Products::fp8)?
  virtual bool has_fp8() const { return false; }

  // The host memory of copy_to_device may be reused on return; that of copy_to_host is filled on return.
  virtual void copy_to_device(void* device, const void* host, size_t bytes) = 0;
  virtual void copy_to_host(void* host, const void* device, size_t bytes) = 0;

  // Weights in the layout that the device likes best, and what some operations keep from one to the next.
  virtual std::shared_ptr<const PackedWeight> pack_linear(const LinearWeight&) = 0;
  virtual std::shared_ptr<const PackedWeight> pack_convolution(const ConvolutionWeight&) = 0;
  virtual std::unique_ptr<RasterizeContext> create_rasterize_context() = 0;
  virtual std::unique_ptr<FieldContext> create_field_context(const FieldDescription&) = 0;

  virtual void run(const Operation& operation) = 0;

  // Calls `work`, whose operations are noted instead of done. Between, nothing may be allocated, released or
  // copied to or from the host.
  virtual std::unique_ptr<Recording> record(const std::function<void()>& work) = 0;
  virtual void replay(const Recording& recording) = 0;
};

struct CpuBackendOptions {
  // Makes device memory inaccessible outside backend operations, so that code above the seam that cheats
  // crashes here rather than on a GPU. Slow; for tests. Also switched on by the environment variable
  // EG4D_GUARD_MEMORY=1.
  bool guard_memory = false;
  // Takes f16 and bf16 activations and weights too, rounding where a GPU rounds; refused otherwise. For
  // tests.
  bool emulate_half = false;
};
std::unique_ptr<Backend> make_cpu_backend(const CpuBackendOptions& options = {});

// How products of the deformation field's network are computed, with f32 sums: to f32's accuracy, or on
// operands rounded to tf32 (relative errors of about 3e-4) or bf16 (3e-3). `automatic` is the device's
// choice, on the processor f32, which is all it has. Like the device it is no part of a model or of a run.
enum class FieldPrecision : uint32_t { automatic, f32, tf32, bf16 };
constexpr const char* name_of(FieldPrecision precision) {
  constexpr const char* kNames[] = {"auto", "f32", "tf32", "bf16"};
  return kNames[static_cast<size_t>(precision)];
}

// "auto", "cpu" or "cuda[:N]"; throws UsageError for another name, for a precision that the device does not
// have, and for a cap on the processor's memory; Error when the device is not there, or the cap leaves
// nothing. memory_cap: bytes of device memory that are never exceeded, whatever takes them; 0: none.
std::unique_ptr<Backend> make_backend(const std::string& device,
                                      FieldPrecision precision = FieldPrecision::automatic,
                                      size_t memory_cap = 0);

}  // namespace eg4d
