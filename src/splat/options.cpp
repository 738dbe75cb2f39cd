#include "splat/options.h"

#include "core/config.h"

namespace eg4d {

void ReconstructOptions::bind(ConfigSchema& s) {
  constexpr double kMany = 1e9;
  s.add("seed", seed, {0, 1e15}, "random seed; the same seed gives the same model, bit for bit");

  s.add("data.background", data.background, {{"white", Background::white}, {"black", Background::black}},
        "what transparent pixels are composited on, and the renderer's background");
  s.add("data.swapped_fov", data.swapped_fov,
        "derive the vertical field of view with width and height exchanged, as the published code does; no "
        "effect on square pictures; false is right for others");
  s.add("data.test_split", data.test_split, "split evaluated while training");
  s.add(
      "data.train_on_test", data.train_on_test,
      "the test split's pictures are trained on, too: for a final object; figures then are of pictures that "
      "were seen");
  s.add(
      "data.random_background", data.random_background,
      "behind transparent pictures and their renders lies another colour in every iteration, so that opacity "
      "has to be right; evaluation keeps data.background");

  s.add("start.points", start.points,
        {{"auto", StartPoints::automatic},
         {"random", StartPoints::random},
         {"file", StartPoints::file},
         {"silhouette", StartPoints::silhouette}},
        "first Gaussians: points3d.ply when there is one (auto, file), uniform noise (random), or the visual "
        "hull of the pictures' silhouettes (silhouette)");
  s.add("start.count", start.count, {1, 1e7}, "number of first Gaussians (random, silhouette)");
  s.add("start.half_width", start.half_width, {1e-3, 1e3}, "half the side of the cube that holds the object");
  s.add("start.opacity", start.opacity, {1e-4, 0.999}, "opacity of the first Gaussians");
  s.add("start.scale", start.scale, {1e-3, 10}, "factor on the first Gaussians' size");

  s.add("gaussian.sh_degree", gaussian.sh_degree, {0, 3}, "highest degree of the spherical harmonics");
  s.add("gaussian.sh_interval", gaussian.sh_interval, {1, kMany}, "iterations until the degree grows by one");
  s.add("gaussian.flat", gaussian.flat, "surfels: two scales instead of three (gs2d)");

  s.add("gaussian.sh_direction", gaussian.sh_direction,
        {{"canonical", ShDirection::canonical}, {"deformed", ShDirection::deformed}},
        "colours are seen in the direction of a Gaussian's place before the deformation, as published, or of "
        "where it is (convert_SHs_python off; then without deformation.color)");

  s.add("hexplane.channels", hexplane.channels, {1, 256}, "features per plane");
  s.add("hexplane.resolution", hexplane.resolution, {2, 4096}, "texels per spatial axis at the first level");
  s.add("hexplane.levels", hexplane.levels, {1, 64}, "resolution multipliers, one per level");
  s.add("hexplane.time_resolution", hexplane.time_resolution, {1, 4096},
        "texels of the time axis at every level");
  s.add("hexplane.full_time_axis", hexplane.full_time_axis,
        "map time [0,1] to the whole time axis; the published code uses its upper half only");
  s.add("hexplane.train_box", hexplane.train_box, "the bounding box is a trainable parameter, as published");

  s.add("deformation.width", deformation.width, {1, 4096}, "neurons per layer");
  s.add("deformation.depth", deformation.depth, {1, 16}, "layers before the heads");
  s.add("deformation.scale", deformation.scale, "Gaussians change their size with time");
  s.add("deformation.rotation", deformation.rotation, "Gaussians turn with time");
  s.add("deformation.opacity", deformation.opacity,
        "use the predicted change of opacity; the published renderer computes and ignores it");
  s.add("deformation.color", deformation.color, "per-Gaussian colour gain and bias that depend on time");
  s.add("deformation.reference_time", deformation.reference_time, {0, 1},
        "time at which the colour of a model is read");
  s.add("deformation.color_time", deformation.color_time,
        {{"reference", ColorTime::reference}, {"own", ColorTime::own}},
        "time of the colour head when rendering for use: the reference time (flicker is not replayed) or the "
        "frame's own (pictures whose shading really changes)");
  s.add("deformation.zero_start", deformation.zero_start,
        "the heads start at zero change, so that the fine stage begins where the coarse one ended; "
        "published: Xavier");

  s.add("schedule.coarse_iterations", schedule.coarse_iterations, {0, kMany},
        "iterations without deformation");
  s.add("schedule.coarse_time", schedule.coarse_time, {-1, 1},
        "the coarse stage sees only the pictures nearest to this time, which then is the canonical pose; -1: "
        "all times, as published");
  s.add("schedule.fine_iterations", schedule.fine_iterations, {0, kMany}, "iterations with deformation");
  s.add("schedule.views", schedule.views, {1, 1024}, "pictures per iteration, all of one time");
  s.add(
      "schedule.replacement", schedule.replacement,
      "pictures are drawn anew in every iteration, so that one may come again before all others came; false: "
      "epochs that see each picture once");
  s.add("schedule.random_resolution", schedule.random_resolution,
        "train at 1/1, 1/2, 1/3 or 1/4 of the picture size at random");
  s.add("schedule.full_resolution_from", schedule.full_resolution_from, {-1, kMany},
        "fine iteration from which pictures keep their full size; -1: never forced");
  s.add("schedule.evaluate_interval", schedule.evaluate_interval, {1, kMany},
        "iterations between evaluations");
  s.add("schedule.skip_last_update", schedule.skip_last_update,
        "the optimiser does not step in the last fine iteration, as in the published code");
  s.add("schedule.average_from", schedule.average_from, {-1, kMany},
        "fine iteration from which the model is the running mean of the parameters; -1: the last parameters");

  s.add("rate.position", rate.position, {0, 10}, "first learning rate of positions, × scene extent");
  s.add("rate.position_final", rate.position_final, {0, 10},
        "last learning rate of positions, × scene extent");
  s.add("rate.network", rate.network, {0, 10},
        "first learning rate of the deformation network, × scene extent");
  s.add("rate.network_final", rate.network_final, {0, 10}, "last one");
  s.add("rate.grid", rate.grid, {0, 10}, "first learning rate of the hexplane and its box, × scene extent");
  s.add("rate.grid_final", rate.grid_final, {0, 10}, "last one");
  s.add("rate.steps", rate.steps, {1, kMany}, "iterations of the log-linear decay, in each stage");
  s.add("rate.sh_dc", rate.sh_dc, {0, 10}, "learning rate of the base colour");
  s.add("rate.sh_rest_divisor", rate.sh_rest_divisor, {1e-3, 1e6}, "higher harmonics learn this much slower");
  s.add("rate.opacity", rate.opacity, {0, 10}, "learning rate of opacity logits");
  s.add("rate.scale", rate.scale, {0, 10}, "learning rate of log-scales");
  s.add("rate.rotation", rate.rotation, {0, 10}, "learning rate of quaternions");
  s.add("rate.final_factor", rate.final_factor, {1e-6, 1},
        "colour, opacity, scale and rotation rates decay to this share over rate.steps; 1: constant, as "
        "published");

  s.add("loss.dssim", loss.dssim, {0, 1}, "weight of 1-SSIM beside L1");
  s.add("loss.lpips", loss.lpips, {0, 100},
        "weight of LPIPS beside L1; needs AlexNet's and LPIPS' weights (eg4d models list)");

  s.add("regularization.plane_smoothness", regularization.plane_smoothness, {0, kMany},
        "squared second difference along rows of the space planes");
  s.add("regularization.time_smoothness", regularization.time_smoothness, {0, kMany},
        "squared second difference along time");
  s.add("regularization.time_l1", regularization.time_l1, {0, kMany}, "distance of the time planes from 1");

  s.add("density.from", density.from, {0, kMany}, "first iteration of density control");
  s.add("density.until", density.until, {0, kMany}, "iteration that ends it");
  s.add("density.interval", density.interval, {1, kMany}, "iterations between clone and split");
  s.add("density.gradient", density.gradient, {0, kMany},
        "mean screen-space gradient that asks for more Gaussians");
  s.add("density.gradient_coarse", density.gradient_coarse, {-1, kMany},
        "the same in the coarse stage; -1: density.gradient");
  s.add("density.gradient_after", density.gradient_after, {-1, kMany},
        "what density.gradient becomes, evenly, until density.until in the fine stage; -1: it stays");
  s.add("density.dense_scale", density.dense_scale, {0, 10},
        "× scene extent: smaller ones are cloned, larger ones split");
  s.add("density.max_gaussians", density.max_gaussians, {0, 1e8},
        "no new Gaussians from this number on; 0: no limit, as published");
  s.add("density.prune_interval", density.prune_interval, {1, kMany}, "iterations between prunings");
  s.add("density.prune_from", density.prune_from, {-1, kMany},
        "iteration after which pruning starts; -1: density.from");
  s.add("density.prune_opacity", density.prune_opacity, {0, 1}, "Gaussians below this opacity are removed");
  s.add("density.prune_opacity_coarse", density.prune_opacity_coarse, {-1, 1},
        "the same in the coarse stage; -1: density.prune_opacity");
  s.add("density.prune_opacity_after", density.prune_opacity_after, {-1, 1},
        "what density.prune_opacity becomes, evenly, until density.until in the fine stage; -1: it stays");
  s.add("density.prune_radius", density.prune_radius, {0, kMany}, "pixels: larger ones are removed");
  s.add("density.prune_scale", density.prune_scale, {0, kMany}, "× scene extent: larger ones are removed");
  s.add("density.prune_size_from", density.prune_size_from, {0, kMany},
        "iteration after which sizes count in pruning");
  s.add("density.reset_interval", density.reset_interval, {0, kMany},
        "iterations between opacity resets; 0: never");
  s.add("density.reset_until", density.reset_until, {0, kMany}, "no resets from this iteration on");
  s.add("density.reset_at_start", density.reset_at_start, "also reset at density.from on a white background");
  s.add("density.reset_opacity", density.reset_opacity, {1e-4, 1}, "opacity after a reset, at most");
  s.add("density.error", density.error, {0, kMany},
        "fine stage: pixels times their absolute error (0 to 1) that a Gaussian makes in a picture, on "
        "average; "
        "with less it does not grow; 0: not asked, as published");
  s.add("density.prune_weight", density.prune_weight, {0, kMany},
        "fine stage: pixels that a Gaussian makes in a picture, on average; with fewer it is removed; 0: not "
        "asked, as published");
  s.add("density.measured", density.measured, {1, kMany},
        "iterations before an event whose pictures say what a Gaussian is worth (density.error, "
        "density.prune_weight)");
  s.add("density.after_update", density.after_update,
        "control density after the optimiser's step; the published code does it before and so loses the step "
        "of the tensors it replaced");

  s.add("checkpoint.interval", checkpoint.interval, {0, kMany},
        "iterations between checkpoints; 0: by time only");
  s.add("checkpoint.seconds", checkpoint.seconds, {0, kMany}, "seconds between checkpoints");
  s.add("checkpoint.models", checkpoint.models, {1, kMany},
        "fine iterations after which the model is kept as coarse/iteration_N.safetensors (--iteration N)");
}

}  // namespace eg4d
