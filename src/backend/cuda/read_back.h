#pragma once

#include <cuda_runtime_api.h>

#include <array>
#include <cstddef>

namespace eg4d::cuda {

// Copies to the host through page-locked memory, piece by piece: a GPU writes to it several times faster than
// to other memory, and threads copy one piece on while the next one comes.
class ReadBack {
 public:
  explicit ReadBack(cudaStream_t stream) : stream_(stream) {}
  ~ReadBack();
  ReadBack(const ReadBack&) = delete;
  ReadBack& operator=(const ReadBack&) = delete;

  // Filled when it returns; waits for all work of the stream.
  void copy(void* host, const void* device, size_t bytes);

 private:
  struct Piece {
    void* memory = nullptr;
    cudaEvent_t arrived = nullptr;
  };
  bool prepare();
  void copy_in_pieces(char* host, const char* device, size_t bytes);

  cudaStream_t stream_;
  bool prepared_ = false;
  std::array<Piece, 2> pieces_;
};

}  // namespace eg4d::cuda
