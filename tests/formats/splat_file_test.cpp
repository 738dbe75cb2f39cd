#include "formats/splat_file.h"

#include <gtest/gtest.h>

#include "io/ply_writer.h"
#include "support/expect_error.h"
#include "support/random_cloud.h"
#include "support/temporary_folder.h"

namespace eg4d::splat {
namespace {

TEST(SplatFile, IsKnownByTheEndOfItsName) {
  EXPECT_EQ(splat_format_of("a/b.ply"), &splat_format("ply"));
  EXPECT_EQ(splat_format_of("b.COMPRESSED.ply"), &splat_format("compressed-ply"));
  EXPECT_EQ(splat_format_of("b.splat"), &splat_format("splat"));
  EXPECT_EQ(splat_format_of("b.splat4d"), &splat_format("splat4d"));
  EXPECT_EQ(splat_format_of("b.sog"), &splat_format("sog"));
  for (const char* name : {"ply", ".ply", "b", "b.xyz", "b.ply.gz", ""})
    EXPECT_FALSE(splat_format_of(name)) << name;
}

TEST(SplatFile, EveryFormatThatIsReadIsWrittenAndGivesTheSameBack) {
  test::TemporaryFolder folder;
  int formats = 0;
  for (const SplatFormat& format : splat_formats()) {
    if (!format.decode) continue;
    ++formats;
    const auto path = folder / (std::string("a") + format.extension);
    const GaussianCloud cloud = test::random_cloud(200, format.sh_degree);
    format.write(path, cloud, {});
    const GaussianCloud read = read_splat_file(path);
    ASSERT_EQ(read.count(), 200) << format.title;
    EXPECT_EQ(sh_degree_of(read), format.sh_degree) << format.title;
    EXPECT_LT(test::errors_between(cloud, read).position, 4e-3f) << format.title;
    // What was read and is written again stays what it is, in the lossless ones and in the others.
    format.write(path, read, {});
    EXPECT_LT(test::errors_between(read, read_splat_file(path)).position, 1e-3f) << format.title;
    EXPECT_LT(test::errors_between(read, read_splat_file(path)).rotation, 1e-4f) << format.title;
  }
  EXPECT_EQ(formats, 5);
}

TEST(SplatFile, NoOtherFileIsLeftBehind) {
  test::TemporaryFolder folder;
  const GaussianCloud cloud = test::random_cloud(20, 3);
  for (const SplatFormat& format : splat_formats()) {
    const auto path = folder / (std::string("a") + format.extension);
    if (format.write)
      format.write(path, cloud, {});
    else
      format.write_sequence(path, {.frames = 2, .at = [&](int) { return cloud; }}, {});
    EXPECT_GT(std::filesystem::file_size(path), 100u);
  }
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}),
            static_cast<ptrdiff_t>(splat_formats().size()));
}

TEST(SplatFile, WhatCannotBeReadIsTold) {
  test::TemporaryFolder folder;
  EXPECT_ERROR(read_splat_file(folder / "a.glb"), "Gaussians are read from");
  EXPECT_ERROR(read_splat_file(folder / "gone.spz"), "gone.spz");
  GaussianCloud torn = test::random_cloud(3, 0);
  torn.sh_dc.pop_back();
  for (const SplatFormat& format : splat_formats())
    if (format.write)
      EXPECT_ERROR(format.write(folder / "a", torn, {}), "the constant colours hold 8 numbers instead of 9");
}

}  // namespace
}  // namespace eg4d::splat
