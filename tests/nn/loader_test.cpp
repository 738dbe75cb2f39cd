#include "nn/loader.h"

#include <gtest/gtest.h>

#include "support/expect_error.h"
#include "support/manifest.h"
#include "support/temporary_folder.h"

namespace eg4d::test {
namespace {

TEST(Loader, GroupNormsMustDivideIntoTheirGroups) {
  const TemporaryFolder folder;
  const auto check = [&](int64_t channels) {
    write_sparse_safetensors(folder / "a.safetensors",
                             {{"net.norm.weight", {channels}}, {"net.norm.bias", {channels}}});
    Loader::check(WeightMap(folder / "a.safetensors"), "net.",
                  [&](const Loader& loader) { loader.group_norm("norm", channels, 1e-5f); });
  };
  for (const int64_t channels : {32, 64, 320}) EXPECT_NO_THROW(check(channels));
  EXPECT_ERROR(check(1), "'net.norm.weight' normalises 1 channels, which do not divide into 32 groups");
  EXPECT_ERROR(check(31), "31 channels");
  EXPECT_ERROR(check(48), "48 channels");
}

}  // namespace
}  // namespace eg4d::test
