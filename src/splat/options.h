#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace eg4d {

class ConfigSchema;

// Where the first Gaussians come from.
enum class StartPoints {
  automatic,   // points3d.ply when the dataset has one, otherwise random
  random,      // uniform in a cube, grey
  file,        // points3d.ply of the dataset
  silhouette,  // points of the visual hull over all times, coloured by the pictures
};

enum class Background { white, black };

// From where a Gaussian is looked at when its spherical harmonics give its colour.
enum class ShDirection {
  canonical,  // from its place before the deformation (published)
  deformed,   // from where it is: what viewers of plain Gaussians do
};

// At which time the colour head (and the opacity head) is evaluated when a model is rendered for use.
enum class ColorTime {
  reference,  // always at deformation.reference_time: lighting flicker learned per frame is not replayed
              // (published)
  own,        // at the frame's own time: for consistent pictures, whose shading really changes
};

// Every hyper-parameter of Stage II. The defaults are the published ones (preset `paper`), quirks included;
// docs/options.md lists them with their meaning, docs/presets.md what the other presets change and why.
struct ReconstructOptions {
  uint64_t seed = 0;

  struct Data {
    Background background = Background::white;
    bool swapped_fov = true;  // quirk: vertical field of view with width and height exchanged
    std::string test_split = "test";
    bool train_on_test = false;      // the test split's pictures are trained on, too
    bool random_background = false;  // another colour behind picture and render in every iteration
  } data;

  struct Start {
    StartPoints points = StartPoints::automatic;
    int count = 2000;
    float half_width = 1.3f;  // of the random cube and the hull's search volume, scene units
    float opacity = 0.1f;
    float scale = 1.0f;  // factor on the first scales
  } start;

  struct Gaussian {
    int sh_degree = 3;
    int sh_interval = 1000;  // iterations per degree
    bool flat = false;       // two scales instead of three (gs2d)
    ShDirection sh_direction = ShDirection::canonical;
  } gaussian;

  struct HexPlane {
    int channels = 32;
    int resolution = 64;                  // spatial texels of the first level
    std::vector<int> levels{1, 2, 4, 8};  // multiples of it
    int time_resolution = 25;             // of every level
    bool full_time_axis =
        false;  // quirk off: time [0,1] mapped to [-1,1]; published: only the upper half is used
    bool train_box = true;
  } hexplane;

  struct Deformation {
    int width = 256;
    int depth = 2;         // linear layers of the trunk
    bool scale = true;     // Gaussians change their size
    bool rotation = true;  // and turn
    bool opacity = false;  // use Δopacity; the published renderer computes and ignores it
    bool color = true;     // per-Gaussian gain and bias
    float reference_time = 0;
    ColorTime color_time = ColorTime::reference;
    bool zero_start =
        false;  // heads' last layers start at 0: the fine stage begins where the coarse one ended
  } deformation;

  struct Schedule {
    int coarse_iterations = 6000;  // without deformation
    float coarse_time =
        -1;  // the coarse stage sees only pictures nearest to this time; -1: all, as published
    int fine_iterations = 30000;
    int views = 1;                  // pictures per iteration, all of one time
    bool replacement = false;       // drawn anew in every iteration, instead of epochs that see each once
    bool random_resolution = true;  // 1/1, 1/2, 1/3 or 1/4 of the size at random
    int full_resolution_from =
        -1;  // fine iteration from which every picture has its full size; -1: never forced
    int evaluate_interval = 500;
    bool skip_last_update = true;  // quirk: the last fine iteration leaves the parameters as they are
    int average_from =
        -1;  // fine iteration from which the Gaussians' and field's running mean is kept; -1: none
  } schedule;

  struct LearningRate {
    float position = 1.6e-4f, position_final = 1.6e-6f;  // × extent
    float network = 1.6e-4f, network_final = 1.6e-6f;    // × extent
    float grid = 1.6e-3f, grid_final = 1.6e-5f;          // × extent; also the box
    int steps = 20000;                                   // of the log-linear decay, per stage
    float sh_dc = 2.5e-3f;
    float sh_rest_divisor = 20;
    float opacity = 0.05f;
    float scale = 5e-3f;
    float rotation = 1e-3f;
    float final_factor =
        1;  // colours, opacity, scale and rotation decay to this share of their rate over `steps`
  } rate;

  struct Loss {
    float dssim = 0;  // weight of 1-SSIM
    float lpips = 0;  // weight of LPIPS (AlexNet)
  } loss;

  // Effective weights: the published call swaps two of them, see docs/options.md.
  struct Regularization {
    float plane_smoothness = 0.001f;
    float time_smoothness = 0.001f;
    float time_l1 = 0.0002f;
  } regularization;

  struct Density {
    int from = 500;
    int until = 15000;
    int interval = 100;
    float gradient = 2e-4f;  // screen-space gradient that asks for more Gaussians, normalised device units
    float gradient_coarse = -1;  // the same in the coarse stage; -1: no difference
    float gradient_after = -1;   // what it has become, evenly, at `until` in the fine stage; -1: it stays
    float dense_scale = 0.01f;   // × extent: clone below, split above
    int max_gaussians = 0;       // no new ones from this number on; 0: no limit
    int prune_interval = 8000;
    int prune_from = -1;  // first iteration of pruning; -1: `from`
    float prune_opacity = 0.005f;
    float prune_opacity_coarse = -1, prune_opacity_after = -1;  // as with `gradient`
    float prune_radius = 20;                                    // pixels
    float prune_scale = 0.1f;                                   // × extent
    int prune_size_from = 3000;  // iteration after which radius and scale count
    int reset_interval = 3000;   // opacity reset; 0 = never
    int reset_until = 15000;     // no resets from here on
    bool reset_at_start = true;  // also at `from` on a white background
    float reset_opacity = 0.01f;
    // What a Gaussian is worth in the fine stage, by its share in the pixels of the pictures of the last
    // `measured` iterations before an event, as means over these pictures; 0: not asked.
    float error = 0;         // pixels × absolute error that it makes: fewer, and it does not grow
    float prune_weight = 0;  // pixels that it makes: fewer, and it is removed
    int measured = 20;
    bool after_update = false;  // quirk off: control after Adam's step, so that no step is lost
  } density;

  struct Checkpoint {
    int interval = 0;           // iterations; 0: by time only
    float seconds = 30;         // between two checkpoints
    std::vector<int> models{};  // fine iterations whose models are kept (numbered_model_name)
  } checkpoint;

  void bind(ConfigSchema& schema);
};

}  // namespace eg4d
