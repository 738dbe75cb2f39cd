#include "app/model_options.h"

namespace eg4d {

void ModelOptions::declare(Arguments& arguments) {
  arguments.options.add("which", which_,
                        {{"auto", WhichModel::automatic},
                         {"refined", WhichModel::refined},
                         {"best", WhichModel::best},
                         {"last", WhichModel::last}},
                        "of the models in a run folder: of refine; best or last of reconstruct; auto: the "
                        "first of these that is there");
  arguments.options.add(
      "color_time", color_time_,
      "when colours are read: reference (one time for all frames), own (each frame's), or a "
      "time from 0 to 1; default: as the model was trained to be shown");
}

ModelChoice ModelOptions::choice() const {
  ModelChoice choice;
  choice.which = which_;
  set_color_time(choice, color_time_);
  return choice;
}

}  // namespace eg4d
