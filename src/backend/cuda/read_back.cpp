#include "backend/cuda/read_back.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "backend/cuda/check.h"
#include "core/threads.h"

namespace eg4d::cuda {
namespace {

constexpr size_t kPiece = size_t{8} << 20;
constexpr int64_t kPart = int64_t{1} << 19;  // what a thread copies at a time

constexpr const char* kDoing = "copying from it";

// New memory of the host is given page by page as it is written to, which takes longer than the copying.
void copy_with_threads(char* to, const char* from, size_t bytes) {
  parallel_for(static_cast<int64_t>(bytes), kPart, [&](int64_t begin, int64_t end) {
    std::memcpy(to + begin, from + begin, static_cast<size_t>(end - begin));
  });
}

}  // namespace

ReadBack::~ReadBack() {
  for (const Piece& piece : pieces_) {
    if (piece.arrived) cudaEventDestroy(piece.arrived);
    cudaFreeHost(piece.memory);
  }
}

// False where the host has no memory that can be locked.
bool ReadBack::prepare() {
  if (prepared_) return pieces_.back().arrived != nullptr;
  prepared_ = true;
  for (Piece& piece : pieces_) {
    if (cudaHostAlloc(&piece.memory, kPiece, cudaHostAllocDefault) != cudaSuccess ||
        cudaEventCreateWithFlags(&piece.arrived, cudaEventDisableTiming) != cudaSuccess) {
      cudaGetLastError();
      piece.arrived = nullptr;
      return false;
    }
  }
  return true;
}

void ReadBack::copy_in_pieces(char* host, const char* device, size_t bytes) {
  const auto size_of = [&](size_t begin) { return std::min(kPiece, bytes - begin); };
  const auto order = [&](size_t begin) {
    const Piece& piece = pieces_[begin / kPiece % 2];
    check(cudaMemcpyAsync(piece.memory, device + begin, size_of(begin), cudaMemcpyDeviceToHost, stream_),
          kDoing);
    check(cudaEventRecord(piece.arrived, stream_), kDoing);
  };
  order(0);
  for (size_t begin = 0; begin < bytes; begin += kPiece) {
    if (begin + kPiece < bytes) order(begin + kPiece);
    const Piece& piece = pieces_[begin / kPiece % 2];
    check(cudaEventSynchronize(piece.arrived), "working");
    copy_with_threads(host + begin, static_cast<const char*>(piece.memory), size_of(begin));
  }
}

void ReadBack::copy(void* host, const void* device, size_t bytes) {
  if (bytes > 0 && prepare()) {
    copy_in_pieces(static_cast<char*>(host), static_cast<const char*>(device), bytes);
    return;
  }
  if (bytes > 0) check(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, stream_), kDoing);
  check(cudaStreamSynchronize(stream_), "working");
}

}  // namespace eg4d::cuda
