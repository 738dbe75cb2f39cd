#include "io/atomic_file.h"

#include <gtest/gtest.h>

#include <stdexcept>

#include "support/expect_error.h"
#include "support/full_disk.h"
#include "support/temporary_folder.h"

namespace eg4d {
namespace {

using test::FullDisk;
using test::read_text;
using test::TemporaryFolder;

TEST(AtomicFile, AppearsOnlyWhenCommitted) {
  TemporaryFolder folder;
  {
    AtomicFile file(folder / "a");
    file.write("new");
    EXPECT_FALSE(std::filesystem::exists(folder / "a"));
    file.commit();
    EXPECT_EQ(read_text(folder / "a"), "new");
  }
  EXPECT_EQ(folder.file_count(), 1u);
}

TEST(AtomicFile, AnExceptionLeavesTheOldFile) {
  TemporaryFolder folder;
  write_file_atomically(folder / "a", "old");
  try {
    AtomicFile file(folder / "a");
    file.write("half");
    throw std::runtime_error("interrupted");
  } catch (const std::runtime_error&) {
  }
  EXPECT_EQ(read_text(folder / "a"), "old");
  EXPECT_EQ(folder.file_count(), 1u);
}

TEST(AtomicFile, AFullDiskLeavesTheOldFile) {
  TemporaryFolder folder;
  write_file_atomically(folder / "a", "old");
  {
    const FullDisk disk(100);
    EXPECT_ERROR(write_file_atomically(folder / "a", std::string(1000, 'x')), "cannot write");
    EXPECT_ERROR(write_file_atomically(folder / "a", std::string(100000, 'x')), "cannot write");
  }
  EXPECT_EQ(read_text(folder / "a"), "old");
  EXPECT_EQ(folder.file_count(), 1u);
}

TEST(AtomicFile, DevicesAreWrittenDirectly) {
  EXPECT_ERROR(write_file_atomically("/dev/full", "x"), "cannot write '/dev/full': No space left on device");
  EXPECT_ERROR(write_file_atomically("/dev/full", std::string(100000, 'x')), "No space left on device");
  write_file_atomically("/dev/null", "x");
  EXPECT_TRUE(std::filesystem::is_character_file("/dev/full"));
  EXPECT_TRUE(std::filesystem::is_character_file("/dev/null"));
}

TEST(AtomicFile, FollowsSymbolicLinks) {
  TemporaryFolder folder;
  write_file_atomically(folder / "target", "old");
  std::filesystem::create_symlink(folder / "target", folder / "link");
  write_file_atomically(folder / "link", "new");
  EXPECT_TRUE(std::filesystem::is_symlink(folder / "link"));
  EXPECT_EQ(read_text(folder / "target"), "new");
}

TEST(AtomicFile, SaysWhatIsWrongWithThePath) {
  TemporaryFolder folder;
  EXPECT_ERROR(write_file_atomically(folder.path(), "x"), "it is a directory");
  EXPECT_ERROR(write_file_atomically(folder / "missing/a", "x"), "No such file or directory");
}

}  // namespace
}  // namespace eg4d
