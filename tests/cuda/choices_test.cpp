// Which way of a library is the fastest is measured once.

#include "backend/cuda/networks/choices.h"

#include <gtest/gtest.h>

#include <fstream>

#include "core/error.h"
#include "support/temporary_folder.h"

namespace eg4d::test {
namespace {

TEST(CudaChoices, AreMeasuredOnceAndKept) {
  const TemporaryFolder folder;
  const auto file = folder / "below" / "choices.txt";
  int measured = 0;
  const auto measure = [&] {
    ++measured;
    return size_t{2};
  };
  {
    cuda::Choices choices(file);
    EXPECT_TRUE(choices.measures());
    EXPECT_EQ(choices.choose("a product", 3, measure), 2u);
    EXPECT_EQ(choices.choose("a product", 3, measure), 2u);
    EXPECT_EQ(measured, 1);
    choices.save();
  }
  cuda::Choices again(file);
  EXPECT_EQ(again.choose("a product", 3, measure), 2u);
  EXPECT_EQ(measured, 1);
  EXPECT_EQ(again.choose("a product", 2, [] { return size_t{1}; }), 1u);  // there are fewer ways now
}

TEST(CudaChoices, TheFirstIsTakenAndForgottenWhereMemoryIsShort) {
  const TemporaryFolder folder;
  cuda::Choices choices(folder / "choices.txt");
  EXPECT_EQ(choices.choose("a product", 3, []() -> size_t { throw OutOfMemory("none"); }), 0u);
  EXPECT_EQ(choices.choose("a product", 3, [] { return size_t{2}; }), 2u);
}

TEST(CudaChoices, TakeWhatTheyUnderstandOfAFile) {
  const TemporaryFolder folder;
  std::ofstream(folder / "choices.txt") << "1 first of two\n5 out of range\nnothing\n";
  cuda::Choices choices(folder / "choices.txt");
  EXPECT_EQ(choices.choose("first of two", 2, [] { return size_t{0}; }), 1u);
  EXPECT_EQ(choices.choose("out of range", 3, [] { return size_t{0}; }), 0u);
  cuda::Choices unwritable("/proc/none/choices.txt");
  EXPECT_EQ(unwritable.choose("anything", 2, [] { return size_t{1}; }), 1u);
  unwritable.save();
}

}  // namespace
}  // namespace eg4d::test
