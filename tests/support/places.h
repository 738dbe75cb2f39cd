#pragma once

#include <filesystem>
#include <string>

namespace eg4d::test {

// What tests and benchmarks read: in the bundle that they belong to (scripts/bundle.sh), whose programs lie
// in its bin/; else in the source tree that they were built from.
std::filesystem::path test_data();       // tests/data
std::filesystem::path examples();        // examples
std::filesystem::path docs();            // docs
std::filesystem::path eg4d_program();    // the program itself
std::filesystem::path stub_libraries();  // of tests/stubs

// Why videos can be neither read nor written here (a bundle has no FFmpeg); empty when they can.
std::string missing_video();

}  // namespace eg4d::test

// Ends a test (or SetUp) that needs videos, where there are none.
#define EG4D_TEST_NEEDS_VIDEO() \
  if (const std::string missing = eg4d::test::missing_video(); !missing.empty()) GTEST_SKIP() << missing
