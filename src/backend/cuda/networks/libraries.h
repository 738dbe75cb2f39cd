#pragma once

// NVIDIA's libraries for networks, loaded when a network is first asked for: libeg4d_cuda.so needs none of
// them for the Gaussians.

#include <cublasLt.h>
#include <cudnn_graph.h>

#include <filesystem>
#include <string>
#include <vector>

namespace eg4d::cuda {

// clang-format off
#define EG4D_CUBLASLT_FUNCTIONS(function)                                                            \
  function(cublasLtCreate) function(cublasLtDestroy) function(cublasLtGetVersion)                    \
  function(cublasLtMatmul) function(cublasLtMatmulAlgoGetHeuristic)                                  \
  function(cublasLtMatmulDescCreate) function(cublasLtMatmulDescDestroy)                             \
  function(cublasLtMatmulDescSetAttribute)                                                           \
  function(cublasLtMatmulPreferenceCreate) function(cublasLtMatmulPreferenceDestroy)                 \
  function(cublasLtMatmulPreferenceSetAttribute)                                                     \
  function(cublasLtMatrixLayoutCreate) function(cublasLtMatrixLayoutDestroy)
#define EG4D_CUDNN_FUNCTIONS(function)                                                               \
  function(cudnnGetVersion) function(cudnnGetErrorString) function(cudnnGetLastErrorString)          \
  function(cudnnCreate) function(cudnnDestroy) function(cudnnSetStream)                              \
  function(cudnnBackendCreateDescriptor) function(cudnnBackendDestroyDescriptor)                     \
  function(cudnnBackendFinalize) function(cudnnBackendSetAttribute) function(cudnnBackendGetAttribute) \
  function(cudnnBackendExecute)
// clang-format on

#define EG4D_FUNCTION_POINTER(name) decltype(&::name) name = nullptr;
struct CublasLt {
  EG4D_CUBLASLT_FUNCTIONS(EG4D_FUNCTION_POINTER)
};
struct Cudnn {
  EG4D_CUDNN_FUNCTIONS(EG4D_FUNCTION_POINTER)
};
#undef EG4D_FUNCTION_POINTER

// Each is loaded once and stays. Throws NotOnThisDevice, a sentence that says where it was looked for: in the
// folders of $EG4D_CUDA_LIBRARIES and those below them, where the system looks, in the Python environment
// that the PATH begins with, and in CUDA's own folder.
const CublasLt& cublaslt();
const Cudnn& cudnn();
// "cuBLASLt 13.1.0, cuDNN 9.19.0"; what is missing is named so.
std::string describe_libraries();

namespace detail {
// Where a file of one of NVIDIA's packages may lie, below a folder that somebody named.
std::vector<std::filesystem::path> folders_below(const std::filesystem::path& folder);
}  // namespace detail

}  // namespace eg4d::cuda
