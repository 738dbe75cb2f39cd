#include "backend/cuda/networks/choices.h"

#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <cctype>
#include <cstdlib>
#include <fstream>

#include "backend/cuda/networks/libraries.h"
#include "core/error.h"
#include "io/atomic_file.h"

namespace eg4d::cuda {
namespace {

namespace fs = std::filesystem;

fs::path cache_folder() {
  if (const char* const cache = std::getenv("XDG_CACHE_HOME"); cache && *cache) return cache;
  if (const char* const home = std::getenv("HOME"); home && *home) return fs::path(home) / ".cache";
  return {};
}

// Letters and digits of the card's name and the libraries' versions.
std::string name_of_file() {
  int device = 0;
  cudaDeviceProp card{};
  if (cudaGetDevice(&device) == cudaSuccess) cudaGetDeviceProperties(&card, device);
  std::string name = fmt::format("{}, {}", card.name, describe_libraries());
  for (char& letter : name)
    if (!std::isalnum(static_cast<unsigned char>(letter)) && letter != '.') letter = '-';
  return name + ".txt";
}

}  // namespace

Choices::Choices() {
  const char* const given = std::getenv("EG4D_CUDA_CHOICES");
  measures_ = !given || *given;
  if (!measures_) return;
  const fs::path cache = cache_folder();
  if (given)
    file_ = given;
  else if (!cache.empty())
    file_ = cache / "eg4d" / "gpu" / name_of_file();
  read();
}

Choices::Choices(fs::path file) : file_(std::move(file)) {
  read();
}

// Lines "2 convolution …". What is no such line is left out.
void Choices::read() {
  std::ifstream stream(file_);
  size_t way = 0;
  for (std::string what; stream >> way && stream.get() == ' ' && std::getline(stream, what);)
    known_[what] = way;
}

size_t Choices::choose(const std::string& what, size_t ways, const std::function<size_t()>& measure) {
  if (const auto found = known_.find(what); found != known_.end() && found->second < ways)
    return found->second;
  try {
    const size_t way = measure();
    known_[what] = way;
    changed_ = true;
    return way;
  } catch (const OutOfMemory&) {
    return 0;
  }
}

void Choices::save() {
  if (!changed_) return;
  changed_ = false;
  if (file_.empty()) return;
  std::string text;
  for (const auto& [what, way] : known_) text += fmt::format("{} {}\n", way, what);
  std::error_code error;
  fs::create_directories(file_.parent_path(), error);
  try {
    write_file_atomically(file_, text, Durable::no);
  } catch (const Error&) {
  }
}

}  // namespace eg4d::cuda
