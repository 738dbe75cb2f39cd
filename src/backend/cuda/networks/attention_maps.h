#pragma once

#include <cuda.h>

#include "backend/neural_ops.h"

namespace eg4d::cuda {

// An operand (f16 or bf16) for sm_90's copy engine: columns of a head, tokens, heads, inner, outer. It copies
// boxes of 64 columns and `rows` tokens. steps: 0 where all inner or outer sequences have the same tokens.
CUtensorMap describe_tokens(const Attention& a, const Attention::Operand& x, int64_t tokens, int rows,
                            int (&steps)[2]);

}  // namespace eg4d::cuda
