#include "app/model_options.h"

namespace eg4d {

void ModelOptions::declare(Arguments& arguments) {
  arguments.options.add("which", which_,
                        {{"auto", WhichModel::automatic},
                         {"refined", WhichModel::refined},
                         {"best", WhichModel::best},
                         {"last", WhichModel::last}},
                        "a run's model: refined, best or last of reconstruct; auto: the first that is there");
  arguments.options.add("iteration", iteration_, {-1, 1e15},
                        "the model that a folder has of this iteration; -1: as --which says");
  arguments.options.add(
      "color_time", color_time_,
      "when colours are read: reference, own (each frame's time), or 0 to 1; default: what the model says");
  arguments.options.add(
      "model_up", up_,
      {{"auto", UpAxis::automatic}, {"-y", UpAxis::minus_y}, {"y", UpAxis::y}, {"z", UpAxis::z}},
      "where up is in a file of Gaussians (.ply, .splat, .spz, .sog); auto: as its format means");
}

ModelChoice ModelOptions::choice() const {
  ModelChoice choice;
  choice.which = which_;
  if (iteration_ >= 0) choice.iteration = iteration_;
  choice.up = up_;
  set_color_time(choice, color_time_);
  return choice;
}

}  // namespace eg4d
