#pragma once

// Attention on the GPU. Nothing is allocated or read by the host, so calls can be captured in a graph.

#include <cuda_runtime_api.h>

#include <cstddef>

#include "backend/neural_ops.h"

namespace eg4d::cuda {

// How long the workspace must be; it may be null where that is 0.
size_t attention_workspace_bytes(const Attention& a);

// y may be q, laid out alike.
void attention(const Attention& a, void* workspace, cudaStream_t stream);

}  // namespace eg4d::cuda
