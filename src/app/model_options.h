#pragma once

#include <string>

#include "app/command.h"
#include "pipeline/open_model.h"

namespace eg4d {

// The options of every command that shows a model: which of a run's models, and when its colours are read.
class ModelOptions {
 public:
  void declare(Arguments& arguments);
  ModelChoice choice() const;  // throws UsageError

 private:
  WhichModel which_ = WhichModel::automatic;
  std::string color_time_;
};

}  // namespace eg4d
