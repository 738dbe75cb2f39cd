// What the program says where there is no GPU that it can use: the real CUDA library, before a stand-in for
// the driver (tests/stubs/driver_stub.cpp).

#include <gtest/gtest.h>

#include <cstdlib>

#include "core/shared_library.h"
#include "support/expect_error.h"
#include "support/places.h"
#include "support/run_program.h"
#include "support/temporary_folder.h"
#include "support/tiny_scene.h"

namespace eg4d::test {
namespace {

namespace fs = std::filesystem;

class GpuErrors : public testing::Test {
 protected:
  void SetUp() override {
    if (!find_library("eg4d_cuda")) GTEST_SKIP() << "this build has no libeg4d_cuda.so";
    write_tiny_dataset(folder_ / "dataset", 2, 2, 16, 16);
  }

  // The program with that driver, which answers as told.
  ProgramResult run(const std::string& answers, const std::string& device, const fs::path& driver) const {
    const char* const before = std::getenv("LD_LIBRARY_PATH");
    return run_program({"reconstruct", folder_ / "dataset", "-o", folder_ / "run", "--device", device},
                       {"EG4D_STUB_DRIVER=" + answers,
                        "LD_LIBRARY_PATH=" + driver.string() + (before ? std::string(":") + before : "")});
  }
  void expect(const std::string& answers, const std::string& sentence,
              const std::string& device = "cuda") const {
    const ProgramResult result = run(answers, device, stub_libraries() / "driver");
    EXPECT_EQ(result.exit_code, 1) << result.errors;
    EXPECT_EQ(result.errors, "error: device '" + device + "' is not available: " + sentence +
                                 "; --device cpu computes on the processor\n");
    EXPECT_FALSE(fs::exists(folder_ / "run"));
  }

  TemporaryFolder folder_;
};

TEST_F(GpuErrors, NoDriver) {
  const fs::path broken = folder_ / "broken";
  fs::create_directory(broken);
  write_text(broken / "libcuda.so.1", "no library");
  const ProgramResult result = run("", "cuda", broken);
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_TRUE(contains(result.errors, "there is no NVIDIA driver (")) << result.errors;
  EXPECT_TRUE(contains(result.errors, "libcuda.so.1")) << result.errors;
  EXPECT_TRUE(contains(result.errors, "; --device cpu computes on the processor")) << result.errors;
}

TEST_F(GpuErrors, ADriverThatIsTooOld) {
  const ProgramResult result = run("11040 0 1 9 0", "cuda", stub_libraries() / "driver");
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_TRUE(contains(result.errors, "the NVIDIA driver is too old (it knows CUDA 11.4, 1"))
      << result.errors;
  EXPECT_TRUE(contains(result.errors, ".0 is needed)")) << result.errors;
}

TEST_F(GpuErrors, NoGpu) {
  const std::string sentence =
      "there is no GPU that this process may use (CUDA_VISIBLE_DEVICES is '')";  // run_program sets it
  expect("99000 100 0 0 0", sentence);
  expect("99000 0 0 0 0", sentence);
}

TEST_F(GpuErrors, FewerGpusThanAskedFor) {
  expect("99000 0 1 9 0", "there is no GPU of that number (there is 1 GPU)", "cuda:1");
  expect("99000 0 4 9 0", "there is no GPU of that number (there are 4 GPUs)", "cuda:4");
}

TEST_F(GpuErrors, AGpuThatIsTooOld) {
  expect("99000 0 1 7 5",
         "the GPU is too old (GeForce of the stub has compute capability 7.5, 8.0 is needed)");
}

TEST_F(GpuErrors, AGpuWithoutMemory) {
  expect("99000 2 1 9 0", "the GPU has no memory left");
}

TEST_F(GpuErrors, WhatElseTheDriverSays) {
  expect("99000 803 1 9 0", "the GPU cannot be used (the driver says CUDA_ERROR_OF_THE_STUB)");
}

// A run without --device goes on.
TEST_F(GpuErrors, AutomaticallyItIsTheProcessor) {
  const ProgramResult result =
      run_program({"reconstruct", folder_ / "dataset", "-o", folder_ / "run", "--schedule.coarse-iterations",
                   "2", "--schedule.fine-iterations", "2", "--hexplane.channels", "4",
                   "--hexplane.resolution", "8", "--deformation.width", "8", "--start.count", "20"},
                  {"EG4D_STUB_DRIVER=11040 0 1 9 0", "CUDA_VISIBLE_DEVICES=0",
                   "LD_LIBRARY_PATH=" + (stub_libraries() / "driver").string()});
  EXPECT_EQ(result.exit_code, 0) << result.errors;
  EXPECT_TRUE(contains(result.errors, "the NVIDIA driver is too old")) << result.errors;
  EXPECT_TRUE(contains(result.errors, "computing on the processor")) << result.errors;
}

// A GPU that has the Gaussians' operations alone is not taken where a loss needs a network.
TEST(GpuWithoutNetworks, ForALossOfNetworksItIsTheProcessorAutomatically) {
  const TemporaryFolder folder;
  write_tiny_dataset(folder / "dataset", 2, 2, 16, 16);
  const fs::path no_models = folder / "no-models";
  const ProgramResult result =
      run_program({"reconstruct", folder / "dataset", "-o", folder / "run", "--models-folder", no_models,
                   "--loss.lpips", "0.5"},
                  {"EG4D_STUB_CUDA=", "EG4D_LIBRARY_DIR=" + stub_libraries().string(),
                   "CUDA_VISIBLE_DEVICES=0", "EG4D_MODELS=" + no_models.string()});
  EXPECT_EQ(result.exit_code, 1) << result.errors;  // there are no weights
  EXPECT_TRUE(contains(result.errors, "networks on the GPU need cuBLASLt 13, which is not here"))
      << result.errors;
  EXPECT_TRUE(contains(result.errors, "computing on the processor")) << result.errors;
  EXPECT_TRUE(contains(result.errors, "eg4d models fetch")) << result.errors;
}

}  // namespace
}  // namespace eg4d::test
