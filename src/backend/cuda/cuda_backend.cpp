#include "backend/cuda/cuda_backend.h"

#include <fmt/format.h>

#include <stdexcept>

#include "backend/cuda/check.h"
#include "backend/cuda/read_back.h"
#include "backend/cuda/recording.h"

namespace eg4d::cuda {
namespace {

// Where --precision is auto: the fastest one, since PSNR tells no difference (docs/gpu.md).
constexpr FieldPrecision kAutomaticPrecision = FieldPrecision::bf16;

MatrixPrecision matrix_precision(FieldPrecision chosen) {
  return chosen == FieldPrecision::f32    ? MatrixPrecision::f32
         : chosen == FieldPrecision::tf32 ? MatrixPrecision::tf32
                                          : MatrixPrecision::bf16;
}

class Stream {
 public:
  Stream() { check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "starting"); }
  ~Stream() { cudaStreamDestroy(stream_); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  cudaStream_t get() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

// Other threads begin with GPU 0.
int used(int device) {
  check(cudaSetDevice(device), "starting");
  return device;
}

class GpuBackend final : public Backend {
 public:
  GpuBackend(int device, FieldPrecision precision, size_t memory_cap, size_t context)
      : device_(used(device)),
        precision_(precision == FieldPrecision::automatic ? kAutomaticPrecision : precision),
        memory_(device, stream_.get(), memory_cap, context),
        runner_(memory_, stream_.get()) {
    cudaDeviceProp properties;
    check(cudaGetDeviceProperties(&properties, device), "starting");
    name_ = fmt::format("cuda:{} ({}, field in {})", device, properties.name, name_of(precision_));
  }
  ~GpuBackend() override {
    cudaSetDevice(device_);
    cudaStreamSynchronize(stream_.get());
  }
  GpuBackend(const GpuBackend&) = delete;
  GpuBackend& operator=(const GpuBackend&) = delete;

  std::string name() const override { return name_; }

  void* allocate(size_t bytes) override {
    refuse_while_recording("allocate memory");
    used(device_);
    return memory_.allocate(bytes);
  }
  void release(void* memory) override {
    cudaSetDevice(device_);
    memory_.release(memory);
  }
  size_t allocated_bytes() const override { return memory_.allocated(); }
  MemoryUse memory_use() const override {
    cudaSetDevice(device_);
    MemoryUse use = memory_.use();
    use.streamed = runner_.networks().weights().streamed_bytes();
    return use;
  }
  bool computes_in(DType type) const override {
    return (type == DType::f32 || type == DType::f16 || type == DType::bf16) &&
           NetworkRunner::libraries_are_there();
  }

  bool has_fp8() const override {
    int major = 0, minor = 0;
    check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device_),
          "asking for its properties");
    check(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device_),
          "asking for its properties");
    return (major > 8 || (major == 8 && minor >= 9)) && NetworkRunner::libraries_are_there();
  }

  void copy_to_device(void* device, const void* host, size_t bytes) override {
    refuse_while_recording("copy from the host");
    if (bytes == 0) return;
    used(device_);
    // Of pageable memory: it is read before the call returns.
    check(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, stream_.get()), "copying to it");
  }
  void copy_to_host(void* host, const void* device, size_t bytes) override {
    refuse_while_recording("copy to the host");
    used(device_);
    read_back_.copy(host, device, bytes);
  }

  std::shared_ptr<const PackedWeight> pack_linear(const LinearWeight& weight) override {
    return pack(weight);
  }
  std::shared_ptr<const PackedWeight> pack_convolution(const ConvolutionWeight& weight) override {
    return pack(weight);
  }
  std::unique_ptr<RasterizeContext> create_rasterize_context() override {
    used(device_);
    return std::make_unique<RasterContext>(memory_, stream_.get());
  }
  std::unique_ptr<FieldContext> create_field_context(const FieldDescription& of) override {
    used(device_);
    return std::make_unique<NetworkContext>(memory_, of, matrix_precision(precision_));
  }

  void run(const Operation& operation) override {
    if (recording_) {
      require_here(operation);
      recording_->add(operation);
      return;
    }
    used(device_);
    runner_.run(operation);
  }

  std::unique_ptr<Recording> record(const std::function<void()>& work) override {
    refuse_while_recording("record");
    auto recording = std::make_unique<CudaRecording>();
    const StopRecording stop(recording_);
    recording_ = recording.get();
    work();
    return recording;
  }
  void replay(const Recording& recording) override {
    refuse_while_recording("replay");
    used(device_);
    static_cast<const CudaRecording&>(recording).replay(runner_, memory_, stream_.get());
  }

 private:
  class StopRecording {
   public:
    explicit StopRecording(CudaRecording*& recording) : recording_(recording) {}
    ~StopRecording() { recording_ = nullptr; }
    StopRecording(const StopRecording&) = delete;
    StopRecording& operator=(const StopRecording&) = delete;

   private:
    CudaRecording*& recording_;
  };

  template <class Weight>
  std::shared_ptr<const PackedWeight> pack(const Weight& weight) {
    refuse_while_recording("pack weights");
    used(device_);
    return runner_.networks().pack(weight);
  }
  void refuse_while_recording(const char* what) const {
    if (recording_) throw std::logic_error(fmt::format("a recording cannot {}", what));
  }

  const int device_;
  std::string name_;
  const FieldPrecision precision_;
  Stream stream_;
  ReadBack read_back_{stream_.get()};
  Memory memory_;
  OperationRunner runner_;
  CudaRecording* recording_ = nullptr;  // of record(), while it runs
};

}  // namespace

std::unique_ptr<Backend> make_cuda_backend(int device, FieldPrecision precision, size_t memory_cap,
                                           size_t context) {
  return std::make_unique<GpuBackend>(device, precision, memory_cap, context);
}

}  // namespace eg4d::cuda
