// The library's entry: a backend, or why there is none.

#include "backend/cuda_library.h"

#include <gtest/gtest.h>

#include "cuda/support/device.h"

namespace eg4d::test {
namespace {

TEST(CudaLibrary, IsOfTheseSources) {
  const CudaLibrary* library = eg4d_cuda_library();
  EXPECT_EQ(library->version, kCudaLibraryVersion);
  EXPECT_EQ(library->operations, kOperationsLayout);
}

CudaBackend make_backend(int device) {
  return eg4d_cuda_library()->make_backend(device, FieldPrecision::f32, 0);
}

TEST(CudaLibrary, WithoutAGpuSaysWhatIsMissing) {
  if (missing_gpu().empty()) GTEST_SKIP() << "there is a GPU";
  const CudaBackend answer = make_backend(0);
  EXPECT_EQ(answer.backend, nullptr);
  EXPECT_TRUE(answer.problem == CudaProblem::no_driver || answer.problem == CudaProblem::no_device ||
              answer.problem == CudaProblem::driver_too_old)
      << answer.details;
}

TEST(CudaLibrary, AnotherNumberThanThereAreGpusIsTold) {
  EG4D_NEEDS_GPU();
  const CudaBackend answer = make_backend(1000);
  EXPECT_EQ(answer.problem, CudaProblem::no_such_device);
  EXPECT_NE(answer.details.find("there "), std::string::npos);
}

TEST(CudaLibrary, ABackendTellsItsCard) {
  EG4D_NEEDS_GPU();
  const CudaBackend answer = make_backend(0);
  ASSERT_NE(answer.backend, nullptr) << answer.details;
  Backend& backend = *answer.backend;
  EXPECT_EQ(backend.name().find("cuda:0 ("), 0u);
}

TEST(CudaLibrary, MemoryThatIsNotThereIsTold) {
  EG4D_NEEDS_GPU();
  const CudaBackend answer = make_backend(0);
  ASSERT_NE(answer.backend, nullptr) << answer.details;
  Backend& backend = *answer.backend;
  for (const int power : {40, 47, 50, 62}) EXPECT_THROW(backend.allocate(size_t{1} << power), OutOfMemory);
  EXPECT_EQ(backend.allocated_bytes(), 0u);
  void* memory = backend.allocate(1000);  // and the GPU goes on
  EXPECT_EQ(backend.allocated_bytes(), 1024u);
  backend.run(FillBytes{memory, 7, 1000});
  backend.run(CopyBytes{static_cast<char*>(memory) + 1, memory, 998});  // overlaps
  std::vector<char> host(1000);
  backend.copy_to_host(host.data(), memory, 1000);
  EXPECT_EQ(host, std::vector<char>(1000, 7));
  const size_t working = backend.allocated_bytes() - 1024;  // for what overlaps; it is kept
  EXPECT_GE(working, 998u);
  backend.release(memory);
  EXPECT_EQ(backend.allocated_bytes(), working);
}

}  // namespace
}  // namespace eg4d::test
