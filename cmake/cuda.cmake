# The kernels for NVIDIA GPUs (docs/gpu.md). Nothing else needs the CUDA toolkit.
set(EG4D_CUDA AUTO CACHE STRING "Build the CUDA kernels: AUTO (when nvcc is found), ON or OFF")
set_property(CACHE EG4D_CUDA PROPERTY STRINGS AUTO ON OFF)
set(EG4D_CUDA_FOUND OFF)
if(EG4D_CUDA STREQUAL AUTO OR EG4D_CUDA)
  # Machine code for sm_90; everything from sm_80 on gets it from PTX when the program starts.
  if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES 90-real 80-virtual)
  endif()
  include(CheckLanguage)
  # A sanitizer's run is about host code.
  if(NOT (EG4D_CUDA STREQUAL AUTO AND (EG4D_SANITIZE OR EG4D_SANITIZE_THREADS OR EG4D_FUZZ)))
    check_language(CUDA)
  endif()
  if(CMAKE_CUDA_COMPILER)
    enable_language(CUDA)
    find_package(CUDAToolkit REQUIRED)
    # cuBLASLt and cuDNN are opened at run time: only their headers are needed.
    find_path(EG4D_CUDNN_INCLUDE cudnn_graph.h HINTS ${CUDAToolkit_INCLUDE_DIRS}
      DOC "Folder of cuDNN 9's headers (in Python's package nvidia-cudnn-cu13: nvidia/cudnn/include)")
    if(EG4D_CUDNN_INCLUDE)
      set(EG4D_CUDA_FOUND ON)
    elseif(EG4D_CUDA STREQUAL AUTO)
      message(STATUS "CUDA kernels: cuDNN 9's headers are missing; name their folder by EG4D_CUDNN_INCLUDE")
    else()
      message(FATAL_ERROR "EG4D_CUDA is ON, but cuDNN 9's headers are missing: name their folder by EG4D_CUDNN_INCLUDE")
    endif()
  elseif(NOT EG4D_CUDA STREQUAL AUTO)
    message(FATAL_ERROR "EG4D_CUDA is ON, but no nvcc works here: put it on the PATH or set CMAKE_CUDA_COMPILER")
  endif()
endif()
message(STATUS "CUDA kernels: ${EG4D_CUDA_FOUND}")
if(NOT EG4D_CUDA_FOUND)
  return()
endif()

# CMake 3.25 does not know that this nvcc has C++20.
if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
endif()
set(CMAKE_CUDA_FLAGS_RELEASE "-O3 -DNDEBUG")

file(GLOB_RECURSE EG4D_CUDA_SOURCES CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/backend/cuda/*.cu ${CMAKE_SOURCE_DIR}/src/backend/cuda/*.cpp)
# Hopper's own instructions are in machine code for it alone; other GPUs never launch these kernels.
set(EG4D_HOPPER_SOURCES ${EG4D_CUDA_SOURCES})
list(FILTER EG4D_HOPPER_SOURCES INCLUDE REGEX "(/sm90/[a-z_]*|_hopper[a-z_]*|attention_wgmma)\\.cu$")
list(REMOVE_ITEM EG4D_CUDA_SOURCES ${EG4D_HOPPER_SOURCES})
add_library(eg4d_cuda_kernels OBJECT ${EG4D_CUDA_SOURCES})
add_library(eg4d_cuda_hopper OBJECT ${EG4D_HOPPER_SOURCES})
set_target_properties(eg4d_cuda_hopper PROPERTIES CUDA_ARCHITECTURES 90a-real)
foreach(target eg4d_cuda_kernels eg4d_cuda_hopper)
  target_include_directories(${target} PRIVATE ${CMAKE_SOURCE_DIR}/src ${EG4D_CUDNN_INCLUDE})
  target_link_libraries(${target} PRIVATE CUDA::cudart_static PkgConfig::FMT OpenMP::OpenMP_CXX)
  # The library calls its own functions, whatever the program that loads it has of these names (-Bsymbolic below).
  target_compile_options(${target} PRIVATE "$<$<COMPILE_LANGUAGE:CXX>:-fno-semantic-interposition>"
    "$<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra;-lineinfo;--expt-relaxed-constexpr>")
endforeach()
# Fused multiply-adds only where they are written: the roundings of the CPU's projection are kept, and counting
# a Gaussian's cells agrees with listing them. What promises the CPU's bits has them nowhere.
set_source_files_properties(
  src/backend/cuda/rasterizer_projection.cu src/backend/cuda/rasterizer_projection_backward.cu
  src/backend/cuda/rasterizer_cells.cu src/backend/cuda/rasterizer_lists.cu src/backend/cuda/density.cu src/backend/cuda/arrays.cu
  src/backend/cuda/networks/sampling.cu PROPERTIES COMPILE_OPTIONS -fmad=false)

# What the program will load when there is a GPU. Tests and benchmarks of the kernels link it, so that there is one copy of
# the machine code; cuda_exports.map says what they see.
set(EG4D_CUDA_EXPORTS ${CMAKE_SOURCE_DIR}/cmake/cuda_exports.map)
add_library(eg4d_cuda SHARED $<TARGET_OBJECTS:eg4d_cuda_kernels> $<TARGET_OBJECTS:eg4d_cuda_hopper>)
target_include_directories(eg4d_cuda INTERFACE ${CMAKE_SOURCE_DIR}/src ${EG4D_CUDNN_INCLUDE})
target_link_libraries(eg4d_cuda PRIVATE eg4d_library CUDA::cudart_static PkgConfig::FMT)
set_target_properties(eg4d_cuda PROPERTIES LINKER_LANGUAGE CXX LINK_DEPENDS ${EG4D_CUDA_EXPORTS})
target_link_options(eg4d_cuda PRIVATE -Wl,--version-script=${EG4D_CUDA_EXPORTS} -Wl,-Bsymbolic -Wl,--as-needed -Wl,--no-undefined)
