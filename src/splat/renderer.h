#pragma once

#include <memory>
#include <optional>

#include "scene/camera.h"
#include "splat/deformation_field.h"
#include "splat/gaussians.h"

namespace eg4d {

// Gradients of everything that training changes; tensors have the shapes of what they belong to.
struct Gradients {
  Gaussians gaussians;
  Tensor grid, box, network;  // undefined in the coarse stage

  static Gradients zeros_like(const Gaussians& gaussians, const DeformationField* field);
};

struct RenderOptions {
  bool use_opacity_change = false;  // Δopacity
  bool use_color_change = true;     // gain and bias
  bool flat = false;
  float background[3] = {1, 1, 1};
};

// The render path of Stage II, forward and backward: canonical Gaussians at a time → activated Gaussians →
// pictures. One deform() serves any number of render() calls of that time; gradients of several views add up.
class Renderer {
 public:
  Renderer(Backend& backend, const RenderOptions& options);

  // Evaluates the field at `time` in [0,1]; the colour and opacity heads at `color_time` (equal to `time` in
  // training). A null field renders the canonical Gaussians (coarse stage). The arguments must outlive the
  // renders. With `keep_for_backward` what backward needs is kept.
  void deform(const Gaussians& gaussians, const DeformationField* field, float time, float color_time,
              bool keep_for_backward);

  struct View {
    Tensor image;  // [H,W,3]
    Tensor depth;  // [H,W]
    Tensor alpha;  // [H,W]
    Tensor radii;  // [N] int32
  };
  // The tensors are valid until the next render of another size.
  const View& render(const Camera& camera);

  // Backward of the last render, d_image: [H,W,3]. Adds to the colours' gradients (SH, and positions through
  // the viewing direction) and to what deform_backward will carry on.
  void render_backward(const Tensor& d_image, Gradients& gradients);
  // Screen-space gradient [N,2] of the last render_backward, normalised device units.
  const Tensor& d_means_ndc() const { return d_means_ndc_; }

  // Carries the collected gradients on to the parameters; adds to `gradients`.
  void deform_backward(Gradients& gradients);

  // Activated Gaussians of the last deform(): means, scales, rotations, opacities, gain_bias (undefined
  // without field).
  const Tensor& means() const { return means_; }
  const Tensor& scales() const { return scales_; }
  const Tensor& rotations() const { return rotations_; }
  const Tensor& opacities() const { return opacities_; }
  const Tensor& gain_bias() const { return gain_bias_; }
  const Tensor& head_output(Head head) const { return outputs_[static_cast<size_t>(head)]; }

 private:
  void reserve(int64_t count, bool backward);
  // One evaluation of the field: some heads at one time.
  struct FieldPass {
    float time = 0;
    std::vector<Head> heads;
    Tensor features, activations;
  };
  void run(FieldPass& pass, bool keep);
  void run_backward(const FieldPass& pass, Gradients& gradients);
  GaussianActivation activation() const;
  ShColor sh_color() const;
  DeformationNetwork network(const FieldPass& pass, const Gradients* gradients) const;
  HexPlane hexplane(const FieldPass& pass) const;

  Backend& backend_;
  RenderOptions options_;
  std::unique_ptr<RasterizeContext> context_;

  const Gaussians* gaussians_ = nullptr;
  const DeformationField* field_ = nullptr;
  std::vector<FieldPass> passes_;
  std::optional<RasterizeForward> last_render_;
  float last_center_[3] = {};

  int64_t capacity_ = -1;  // N of the tensors below
  bool backward_ready_ = false;
  Tensor outputs_[kHeadCount], d_outputs_[kHeadCount];
  Tensor means_, scales_, rotations_, opacities_, gain_bias_, colors_;
  Tensor d_means_, d_scales_, d_rotations_, d_opacities_, d_gain_bias_, d_colors_, d_means_ndc_, d_features_;
  View view_;
};

}  // namespace eg4d
