#pragma once

#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <string>
#include <vector>

namespace eg4d::test {

// A test that runs once on every instruction set that this machine has and the kernels are compiled for.
class EachTarget : public testing::TestWithParam<int64_t> {
 public:
  static std::vector<int64_t> supported() {
    std::vector<int64_t> targets;
    for (const int64_t target : {HWY_SCALAR, HWY_AVX2, HWY_AVX3, HWY_NEON})
      if (hwy::SupportedTargets() & target) targets.push_back(target);
    return targets;
  }
  static std::string name(const testing::TestParamInfo<int64_t>& info) { return hwy::TargetName(info.param); }

 protected:
  EachTarget() { restrict_to(GetParam()); }
  ~EachTarget() override { restrict_to(0); }

 private:
  static void restrict_to(int64_t target) {
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }
};

}  // namespace eg4d::test
