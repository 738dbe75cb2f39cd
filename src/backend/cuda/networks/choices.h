#pragma once

// Which of several ways a library recommends is the fastest was measured once and is kept in a file, so that
// every run on the same card with the same libraries takes the same ways, and gives the same bits.

#include <filesystem>
#include <functional>
#include <map>
#include <string>

namespace eg4d::cuda {

class Choices {
 public:
  // Of the current GPU: in $EG4D_CUDA_CHOICES (empty: nowhere, and nothing is measured), else in the user's
  // cache.
  Choices();
  // In that file.
  explicit Choices(std::filesystem::path file);

  bool measures() const { return measures_; }
  // Less than `ways`: as the file says, or what `measure` returns, which the file says from then on. Where
  // there is too little memory to measure, the first, which nobody remembers.
  size_t choose(const std::string& what, size_t ways, const std::function<size_t()>& measure);
  // What was measured since the last time; where it cannot be written it is measured again next time.
  void save();

 private:
  void read();

  std::filesystem::path file_;
  bool measures_ = true, changed_ = false;
  std::map<std::string, size_t> known_;
};

}  // namespace eg4d::cuda
