#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "io/image.h"
#include "pipeline/evaluate.h"

namespace eg4d {

// A page that shows an evaluation: means, curves over time, truth, render and error of some pictures, and
// every picture's figures. One file that needs no network.
class EvaluationReport {
 public:
  // Of so many pictures, at most kShown are shown, evenly chosen.
  static constexpr size_t kShown = 32;
  explicit EvaluationReport(size_t pictures);

  bool shows(size_t picture) const;
  // RGB pictures of one size.
  void add(size_t picture, const Picture& render, const Picture& truth);
  // Atomic. Throws Error.
  void write(const std::filesystem::path& path, const EvaluateResult& result, const std::string& split) const;

 private:
  struct Shown {
    std::string truth, render, error;  // data: addresses
  };
  std::vector<bool> chosen_;
  std::vector<Shown> shown_;
};

// How far two RGB pictures of one size are apart: the mean over the channels of |a - b|, from black (0) over
// red and yellow to white (64 levels of 255 or more).
Picture error_map(const Picture& a, const Picture& b);

}  // namespace eg4d
