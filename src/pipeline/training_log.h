#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

namespace eg4d {

// log.jsonl of a training run: one JSON object per line. A resumed run drops the lines behind its checkpoint,
// so that the file reads as that of an uninterrupted run.
class TrainingLog {
 public:
  // `done`: iterations that the checkpoint has; later lines are dropped.
  TrainingLog(const std::filesystem::path& folder, int64_t done);

  void step(int64_t iteration, const char* stage, double l1, double psnr, int64_t gaussians);
  // `record`: a JSON object.
  void evaluation(int64_t iteration, const std::string& record, double psnr, double ssim, double l1);
  void flush();

 private:
  std::ofstream file_;
};

}  // namespace eg4d
