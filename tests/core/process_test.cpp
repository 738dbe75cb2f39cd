#include "core/process.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <thread>

#include "core/error.h"
#include "support/expect_error.h"

namespace eg4d {
namespace {

int exit_code_of(ChildProcess& child) {
  while (!child.exit_code()) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  return *child.exit_code();
}

TEST(ChildProcess, RunsBesideAndTellsItsEnd) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  ChildProcess child("/bin/sh", {"-c", "read line; echo said; exit 3"}, ends[1]);
  close(ends[1]);
  EXPECT_EQ(exit_code_of(child), 3) << "its standard input is empty";
  char buffer[16] = {};
  EXPECT_EQ(read(ends[0], buffer, sizeof buffer), 5);
  EXPECT_STREQ(buffer, "said\n");
  close(ends[0]);
}

TEST(ChildProcess, IsEndedBySignals) {
  ChildProcess polite("/bin/sh", {"-c", "trap 'exit 7' INT; while :; do sleep 0.05; done"}, STDERR_FILENO);
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  polite.end(10000);
  EXPECT_EQ(exit_code_of(polite), 7);
  ChildProcess deaf("/bin/sh", {"-c", "trap '' INT; while :; do sleep 0.05; done"}, STDERR_FILENO);
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  deaf.end(200);
  EXPECT_EQ(exit_code_of(deaf), 128 + SIGKILL);
}

TEST(ChildProcess, WhatCannotBeStartedIsAnError) {
  EXPECT_ERROR(ChildProcess("/nowhere/program", {}, STDERR_FILENO), "cannot start /nowhere/program");
}

}  // namespace
}  // namespace eg4d
