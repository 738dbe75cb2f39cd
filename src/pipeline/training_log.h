#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "core/progress.h"
#include "io/tfevents.h"
#include "splat/evaluation.h"

namespace eg4d {

// What a training run writes down: log.jsonl (one JSON object per line) and TensorBoard events in the same
// folder. A resumed run drops what lies behind its checkpoint, so that both read as those of an uninterrupted
// run.
class TrainingLog {
 public:
  // `done`: iterations that the checkpoint has; later records are dropped.
  TrainingLog(const std::filesystem::path& folder, int64_t done);

  // The figures become fields of the line, and scalars "train/<name>".
  void step(int64_t iteration, const char* stage, const std::vector<Figure>& figures);
  // `record`: the evaluation as a JSON object; `picture`: rendered beside truth.
  void evaluation(int64_t iteration, const std::string& record, const EvaluationMetrics& metrics,
                  const Picture& picture);
  void flush();

 private:
  std::ofstream file_;
  EventWriter events_;
};

}  // namespace eg4d
