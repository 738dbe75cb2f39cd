#include "backend/make_backend.h"

#include <gtest/gtest.h>

#include "core/log.h"
#include "support/environment.h"
#include "support/expect_error.h"
#include "support/places.h"
#include "support/temporary_folder.h"

namespace eg4d::test {
namespace {

namespace fs = std::filesystem;

// What the stub (tests/stubs/cuda_stub.cpp) is to answer.
WithEnvironment answering(const std::string& answer) {
  return {"EG4D_STUB_CUDA", answer};
}

class MakeBackend : public testing::Test {
 protected:
  const WithEnvironment libraries_{"EG4D_LIBRARY_DIR", stub_libraries().string()};
};

TEST(MakeBackendWithoutLibrary, SaysWhatIsMissing) {
  const TemporaryFolder empty;
  const WithEnvironment libraries("EG4D_LIBRARY_DIR", empty.path().string());
  EXPECT_ERROR(make_backend("cuda"), "device 'cuda' needs libeg4d_cuda.so");
  EXPECT_ERROR(make_backend("cuda:1"), "EG4D_CUDA=ON");
  EXPECT_ERROR(make_backend("cuda"), empty.path().string());
  EXPECT_EQ(make_backend("cpu")->name().find("cpu"), 0u);
}

TEST(MakeBackendWithoutLibrary, WhatIsNoLibraryIsTold) {
  const TemporaryFolder folder;
  write_text(folder / "libeg4d_cuda.so", "no library");
  const WithEnvironment libraries("EG4D_LIBRARY_DIR", folder.path().string());
  EXPECT_ERROR(make_backend("cuda"), "the system does not load it");
}

TEST(MakeBackendWithoutLibrary, ALibraryWithoutTheFunctionIsTold) {
  const TemporaryFolder folder;
  fs::copy(stub_libraries() / "libeg4d_no_cuda.so", folder / "libeg4d_cuda.so");
  const WithEnvironment libraries("EG4D_LIBRARY_DIR", folder.path().string());
  EXPECT_ERROR(make_backend("cuda"), "is of another version of eg4d");
}

TEST_F(MakeBackend, TakesTheDeviceOfThatNumber) {
  const WithEnvironment stub = answering("");
  EXPECT_EQ(make_backend("cuda")->name(), "stub 0");
  EXPECT_EQ(make_backend("cuda:0")->name(), "stub 0");
  EXPECT_EQ(make_backend("cuda:12")->name(), "stub 12");
}

TEST_F(MakeBackend, ThePrecisionIsTheDevicesAffair) {
  const WithEnvironment stub = answering("");
  EXPECT_EQ(make_backend("cuda:1", FieldPrecision::f32)->name(), "stub 1 in f32");
  EXPECT_EQ(make_backend("cuda", FieldPrecision::tf32)->name(), "stub 0 in tf32");
  EXPECT_EQ(make_backend("auto", FieldPrecision::bf16)->name(), "stub 0 in bf16");
}

TEST_F(MakeBackend, TheCapOnMemoryIsTheDevices) {
  const WithEnvironment stub = answering("");
  EXPECT_EQ(make_backend("cuda", FieldPrecision::automatic, size_t{8} << 30)->name(), "stub 0 with 8192 MiB");
  EXPECT_EQ(make_backend("auto", FieldPrecision::automatic, size_t{1} << 20)->name(), "stub 0 with 1 MiB");
}

// Not a reason to compute on the processor.
TEST_F(MakeBackend, ACapThatLeavesNothingIsTold) {
  const WithEnvironment stub = answering("cap_too_small:1.00 GiB, and 1.50 GiB is the least");
  for (const char* device : {"cuda", "auto"}) {
    EXPECT_ERROR(make_backend(device, FieldPrecision::automatic, size_t{1} << 30),
                 "--memory leaves nothing to compute with (1.00 GiB, and 1.50 GiB is the least)");
    EXPECT_EQ(error_of([&] {
                make_backend(device, FieldPrecision::automatic, size_t{1} << 30);
              }).find("--device cpu"),
              std::string::npos);
  }
}

TEST_F(MakeBackend, TheProcessorHasNoCap) {
  EXPECT_ERROR(make_backend("cpu", FieldPrecision::automatic, size_t{8} << 30),
               "--memory caps a GPU's memory");
  EXPECT_THROW(make_backend("cpu", FieldPrecision::automatic, 1), UsageError);
  std::vector<std::string> warnings;
  set_warning_sink([&](const std::string& sentence) { warnings.push_back(sentence); });
  {
    const WithEnvironment hidden("CUDA_VISIBLE_DEVICES", "");
    EXPECT_EQ(make_backend("auto", FieldPrecision::automatic, size_t{8} << 30)->name().find("cpu"), 0u);
  }
  set_warning_sink({});
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_EQ(warnings[0], "--memory caps a GPU's memory; on the processor it has no effect");
}

TEST_F(MakeBackend, TheProcessorHasOneAlone) {
  for (const FieldPrecision precision : {FieldPrecision::automatic, FieldPrecision::f32})
    EXPECT_EQ(make_backend("cpu", precision)->name().find("cpu"), 0u);
  const WithEnvironment hidden("CUDA_VISIBLE_DEVICES", "");
  for (const char* device : {"cpu", "auto"}) {
    EXPECT_ERROR(make_backend(device, FieldPrecision::tf32), "--precision tf32 is for GPUs");
    EXPECT_THROW(make_backend(device, FieldPrecision::bf16), UsageError);
  }
}

TEST_F(MakeBackend, OtherNamesAreUsageErrors) {
  for (const char* name :
       {"", "gpu", "cuda:", "cuda:x", "cuda:1x", "cuda:-1", "cuda:99999999999", "CUDA", "cuda1"})
    EXPECT_THROW(make_backend(name), UsageError) << name;
}

TEST_F(MakeBackend, EveryProblemIsOneSentenceWithItsFacts) {
  for (const auto& [answer, sentence] : {
           std::pair{"no_driver:libcuda.so.1 is not there",
                     "there is no NVIDIA driver (libcuda.so.1 is not there)"},
           {"driver_too_old:11.4, 12.4 is needed", "the NVIDIA driver is too old (11.4, 12.4 is needed)"},
           {"no_device:", "there is no GPU that this process may use; --device cpu"},
           {"no_such_device:there are 2", "there is no GPU of that number (there are 2)"},
           {"device_too_old:Tesla K80", "the GPU is too old (Tesla K80)"},
           {"out_of_memory:3 MB are free", "the GPU has no memory left (3 MB are free)"},
           {"other:unknown error 999", "the GPU cannot be used (unknown error 999)"},
       }) {
    const WithEnvironment stub = answering(answer);
    EXPECT_ERROR(make_backend("cuda:3"), std::string("device 'cuda:3' is not available: ") + sentence);
  }
}

TEST_F(MakeBackend, ALibraryOfOtherSourcesIsRefused) {
  for (const char* difference : {"version", "operations"}) {
    const WithEnvironment stub = answering(difference);
    EXPECT_ERROR(make_backend("cuda"), "is of another version of eg4d; build both from the same sources");
  }
}

class AutomaticBackend : public MakeBackend {
 protected:
  AutomaticBackend() {
    set_warning_sink([this](const std::string& sentence) { warnings_.push_back(sentence); });
  }
  ~AutomaticBackend() override { set_warning_sink({}); }

  std::string device(const fs::path& device_files) {
    const std::string name =
        detail::make_automatic_backend(FieldPrecision::automatic, 0, device_files)->name();
    return name.substr(0, name.find(' '));
  }

  const TemporaryFolder no_files_;
  std::vector<std::string> warnings_;
};

TEST_F(AutomaticBackend, IsTheFirstGpu) {
  const WithEnvironment stub = answering("");
  EXPECT_EQ(detail::make_automatic_backend(FieldPrecision::automatic, 0, no_files_.path())->name(), "stub 0");
  EXPECT_EQ(warnings_, std::vector<std::string>());
}

TEST_F(AutomaticBackend, IsTheProcessorWhereThereIsNoGpu) {
  for (const char* answer : {"no_driver:", "no_device:"}) {
    const WithEnvironment stub = answering(answer);
    EXPECT_EQ(device(no_files_.path()), "cpu");
  }
  const WithEnvironment nothing("EG4D_LIBRARY_DIR", no_files_.path().string());
  EXPECT_EQ(device(no_files_.path()), "cpu");
  EXPECT_EQ(warnings_, std::vector<std::string>());
}

TEST_F(AutomaticBackend, SaysNothingWhereTheUserHidesTheGpus) {
  const WithEnvironment stub = answering("driver_too_old:11.4"), hidden("CUDA_VISIBLE_DEVICES", "");
  write_text(no_files_ / "nvidiactl", "");
  EXPECT_EQ(device(no_files_.path()), "cpu");
  EXPECT_EQ(warnings_, std::vector<std::string>());
}

TEST_F(AutomaticBackend, SaysOnceWhyAGpuIsNotUsed) {
  {
    const WithEnvironment stub = answering("driver_too_old:11.4");
    EXPECT_EQ(device(no_files_.path()), "cpu");
    ASSERT_EQ(warnings_.size(), 1u);
    EXPECT_TRUE(contains(warnings_[0], "the NVIDIA driver is too old (11.4); computing on the processor"));
  }
  {
    const WithEnvironment stub = answering("version");
    EXPECT_EQ(device(no_files_.path()), "cpu");
    EXPECT_EQ(warnings_.size(), 1u) << "another library alone is no GPU";
  }
  write_text(no_files_ / "nvidiactl", "");
  const WithEnvironment nothing("EG4D_LIBRARY_DIR", no_files_.path().string());
  EXPECT_EQ(device(no_files_.path()), "cpu");
  ASSERT_EQ(warnings_.size(), 2u);
  EXPECT_TRUE(contains(warnings_[1], "needs libeg4d_cuda.so")) << warnings_[1];
  EXPECT_TRUE(contains(warnings_[1], "computing on the processor")) << warnings_[1];
}

}  // namespace
}  // namespace eg4d::test
