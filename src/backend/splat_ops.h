#pragma once

// Device work of Stage II; density control has density_ops.h. All pointers are device memory, arrays are
// dense and row-major, floats are f32. N = Gaussians, H×W = image, images are channels-last [H,W,3]. N = 0 is
// allowed everywhere.
//
// Names of gradients: d_x is the derivative of the loss with respect to x. One rule: backward operations ADD
// to the gradients they are given (the caller zero-fills once per iteration; several views may accumulate),
// and a null gradient pointer is skipped. The two that begin and end the chain are exceptions, named in their
// structures: ImageLoss overwrites d_image, the optimisers leave zeros behind.
//
// What changes from one iteration to the next while everything else stays lies in device memory
// (IterationInputs), so that a recorded iteration can be done again with other values. Sizes that decide how
// much work there is (N, the rendered width and height, the degree, which outputs are wanted) are members: an
// iteration of other sizes is another recording.

#include <cstdint>
#include <utility>
#include <vector>

namespace eg4d {

// ---------------------------------------------------------------- what changes between iterations

// World → view → clip, row-vector convention as in 3D Gaussian splatting: p_view = [p 1]·world_to_view.
struct RasterizeCamera {
  float tan_fov_x = 0, tan_fov_y = 0;  // tangent of half the field of view
  float world_to_view[16] = {};        // row-major 4×4
  float full_projection[16] = {};      // world_to_view · projection
  float center[3] = {};                // of the camera, in the world
  float background[3] = {};
};

// An 8-bit picture in device memory.
struct SourcePicture {
  const uint8_t* pixels = nullptr;  // [height,width,3]
  int32_t width = 0, height = 0;
};

// What one Adam step takes of learning rate and step count, formed in double and rounded once, as PyTorch
// does: learning_rate/(1-beta1^step) and 1/√(1-beta2^step).
struct AdamRate {
  float step_size = 0, root_scale = 0;
};
AdamRate adam_rate(double learning_rate, int64_t step, double beta1 = 0.9,
                   double beta2 = 0.999);  // step: 1 for the first

// One row of values in device memory for one rendered picture; operations take pointers to its members. An
// iteration of several pictures has a row for each, whose times and rates are the same.
struct IterationInputs {
  static constexpr int kMostRates = 9;  // parameter tensors

  RasterizeCamera camera;
  SourcePicture picture;            // what the rendered one is compared with
  float time = 0;                   // where the hexplane is sampled, a coordinate in [-1,1]
  float color_time = 0;             // where it is sampled for the colour and opacity heads
  AdamRate rates[kMostRates] = {};  // which is which the trainer decides
};

// Goes on to the next rows of a list: to[k] = rows[*next + k] for k < count, then *next += count. The caller
// sees to it that there are as many.
struct NextInputs {
  const IterationInputs* rows = nullptr;
  int64_t* next = nullptr;
  IterationInputs* to = nullptr;
  int64_t count = 1;
};

// ---------------------------------------------------------------- rasteriser

// What a forward pass leaves for its backward pass (tile lists, final transmittance, …). One context serves
// one forward/backward pair at a time and keeps its memory between uses. The backend must outlive it.
class RasterizeContext {
 public:
  virtual ~RasterizeContext() = default;
  // Makes room for that many Gaussians and so large pictures, so that operations need not; only the lists of
  // Gaussian-tile pairs, whose number nobody knows before, may still grow in them.
  virtual void reserve(int64_t count, int width, int height) = 0;
};

struct RasterizeForward {
  const RasterizeCamera* camera = nullptr;
  int width = 0, height = 0;            // pixels
  int64_t count = 0;                    // N
  const float* means = nullptr;         // [N,3] world
  const float* scales = nullptr;        // [N,3] > 0
  const float* rotations = nullptr;     // [N,4] unit quaternions w,x,y,z; not normalised here
  const float* opacities = nullptr;     // [N] in (0,1)
  const float* colors = nullptr;        // [N,3]
  float* image = nullptr;               // [H,W,3]
  float* depth = nullptr;               // [H,W] sum of weight·view z, or null
  float* alpha = nullptr;               // [H,W] 1 - final transmittance, or null
  int32_t* radii = nullptr;             // [N] pixels, 0 = not visible; or null
  RasterizeContext* context = nullptr;  // from create_rasterize_context
};

struct RasterizeBackward {
  RasterizeForward forward;        // the arguments of the forward pass that filled the context
  const float* d_image = nullptr;  // [H,W,3]
  float* d_means = nullptr;        // [N,3]
  float* d_scales = nullptr;       // [N,3]
  float* d_rotations = nullptr;    // [N,4]
  float* d_opacities = nullptr;    // [N]
  float* d_colors = nullptr;       // [N,3]
  float* d_means_ndc =
      nullptr;  // [N,2] screen-space mean, normalised device coordinates (pixel × 0.5·W, 0.5·H)
};

// ---------------------------------------------------------------- colour

// Real spherical harmonics to degree 3 at direction normalize(position - camera_center), then
// color = max(sh·(1+gain) + bias + 0.5, 0); without gain_bias: color = max(sh + 0.5, 0).
struct ShColor {
  int64_t count = 0;
  int degree = 0;                        // active degree, 0…3
  const float* positions = nullptr;      // [N,3] canonical
  const float* camera_center = nullptr;  // [3]
  const float* sh_dc = nullptr;          // [N,3]
  const float* sh_rest = nullptr;        // [N,15,3]
  const float* gain_bias = nullptr;      // [N,4] gain, bias rgb; or null
  float* colors = nullptr;               // [N,3]; backward reads what forward wrote (0 = clamped)
};
struct ShColorBackward {
  ShColor forward;
  const float* d_colors = nullptr;
  float* d_positions = nullptr;  // [N,3]
  float* d_sh_dc = nullptr;      // [N,3]
  float* d_sh_rest = nullptr;    // [N,15,3]
  float* d_gain_bias = nullptr;  // [N,4]
};

// ---------------------------------------------------------------- deformation field

// Where each plane lies in one dense buffer: for level l and coordinate pair p (0..5 = xy,xz,xt,yz,yt,zt) a
// plane of rows × columns texels of `channels` floats; the first coordinate of the pair runs along the
// columns.
struct HexPlaneLayout {
  int channels = 0;
  struct Plane {
    int64_t offset = 0;  // in floats
    int rows = 0, columns = 0;
    bool operator==(const Plane&) const = default;
  };
  std::vector<Plane> planes;  // levels × 6
  int levels() const { return static_cast<int>(planes.size() / 6); }
  int feature_width() const { return levels() * channels; }
  int64_t size() const {
    return planes.empty()
               ? 0
               : planes.back().offset + int64_t{planes.back().rows} * planes.back().columns * channels;
  }
  bool operator==(const HexPlaneLayout&) const = default;
};

// The deformation network: trunk layers with ReLU between them; every head is ReLU, layer, ReLU, layer on the
// trunk's output. All weights lie in one dense buffer.
struct DeformationNetworkLayout {
  static constexpr int kMostHeads = 6;
  // One fully connected layer y = x·Wᵀ + b: weights [out,in] and biases [out] at these offsets, in floats.
  struct Layer {
    int in = 0, out = 0;
    int64_t weight = 0, bias = 0;
    bool operator==(const Layer&) const = default;
  };
  struct Head {
    Layer hidden, last;
    bool operator==(const Head&) const = default;
  };
  std::vector<Layer> trunk;  // at least one
  std::vector<Head> heads;   // at most kMostHeads
  bool operator==(const DeformationNetworkLayout&) const = default;
};

struct FieldDescription {
  HexPlaneLayout planes;
  DeformationNetworkLayout network;
  bool operator==(const FieldDescription&) const = default;
};

struct DeformationNetwork;

// A deformation field as a backend works on it: a copy of its description, and what a forward pass of the
// network keeps for its backward pass (f32 today; how it is kept, and with what precision it is multiplied,
// is the context's affair). One context serves one forward/backward pair at a time and keeps its memory
// between uses. The backend must outlive it.
class FieldContext {
 public:
  explicit FieldContext(FieldDescription of) : description(std::move(of)) {}
  virtual ~FieldContext() = default;
  const FieldDescription description;
  // Makes room for what this operation keeps, so that it need not.
  virtual void reserve(const DeformationNetwork& network) = 0;
};

// K-Planes / HexPlane features (bilinear, align-corners, border clamp; product over the six planes,
// concatenation over levels). Space is normalised with the box: u = (p - box[0])·2/(box[1]-box[0]) - 1; time
// is used as it is.
struct HexPlane {
  FieldContext* context = nullptr;
  int64_t count = 0;
  const float* grid = nullptr;    // [planes.size()]
  const float* box = nullptr;     // [2,3]
  const float* points = nullptr;  // [N,3]
  const float* time = nullptr;    // [1], of all points
  float* features = nullptr;      // [N, feature_width]; not read by backward
};
struct HexPlaneBackward {
  HexPlane forward;
  const float* d_features = nullptr;
  float* d_grid = nullptr;
  float* d_box = nullptr;     // [2,3]
  float* d_points = nullptr;  // [N,3]
};

struct DeformationNetwork {
  FieldContext* context = nullptr;
  int64_t count = 0;
  const float* features = nullptr;  // [N, trunk[0].in]
  const float* weights = nullptr;
  float* outputs[DeformationNetworkLayout::kMostHeads] = {};  // [N, last.out]; heads without are left out
  bool keep = false;                                          // a backward pass follows
};
struct DeformationNetworkBackward {
  DeformationNetwork forward;  // the arguments of the forward pass that filled the context
  const float* d_outputs[DeformationNetworkLayout::kMostHeads] = {};  // null: zeros
  float* d_features = nullptr;                                        // [N, trunk[0].in]
  float* d_weights = nullptr;                                         // like weights
};

// Canonical parameters and the network's outputs become what the rasteriser takes:
//   mean = position + Δposition, scale = exp(log_scale + Δlog_scale), rotation = normalize(quaternion +
//   Δquaternion), opacity = sigmoid(opacity_logit + Δopacity), gain_bias = [CELU(raw gain), raw bias].
// Every Δ may be null (= 0); the published renderer passes no Δopacity.
struct GaussianActivation {
  int64_t count = 0;
  const float* positions = nullptr;       // [N,3]
  const float* log_scales = nullptr;      // [N,3]
  const float* quaternions = nullptr;     // [N,4]
  const float* opacity_logits = nullptr;  // [N]
  const float* delta_positions = nullptr;
  const float* delta_log_scales = nullptr;
  const float* delta_quaternions = nullptr;
  const float* delta_opacities = nullptr;
  const float* raw_gain = nullptr;  // [N] network output before CELU(alpha=1)
  const float* raw_bias = nullptr;  // [N,3]
  bool flat = false;                // surfels: the third scale is 0 and has no gradient (gs2d)
  float* means = nullptr;           // [N,3]
  float* scales = nullptr;          // [N,3]
  float* rotations = nullptr;       // [N,4]
  float* opacities = nullptr;       // [N]
  float* gain_bias = nullptr;       // [N,4], null without raw_gain/raw_bias
};
struct GaussianActivationBackward {
  GaussianActivation forward;
  const float* d_means = nullptr;
  const float* d_scales = nullptr;
  const float* d_rotations = nullptr;
  const float* d_opacities = nullptr;
  const float* d_gain_bias = nullptr;
  // The derivative with respect to a sum flows to both summands.
  float *d_positions = nullptr, *d_log_scales = nullptr, *d_quaternions = nullptr,
        *d_opacity_logits = nullptr;
  float *d_delta_positions = nullptr, *d_delta_log_scales = nullptr, *d_delta_quaternions = nullptr;
  float *d_delta_opacities = nullptr, *d_raw_gain = nullptr, *d_raw_bias = nullptr;
};

// ---------------------------------------------------------------- images and losses

// Weighted L1 + DSSIM between two images [H,W,3]: loss = l1_weight·mean|a-b| + dssim_weight·(1-SSIM(a,b)).
// SSIM: 11×11 Gaussian window, sigma 1.5, zero padding, C1=0.01², C2=0.03², mean over everything.
struct ImageLoss {
  int width = 0, height = 0;
  const float* image = nullptr;
  const float* target = nullptr;
  float l1_weight = 1, dssim_weight = 0;
  float* d_image = nullptr;  // [H,W,3], overwritten (it begins the chain); or null
  double* values = nullptr;  // device [4]: l1, ssim, mean squared error, loss; ssim is computed only when
                             // dssim_weight != 0 or want_ssim
  bool want_ssim = false;
};

// 8-bit picture [H,W,3] → float in [0,1] at size out_height × out_width: bilinear without antialiasing,
// align_corners false (PyTorch's F.interpolate); a plain conversion when the sizes are equal.
struct ResizePicture {
  const SourcePicture* picture = nullptr;
  int out_width = 0, out_height = 0;
  float* out = nullptr;  // [out_height,out_width,3]
};

// A picture whose sums with blending weights say what a Gaussian is worth (RasterizeBackward's d_colors of
// it): out[pixel] = {1, mean over the channels of |image - target|, 0}.
struct ErrorImage {
  int64_t pixels = 0;
  const float* image = nullptr;   // [pixels,3]
  const float* target = nullptr;  // [pixels,3]
  float* out = nullptr;           // [pixels,3]
};

// ---------------------------------------------------------------- optimiser

// Adam (Kingma & Ba 2015) as PyTorch computes it: bias-corrected, eps added after the square root.
struct Adam {
  int64_t count = 0;
  float* parameter = nullptr;
  float* gradient = nullptr;  // zero-filled on return
  float* first_moment = nullptr;
  float* second_moment = nullptr;
  const AdamRate* rate = nullptr;  // of the same betas
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-15;
};

// Adam on the hexplane with the regularisers' gradients computed on the way (one pass over memory):
//   plane_smoothness · Σ_levels mean((second difference along rows)²)   planes xy, xz, yz
//   time_smoothness  · the same on planes xt, yt, zt (rows = time)
//   time_l1          · Σ_levels mean |1 - texel| on planes xt, yt, zt
struct HexPlaneAdam {
  const FieldContext* context = nullptr;
  Adam adam;  // over the whole grid
  float plane_smoothness = 0, time_smoothness = 0, time_l1 = 0;
};

// ---------------------------------------------------------------- numbers and rows

// values[i] = min(values[i], limit); NaN stays.
struct ClampAbove {
  float* values = nullptr;
  int64_t count = 0;
  float limit = 0;
};

// values[i] = min(max(values[i], 0), 1); NaN becomes 0.
struct ClampUnit {
  float* values = nullptr;
  int64_t count = 0;
};

// The backward pass of ClampUnit, given the values before: gradients[i] = 0 where values[i] is outside [0,1]
// or NaN.
struct ClampUnitBackward {
  const float* values = nullptr;
  float* gradients = nullptr;
  int64_t count = 0;
};

// bytes[i] = values[i]·255 rounded to nearest; what lies outside [0,1] goes to the nearer end, NaN to 0. The
// same bytes on every device.
struct UnitToBytes {
  const float* values = nullptr;
  uint8_t* bytes = nullptr;
  int64_t count = 0;
};

// to[i] += weight·(from[i] - to[i]): running means.
struct MoveTowards {
  float* to = nullptr;
  const float* from = nullptr;
  float weight = 0;
  int64_t count = 0;
};

// to[i] = from[index[i]], rows of row_bytes bytes; index -1 gives zeros. `to` and `from` do not overlap.
struct GatherRows {
  void* to = nullptr;
  const void* from = nullptr;
  const int32_t* index = nullptr;  // [count]
  int64_t count = 0, row_bytes = 0;
};

}  // namespace eg4d
