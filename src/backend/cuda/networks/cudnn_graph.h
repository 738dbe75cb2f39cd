#pragma once

// cuDNN's graphs: operations on described tensors, for which it finds an engine.

#include <cuda_runtime_api.h>

#include <array>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "backend/cuda/networks/libraries.h"
#include "core/dtype.h"

namespace eg4d::cuda {

// What cuDNN does not take, or has no engine for.
class CudnnRefusal : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// One of cuDNN's objects. Not complete before finish(); each may be used by others after that.
class CudnnObject {
 public:
  explicit CudnnObject(cudnnBackendDescriptorType_t type);

  CudnnObject& set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count,
                   const void* values);
  CudnnObject& set(cudnnBackendAttributeName_t name, const std::vector<int64_t>& values);
  CudnnObject& set(cudnnBackendAttributeName_t name, const std::vector<CudnnObject>& objects);
  CudnnObject& set(cudnnBackendAttributeName_t name, const CudnnObject& object);
  CudnnObject& set(cudnnBackendAttributeName_t name, float value);
  CudnnObject& set_type(cudnnBackendAttributeName_t name, cudnnDataType_t value);
  CudnnObject& finish();

  cudnnBackendDescriptor_t get() const { return handle_.get(); }

 private:
  std::shared_ptr<void> handle_;
  std::vector<CudnnObject> used_;  // kept for as long as this one
};

cudnnDataType_t cudnn_type(DType type);

struct CudnnTensor {
  int64_t id = 0;
  std::vector<int64_t> extents, strides;  // in elements
  cudnnDataType_t type = CUDNN_DATA_FLOAT;
  bool between = false;  // of two operations, not in memory
  int64_t alignment = 16;
};
CudnnObject describe(const CudnnTensor& tensor);

// y = mode(x, b)
CudnnObject pointwise(cudnnPointwiseMode_t mode, const CudnnObject& x, const CudnnObject& b,
                      const CudnnObject& y);
// y = mode(x)
CudnnObject pointwise(cudnnPointwiseMode_t mode, const CudnnObject& x, const CudnnObject& y);

class CudnnHandle {
 public:
  explicit CudnnHandle(cudaStream_t stream);
  ~CudnnHandle();
  CudnnHandle(const CudnnHandle&) = delete;
  CudnnHandle& operator=(const CudnnHandle&) = delete;
  cudnnHandle_t get() const { return handle_; }

 private:
  cudnnHandle_t handle_ = nullptr;
};

// A graph with the engine that does it.
class CudnnPlan {
 public:
  // The engines that cuDNN thinks best, best first, that give the same bits each time and compute in full
  // precision but for the operands' rounding; at most `most`. Throws CudnnRefusal when there is none.
  static std::vector<CudnnPlan> find(const CudnnHandle& handle, const std::vector<CudnnObject>& operations,
                                     size_t most);

  size_t workspace_bytes() const { return workspace_; }
  const std::string& engine() const { return engine_; }  // "engine 4, compiled"
  struct Binding {
    int64_t id;
    const void* address;
  };
  void run(const CudnnHandle& handle, const std::vector<Binding>& bindings, void* workspace) const;

 private:
  CudnnPlan(CudnnObject plan, CudnnObject graph, std::string engine);

  CudnnObject plan_, graph_;
  size_t workspace_ = 0;
  std::string engine_;
};

}  // namespace eg4d::cuda
