#pragma once

#include <cstddef>

namespace eg4d::cuda {

// What the driver takes of a GPU for this process before anything is allocated: the difference that making
// the context makes in what is taken of the GPU, as the driver's library for management (NVML) tells it,
// which needs no context to be asked.
class ContextMemory {
 public:
  // Before the context is made. `exactly`: asks that library, which takes some ten milliseconds; otherwise,
  // and where it is missing, it is an estimate.
  ContextMemory(int device, bool exactly);
  // Once it is made and current.
  size_t bytes() const;

 private:
  int device_;
  size_t before_ = 0;  // taken of the GPU, by everybody; 0: not known
};

}  // namespace eg4d::cuda
