#include "backend/cuda/networks/products.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "backend/cuda/check.h"
#include "backend/cuda/networks/fp8.h"
#include "backend/cuda/networks/measure.h"
#include "core/error.h"

namespace eg4d::cuda {
namespace {

constexpr size_t kMostWorkspace = size_t{64} << 20;

void check(cublasStatus_t status, const char* doing) {
  if (status == CUBLAS_STATUS_ALLOC_FAILED) throw out_of_memory_of_library("cuBLASLt", doing);
  if (status != CUBLAS_STATUS_SUCCESS)
    throw Error(fmt::format("the GPU failed while {}: cuBLASLt's error {}", doing, static_cast<int>(status)));
}

cudaDataType_t type_of(DType type) {
  return type == DType::f16 ? CUDA_R_16F : type == DType::bf16 ? CUDA_R_16BF : CUDA_R_32F;
}

constexpr int kWays = 8;

// Is it worth measuring? Tests' products are not.
bool is_large(const ProductShape& a) {
  return a.rows * a.in * a.out >= int64_t{1} << 30;
}

// "1000×320 by 320×640, f16, + bias, to f32"
std::string text(const ProductShape& a) {
  return fmt::format("{}×{} by {}×{}, form {}, {}{}{} to {}, strides {} {} {}, alignments {} {} {} {}",
                     a.rows, a.in, a.in, a.out, static_cast<int>(a.form), a.fp8 ? "fp8" : name_of(a.operands),
                     a.bias ? ", + bias" : "", a.residual ? ", + residual" : "", name_of(a.result),
                     a.x_stride, a.w_stride, a.y_stride, a.x_alignment, a.w_alignment, a.y_alignment,
                     a.residual_alignment);
}

// One of the library's objects.
template <class Handle, cublasStatus_t (*CublasLt::*Destroy)(Handle)>
class Owned {
 public:
  Owned() = default;
  ~Owned() {
    if (handle_) (cublaslt().*Destroy)(handle_);
  }
  Owned(const Owned&) = delete;
  Owned& operator=(const Owned&) = delete;
  Handle* operator&() { return &handle_; }
  Handle get() const { return handle_; }

 private:
  Handle handle_ = nullptr;
};
using Description = Owned<cublasLtMatmulDesc_t, &CublasLt::cublasLtMatmulDescDestroy>;
using Layout = Owned<cublasLtMatrixLayout_t, &CublasLt::cublasLtMatrixLayoutDestroy>;
using Preference = Owned<cublasLtMatmulPreference_t, &CublasLt::cublasLtMatmulPreferenceDestroy>;

}  // namespace

// The library counts matrices by columns, so it computes yᵀ = w·xᵀ: its A is w, its B x.
class Products::Plan {
  using Form = ProductShape::Form;

 public:
  Plan(cublasLtHandle_t handle, const ProductShape& shape, int ways) : shape_(shape) {
    describe();
    const bool forward = shape.form == Form::forward, across = shape.form == Form::across;
    const int64_t summed = forward ? shape.in : shape.out;
    const cudaDataType_t operands = shape.fp8 ? CUDA_R_8F_E4M3 : type_of(shape.operands);
    lay_out(a_, operands, shape.in, shape.out, shape.w_stride);
    lay_out(b_, operands, across ? shape.rows : summed, across ? summed : shape.rows, shape.x_stride);
    lay_out(y_, type_of(shape.result), forward ? shape.out : shape.in, shape.rows, shape.y_stride);
    choose(handle, ways);
  }

  void run(cublasLtHandle_t handle, const ProductArrays& arrays, void* workspace, cudaStream_t stream) {
    if (shape_.bias) set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, arrays.bias);
    const float factor = shape_.fp8 ? product_factor(shape_.in) : 1, beta = shape_.residual ? 1 : 0;
    const void* const residual = shape_.residual ? arrays.residual : arrays.y;
    const cublasLtMatmulHeuristicResult_t& way = found_[chosen_];
    const cublasStatus_t status =
        cublaslt().cublasLtMatmul(handle, description_.get(), &factor, arrays.w, a_.get(), arrays.x, b_.get(),
                                  &beta, residual, y_.get(), arrays.y, y_.get(), &way.algo,
                                  way.workspaceSize > 0 ? workspace : nullptr, way.workspaceSize, stream);
    if (status == CUBLAS_STATUS_ALLOC_FAILED) throw out_of_memory_of_library("cuBLASLt", "multiplying");
    if (status != CUBLAS_STATUS_SUCCESS)
      throw Error(fmt::format("the GPU failed while multiplying {}: cuBLASLt's error {}", text(shape_),
                              static_cast<int>(status)));
  }
  size_t workspace_bytes() const { return found_[chosen_].workspaceSize; }

  size_t ways() const { return found_.size(); }
  void take(size_t way) { chosen_ = way; }
  // As measured on memory of its own.
  size_t fastest(cublasLtHandle_t handle, Memory& memory, cudaStream_t stream) {
    const auto bytes = [](int64_t rows, int64_t width, int64_t stride, DType type) {
      return static_cast<size_t>(rows * std::max(width, stride)) * size_of(type);
    };
    const int64_t longest = std::max(shape_.in, shape_.out);
    size_t workspace_bytes = 256;
    for (const auto& way : found_) workspace_bytes = std::max(workspace_bytes, way.workspaceSize);
    MeasuringMemory own(memory, stream);
    void* const y = own.take(bytes(shape_.rows, longest, shape_.y_stride, shape_.result));
    const ProductArrays arrays{
        .x = own.take(bytes(std::max(shape_.rows, shape_.out), longest, shape_.x_stride, shape_.operands)),
        .w = own.take(bytes(shape_.out, shape_.in, shape_.w_stride, shape_.operands)),
        .bias = own.take(static_cast<size_t>(longest) * sizeof(float)),
        .residual = y,
        .y = y};
    void* const workspace = own.take(workspace_bytes);
    size_t best = 0;
    float best_time = 0;
    for (chosen_ = 0; chosen_ < found_.size(); ++chosen_) {
      const float time = milliseconds(
          stream, [&] { run(handle, arrays, workspace, stream); }, best_time);
      if (chosen_ > 0 && time >= best_time) continue;
      best = chosen_;
      best_time = time;
    }
    return best;
  }

 private:
  template <class Value>
  void set(cublasLtMatmulDescAttributes_t attribute, const Value& value) {
    check(cublaslt().cublasLtMatmulDescSetAttribute(description_.get(), attribute, &value, sizeof value),
          "preparing a product");
  }
  static void lay_out(Layout& layout, cudaDataType_t type, int64_t width, int64_t rows, int64_t stride) {
    check(cublaslt().cublasLtMatrixLayoutCreate(&layout, type, static_cast<uint64_t>(width),
                                                static_cast<uint64_t>(rows), stride == 0 ? width : stride),
          "preparing a product");
  }

  void describe() {
    const cublasComputeType_t compute =
        shape_.operands == DType::f32 && shape_.tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
    check(cublaslt().cublasLtMatmulDescCreate(&description_, compute, CUDA_R_32F), "preparing a product");
    set(CUBLASLT_MATMUL_DESC_TRANSA, shape_.form == Form::forward ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(CUBLASLT_MATMUL_DESC_TRANSB, shape_.form == Form::across ? CUBLAS_OP_T : CUBLAS_OP_N);
    // Sums in the tensor cores' own 14 bits or so: the operands have 4.
    if (shape_.fp8) set(CUBLASLT_MATMUL_DESC_FAST_ACCUM, int8_t{1});
    if (!shape_.bias) return;
    set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
    set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, type_of(shape_.result));
    // The choice may look at how it is aligned; run() gives the real one.
    set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, reinterpret_cast<const void*>(uintptr_t{256}));
  }

  void choose(cublasLtHandle_t handle, int ways) {
    Preference preference;
    check(cublaslt().cublasLtMatmulPreferenceCreate(&preference), "preparing a product");
    const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
      check(
          cublaslt().cublasLtMatmulPreferenceSetAttribute(preference.get(), attribute, &value, sizeof value),
          "preparing a product");
    };
    prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kMostWorkspace);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, shape_.w_alignment);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, shape_.x_alignment);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
           shape_.residual ? shape_.residual_alignment : shape_.y_alignment);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, shape_.y_alignment);
    found_.resize(static_cast<size_t>(ways));
    int found = 0;
    const cublasStatus_t status =
        cublaslt().cublasLtMatmulAlgoGetHeuristic(handle, description_.get(), a_.get(), b_.get(), y_.get(),
                                                  y_.get(), preference.get(), ways, found_.data(), &found);
    found_.resize(status == CUBLAS_STATUS_SUCCESS ? static_cast<size_t>(found) : 0);
    if (found_.empty())
      throw Error(fmt::format("cuBLASLt has no way to multiply {} on this GPU", text(shape_)));
  }

  const ProductShape shape_;
  Description description_;
  Layout a_, b_, y_;
  std::vector<cublasLtMatmulHeuristicResult_t> found_;  // the best first
  size_t chosen_ = 0;
};

Products::Products(Memory& memory, cudaStream_t stream, Choices& choices)
    : memory_(memory), stream_(stream), choices_(choices) {}
Products::~Products() {
  plans_.clear();
  if (handle_) cublaslt().cublasLtDestroy(handle_);
}

Products::Plan& Products::plan(const ProductShape& shape) {
  if (!handle_) check(cublaslt().cublasLtCreate(&handle_), "starting cuBLASLt");
  std::unique_ptr<Plan>& plan = plans_[shape];
  if (!plan) {
    const bool several = choices_.measures() && is_large(shape);
    plan = std::make_unique<Plan>(handle_, shape, several ? kWays : 1);
    if (plan->ways() > 1)
      plan->take(choices_.choose("product " + text(shape), plan->ways(),
                                 [&] { return plan->fastest(handle_, memory_, stream_); }));
  }
  return *plan;
}

size_t Products::workspace_bytes(const Plan& plan) {
  return plan.workspace_bytes();
}

void Products::run(Plan& plan, const ProductArrays& arrays, void* workspace) {
  plan.run(handle_, arrays, workspace, stream_);
}

}  // namespace eg4d::cuda
