#pragma once

#include <cstdint>
#include <vector>

#include "nn/tensor.h"

namespace eg4d {

// Rows in device memory, for operations that take them one after the other.
class InputRows {
 public:
  InputRows() = default;
  InputRows(Backend& backend, int64_t count);  // not yet written
  InputRows(Backend& backend, const std::vector<IterationInputs>& rows);

  int64_t count() const { return count_; }
  void copy_from_host(const std::vector<IterationInputs>& rows);  // at most count()
  // Device memory.
  IterationInputs* operator[](int64_t row) const {
    return static_cast<IterationInputs*>(memory_.raw()) + row;
  }

 private:
  int64_t count_ = 0;
  Tensor memory_;
};

// The rows of the iterations to come: uploaded many at a time, then taken by an operation, so that a recorded
// iteration always finds its own at now().
class InputTable {
 public:
  // `room`: rows in one upload. At most `together` are taken at a time.
  InputTable(Backend& backend, int64_t room, int64_t together);

  // What was not taken yet is forgotten.
  void upload(const std::vector<IterationInputs>& rows);
  NextInputs next(int64_t count) const;
  IterationInputs* now(int64_t row = 0) const { return now_[row]; }
  int64_t room() const { return table_.count(); }

 private:
  InputRows table_, now_;
  Tensor next_;  // [1] int64
};

}  // namespace eg4d
