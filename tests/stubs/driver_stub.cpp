// A stand-in for NVIDIA's driver, libcuda.so.1: what the library asks it before CUDA's runtime is touched.
// $EG4D_STUB_DRIVER gives version (13000 for 13.0), what cuInit returns, number of GPUs, and their compute
// capability: "13000 0 1 7 5".
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

constexpr int kMajorAttribute = 75, kMinorAttribute = 76;  // as in cuda.h

struct Answers {
  int version = 0, init = 0, devices = 0, major = 0, minor = 0;
};
Answers answers() {
  Answers a;
  if (const char* text = std::getenv("EG4D_STUB_DRIVER"))
    std::sscanf(text, "%d %d %d %d %d", &a.version, &a.init, &a.devices, &a.major, &a.minor);
  return a;
}

}  // namespace

extern "C" {
int cuInit(unsigned) {
  return answers().init;
}
int cuDriverGetVersion(int* version) {
  *version = answers().version;
  return 0;
}
int cuDeviceGetCount(int* count) {
  *count = answers().devices;
  return 0;
}
int cuDeviceGet(int* device, int index) {
  *device = index;
  return 0;
}
int cuDeviceGetAttribute(int* value, int attribute, int) {
  *value = attribute == kMajorAttribute   ? answers().major
           : attribute == kMinorAttribute ? answers().minor
                                          : 0;
  return 0;
}
int cuDeviceGetName(char* name, int size, int) {
  std::strncpy(name, "GeForce of the stub", static_cast<size_t>(size));
  return 0;
}
int cuGetErrorName(int, const char** name) {
  *name = "CUDA_ERROR_OF_THE_STUB";
  return 0;
}
}
