#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <string>
#include <vector>

#include "core/progress.h"
#include "io/background_writer.h"
#include "io/tfevents.h"
#include "splat/evaluation.h"

namespace eg4d {

// What a training run writes down: log.jsonl (one JSON object per line) and TensorBoard events in the same
// folder. A resumed run drops what lies behind its checkpoint, so that both read as those of an uninterrupted
// run. Curves that the Python program has too stand there under its tags as well ("fine/total_points"), so
// that runs of both lie over one another.
class TrainingLog {
 public:
  // `done`: iterations that the checkpoint has; later records are dropped.
  TrainingLog(const std::filesystem::path& folder, int64_t done);

  // The figures become fields of the line, and scalars "train/<name>".
  void step(int64_t iteration, const char* stage, const std::vector<Figure>& figures);
  // `record`: the evaluation as a JSON object; `picture`: rendered beside truth. The picture is encoded and
  // added beside the iterations that follow.
  void evaluation(int64_t iteration, const std::string& record, const EvaluationMetrics& metrics,
                  Picture picture);
  void flush();  // with all pictures

 private:
  void add_scalar(const std::string& tag, double value, int64_t iteration);
  void flush_lines();

  std::ofstream file_;
  std::string stage_;  // of the last step
  std::mutex events_mutex_;
  EventWriter events_;
  BackgroundWriter pictures_{{}};  // last: it adds to the events
};

}  // namespace eg4d
