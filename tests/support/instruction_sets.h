#pragma once

#include <cstdint>
#include <vector>

#include "hwy/highway.h"

namespace eg4d::test {

// The instruction sets that the kernels are compiled for and this machine has.
inline std::vector<int64_t> instruction_sets() {
  std::vector<int64_t> supported;
  for (const int64_t target : {HWY_SCALAR, HWY_EMU128, HWY_AVX2, HWY_AVX3, HWY_NEON})
    if (hwy::SupportedTargets() & target) supported.push_back(target);
  return supported;
}

// Kernels run on that one until the object goes.
class UseInstructionSet {
 public:
  explicit UseInstructionSet(int64_t target) { use(target); }
  ~UseInstructionSet() { use(0); }
  UseInstructionSet(const UseInstructionSet&) = delete;
  UseInstructionSet& operator=(const UseInstructionSet&) = delete;

 private:
  static void use(int64_t target) {
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }
};

}  // namespace eg4d::test
