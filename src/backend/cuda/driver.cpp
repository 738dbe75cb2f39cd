#include "backend/cuda/driver.h"

#include <cuda.h>
#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <fmt/format.h>

#include <cstdlib>

namespace eg4d::cuda {
namespace {

constexpr int kLeastMajor = 8;  // compute capability that the kernels are written for

CudaBackend problem(CudaProblem which, std::string details) {
  return {.backend = nullptr, .problem = which, .details = std::move(details)};
}

std::string version_text(int version) {  // as CUDA counts: 13000
  return fmt::format("{}.{}", version / 1000, version % 1000 / 10);
}

// The few functions of libcuda.so.1 that this asks; null where the library or one of them is missing.
struct Driver {
  decltype(&::cuInit) init = nullptr;
  decltype(&::cuDriverGetVersion) version = nullptr;
  decltype(&::cuDeviceGetCount) count = nullptr;
  decltype(&::cuDeviceGet) device = nullptr;
  decltype(&::cuDeviceGetAttribute) attribute = nullptr;
  decltype(&::cuDeviceGetName) name = nullptr;
  decltype(&::cuGetErrorName) error_name = nullptr;
  std::string missing;  // why there is no driver
};

template <class Function>
void find(void* library, const char* name, Function& function, Driver& driver) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  if (!function) driver.missing = fmt::format("libcuda.so.1 has no {}", name);
}

// Stays loaded: the runtime loads it, too.
Driver load_driver() {
  Driver driver;
  void* const library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    const char* const why = dlerror();
    driver.missing = why ? why : "libcuda.so.1 does not load";
    return driver;
  }
  find(library, "cuInit", driver.init, driver);
  find(library, "cuDriverGetVersion", driver.version, driver);
  find(library, "cuDeviceGetCount", driver.count, driver);
  find(library, "cuDeviceGet", driver.device, driver);
  find(library, "cuDeviceGetAttribute", driver.attribute, driver);
  find(library, "cuDeviceGetName", driver.name, driver);
  find(library, "cuGetErrorName", driver.error_name, driver);
  return driver;
}

CudaBackend no_device() {
  const char* const visible = std::getenv("CUDA_VISIBLE_DEVICES");
  return problem(CudaProblem::no_device,
                 visible ? fmt::format("CUDA_VISIBLE_DEVICES is '{}'", visible) : std::string());
}

CudaBackend problem_of(const Driver& driver, CUresult status) {
  switch (status) {
    case CUDA_ERROR_NO_DEVICE:
      return no_device();
    case CUDA_ERROR_STUB_LIBRARY:
      return problem(CudaProblem::no_driver, "libcuda.so.1 is the toolkit's, for linking alone");
    case CUDA_ERROR_OUT_OF_MEMORY:
      return problem(CudaProblem::out_of_memory, {});
    default:
      break;
  }
  const char* name = nullptr;
  driver.error_name(status, &name);
  return problem(CudaProblem::other, fmt::format("the driver says {}", name ? name : "nothing of it"));
}

CudaBackend look_at_device(const Driver& driver, int index) {
  CUdevice device = 0;
  int major = 0, minor = 0;
  CUresult status = driver.device(&device, index);
  if (status == CUDA_SUCCESS)
    status = driver.attribute(&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device);
  if (status == CUDA_SUCCESS)
    status = driver.attribute(&minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, device);
  if (status != CUDA_SUCCESS) return problem_of(driver, status);
  if (major >= kLeastMajor) return {};
  char name[256] = "";
  driver.name(name, sizeof name, device);
  return problem(CudaProblem::device_too_old, fmt::format("{} has compute capability {}.{}, {}.0 is needed",
                                                          *name ? name : "it", major, minor, kLeastMajor));
}

}  // namespace

CudaBackend ask_driver(int device) {
  static const Driver driver = load_driver();
  if (!driver.missing.empty()) return problem(CudaProblem::no_driver, driver.missing);
  int version = 0, devices = 0;
  CUresult status = driver.version(&version);
  if (status != CUDA_SUCCESS) return problem_of(driver, status);
  if (version / 1000 < CUDART_VERSION / 1000)  // within a major version the runtime takes older ones
    return problem(CudaProblem::driver_too_old,
                   fmt::format("it knows CUDA {}, {} is needed", version_text(version),
                               version_text(CUDART_VERSION / 1000 * 1000)));
  status = driver.init(0);
  if (status == CUDA_SUCCESS) status = driver.count(&devices);
  if (status != CUDA_SUCCESS) return problem_of(driver, status);
  if (devices == 0) return no_device();
  if (device < 0 || device >= devices)
    return problem(CudaProblem::no_such_device,
                   devices == 1 ? "there is 1 GPU" : fmt::format("there are {} GPUs", devices));
  return look_at_device(driver, device);
}

}  // namespace eg4d::cuda
