#include "backend/cuda/networks/libraries.h"

#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <fmt/format.h>

#include <cstdlib>
#include <sstream>

#include "backend/backend.h"

namespace eg4d::cuda {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> listed(const char* variable) {
  std::vector<fs::path> folders;
  const char* const value = std::getenv(variable);
  std::istringstream list(value ? value : "");
  for (std::string folder; std::getline(list, folder, ':');)
    if (!folder.empty()) folders.emplace_back(folder);
  return folders;
}

// site-packages/nvidia of the environments whose programs the PATH names.
std::vector<fs::path> python_packages() {
  std::vector<fs::path> found;
  std::error_code error;
  for (const fs::path& programs : listed("PATH"))
    for (const auto& library : fs::directory_iterator(programs.parent_path() / "lib", error)) {
      if (!library.path().filename().string().starts_with("python3")) continue;
      const fs::path packages = library.path() / "site-packages" / "nvidia";
      if (fs::is_directory(packages, error)) found.push_back(packages);
    }
  return found;
}

void* open(const std::string& path) {
  return dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
}

void* open_below(const fs::path& folder, const std::string& file) {
  std::error_code error;
  for (const fs::path& place : detail::folders_below(folder))
    if (fs::exists(place / file, error))
      if (void* const handle = open((place / file).string())) return handle;
  return nullptr;
}

// Nothing when it is nowhere.
void* find(const std::string& file) {
  for (const fs::path& folder : listed("EG4D_CUDA_LIBRARIES"))
    if (void* const handle = open_below(folder, file)) return handle;
  if (void* const handle = open(file)) return handle;
  for (const fs::path& folder : python_packages())
    if (void* const handle = open_below(folder, file)) return handle;
  return open_below("/usr/local/cuda", file);
}

void* load(const std::string& library, const std::string& file) {
  if (void* const handle = find(file)) return handle;
  throw NotOnThisDevice(fmt::format(
      "networks on the GPU need {} ({}), which neither the system nor the Python environment has; install it "
      "(as PyTorch's packages nvidia-cublas and nvidia-cudnn do), name its folder by EG4D_CUDA_LIBRARIES, or "
      "use --device cpu",
      library, file));
}

template <class Function>
void look_up(void* handle, const std::string& library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(handle, name));
  if (!function) throw NotOnThisDevice(fmt::format("{} is too old: it has no function {}", library, name));
}

CublasLt load_cublaslt() {
  void* const handle =
      load(fmt::format("cuBLASLt {}", CUBLAS_VER_MAJOR), fmt::format("libcublasLt.so.{}", CUBLAS_VER_MAJOR));
  CublasLt library;
#define EG4D_LOOK_UP(name) look_up(handle, "cuBLASLt", #name, library.name);
  EG4D_CUBLASLT_FUNCTIONS(EG4D_LOOK_UP)
#undef EG4D_LOOK_UP
  return library;
}

Cudnn load_cudnn() {
  // What it opens itself, by name alone.
  cublaslt();
  find(fmt::format("libnvrtc.so.{}", CUDART_VERSION / 1000));
  void* const handle = load(fmt::format("cuDNN {}", CUDNN_MAJOR), fmt::format("libcudnn.so.{}", CUDNN_MAJOR));
  Cudnn library;
#define EG4D_LOOK_UP(name) look_up(handle, "cuDNN", #name, library.name);
  EG4D_CUDNN_FUNCTIONS(EG4D_LOOK_UP)
#undef EG4D_LOOK_UP
  return library;
}

}  // namespace

namespace detail {

std::vector<fs::path> folders_below(const fs::path& folder) {
  std::vector<fs::path> places{folder, folder / "lib", folder / "lib64"};
  for (const fs::path& packages : {folder, folder / "nvidia"})
    for (const char* package : {"cu13", "cublas", "cudnn", "cuda_nvrtc"})
      places.push_back(packages / package / "lib");
  return places;
}

}  // namespace detail

const CublasLt& cublaslt() {
  static const CublasLt library = load_cublaslt();
  return library;
}

const Cudnn& cudnn() {
  static const Cudnn library = load_cudnn();
  return library;
}

std::string describe_libraries() {
  std::string text;
  try {
    const size_t version = cublaslt().cublasLtGetVersion();
    text = fmt::format("cuBLASLt {}.{}.{}", version / 10000, version / 100 % 100, version % 100);
  } catch (const NotOnThisDevice&) {
    text = "no cuBLASLt";
  }
  try {
    const size_t version = cudnn().cudnnGetVersion();
    return text + fmt::format(", cuDNN {}.{}.{}", version / 10000, version / 100 % 100, version % 100);
  } catch (const NotOnThisDevice&) {
    return text + ", no cuDNN";
  }
}

}  // namespace eg4d::cuda
