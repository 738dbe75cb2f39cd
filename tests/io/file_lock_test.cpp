#include "io/file_lock.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <optional>

#include "support/expect_error.h"
#include "support/temporary_folder.h"

namespace eg4d {
namespace {

using test::TemporaryFolder;

TEST(FileLock, OneAtATimeAndNothingStays) {
  const TemporaryFolder folder;
  const std::filesystem::path file = FileLock::of_folder(folder.path());
  {
    const FileLock lock(file, "the folder");
    EXPECT_ERROR(FileLock(file, "the folder"),
                 "the folder is in use by another process (pid " + std::to_string(getpid()) + ")");
  }
  EXPECT_EQ(folder.file_count(), 0u);
  const FileLock again(file, "the folder");
}

TEST(FileLock, WhatADeadProcessLeftIsNoObstacle) {
  const TemporaryFolder folder;
  const std::filesystem::path file = FileLock::of_folder(folder.path());
  const pid_t child = fork();
  if (child == 0) {
    const FileLock lock(file, "the folder");
    _exit(0);  // no destructor
  }
  waitpid(child, nullptr, 0);
  EXPECT_EQ(test::read_text(file), std::to_string(child) + "\n");
  const FileLock lock(file, "the folder");
  EXPECT_EQ(test::read_text(file), std::to_string(getpid()) + "\n");
}

TEST(FileLock, WhereNoFileCanBeMadeWorkGoesOn) {
  const FileLock lock("/proc/no-such-place/.lock", "the folder");
}

}  // namespace
}  // namespace eg4d
