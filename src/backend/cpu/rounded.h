#pragma once

// Operations on f16 and bf16 activations, as a GPU does them: operands are widened to f32, the kernel runs,
// results are rounded once. So that a GPU's results can be compared at the same rounding points; far too slow
// to be of other use.

#include <functional>

#include "backend/cpu/memory.h"
#include "backend/operations.h"

namespace eg4d::cpu {

bool takes_only_f32(const Operation& operation);

// Calls `run` with the operation on f32 copies.
void run_rounded(const Operation& operation, Memory& memory,
                 const std::function<void(const Operation&)>& run);

}  // namespace eg4d::cpu
