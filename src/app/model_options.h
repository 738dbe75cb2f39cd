#pragma once

#include <cstdint>
#include <string>

#include "app/command.h"
#include "pipeline/open_model.h"

namespace eg4d {

// The options of every command that shows a model: which of a run's models, when its colours are read, and
// where up is in a file that does not tell.
class ModelOptions {
 public:
  void declare(Arguments& arguments);
  ModelChoice choice() const;  // throws UsageError

 private:
  WhichModel which_ = WhichModel::automatic;
  int64_t iteration_ = -1;
  std::string color_time_;
  UpAxis up_ = UpAxis::automatic;
};

}  // namespace eg4d
