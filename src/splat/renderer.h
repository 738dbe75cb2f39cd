#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "scene/camera.h"
#include "splat/deformation_field.h"
#include "splat/gaussians.h"
#include "splat/input_table.h"
#include "splat/resizable_tensor.h"

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
  bool use_scale_change = true, use_rotation_change = true;
  bool sh_at_deformed = false;  // the direction of colours is from the deformed means
  bool flat = false;
  float background[3] = {1, 1, 1};
};

// The render path of Stage II, forward and backward: canonical Gaussians at a time → activated Gaussians →
// pictures. One deform() serves any number of render() calls of that time; gradients of several views add up.
//
// Camera and times are read from rows of inputs in device memory when the operations run. After reserve() for
// what follows nothing is allocated, so that it may be recorded; a recording is good until reserve() says
// that something moved.
class Renderer {
 public:
  Renderer(Backend& backend, const RenderOptions& options);

  // Room for these Gaussians and pictures of this size, with `backward` for the backward pass too. The null
  // field is the coarse stage. Returns whether memory moved that earlier calls used.
  bool reserve(const Gaussians& gaussians, const DeformationField* field, bool backward, int width,
               int height);

  // A row for a camera and times in [0,1]; the rest of it is the caller's.
  IterationInputs inputs(const Camera& camera, const DeformationField* field, float time,
                         float color_time) const;

  // Evaluates the field at the row's time, the colour and opacity heads at its color_time where that is
  // another one (`own_color_time`; never in training). A null field renders the canonical Gaussians. The
  // arguments must outlive the renders. With `keep_for_backward` what backward needs is kept.
  void deform(const Gaussians& gaussians, const DeformationField* field, const IterationInputs* row,
              bool own_color_time, bool keep_for_backward);
  // The same with a row of the renderer's own.
  void deform(const Gaussians& gaussians, const DeformationField* field, float time, float color_time,
              bool keep_for_backward);
  // Colours and opacities' changes of the next deform() with an own color_time are those of the one before,
  // which had the same Gaussians, field and color_time: they are not evaluated again.
  void keep_colors() { colors_kept_ = true; }

  // Activated Gaussians of one time.
  struct Deformed {
    Tensor means;      // [N,3]
    Tensor scales;     // [N,3]
    Tensor rotations;  // [N,4]
    Tensor opacities;  // [N]
    Tensor gain_bias;  // [N,4], or undefined: colours are the canonical ones

    Deformed clone() const;
  };
  // Of the last deform(), in memory of the renderer's own that the next one will use.
  const Deformed& deformed() const { return shown_; }
  // The Gaussians that the next renders show, instead of a deform(); there is no backward pass then.
  // `gaussians` have the colours and positions that `deformed` was made of, and must outlive the renders.
  void show(const Gaussians& gaussians, const Deformed& deformed);

  struct View {
    Tensor image;  // [H,W,3]
    Tensor depth;  // [H,W]
    Tensor alpha;  // [H,W]
    Tensor radii;  // [N] int32
  };
  // Renders with the row's camera. The tensors' memory is the next render's, too.
  const View& render(int width, int height, const IterationInputs* row);
  const View& render(const Camera& camera);  // with the renderer's own row
  const Tensor& last_image() const { return view_.image; }

  // Backward of the last render, d_image: [H,W,3]; the row must still be as it was. Adds to the colours'
  // gradients (SH, and positions through the viewing direction) and to what deform_backward will carry on.
  void render_backward(const Tensor& d_image, Gradients& gradients);
  // Screen-space gradient [N,2] of the last render_backward, normalised device units.
  const Tensor& d_means_ndc() const { return d_means_ndc_.tensor(); }

  // sums[N,3] += the pixels of `picture` [H,W,3], weighted by each Gaussian's share in the last render's
  // blend.
  void weigh(const Tensor& picture, const Tensor& sums);

  // Carries the collected gradients on to the parameters; adds to `gradients`.
  void deform_backward(Gradients& gradients);

  // What HexPlaneAdam takes for this field.
  FieldContext& field_context(const DeformationField& field);

 private:
  // One evaluation of the field: some heads at one time.
  struct FieldPass {
    bool at_color_time = false;
    bool heads[kHeadCount] = {};
  };
  bool reserve_gaussians(int64_t count, bool backward);
  bool reserve_field(int64_t count, bool backward);
  bool reserve_picture(int width, int height);
  void use_field(const DeformationField& field);
  FieldPass pass_of(bool geometry, bool appearance) const;
  void run(size_t number);
  void run_backward(size_t number, Gradients& gradients);
  GaussianActivation activation() const;
  ShColor sh_color() const;
  DeformationNetwork network(size_t number) const;
  HexPlane hexplane(size_t number) const;

  Backend& backend_;
  RenderOptions options_;
  std::unique_ptr<RasterizeContext> raster_context_;
  FieldDescription described_;
  std::unique_ptr<FieldContext> field_contexts_[2];  // of `described_`, one for each pass

  const Gaussians* gaussians_ = nullptr;
  const DeformationField* field_ = nullptr;
  const IterationInputs* deform_row_ = nullptr;
  const IterationInputs* render_row_ = nullptr;
  bool keep_ = false, colors_kept_ = false;
  std::vector<FieldPass> passes_;
  std::optional<RasterizeForward> last_render_;

  InputRows own_row_;
  IterationInputs own_inputs_;

  ResizableTensor features_[2], outputs_[kHeadCount], d_outputs_[kHeadCount];
  ResizableTensor means_, scales_, rotations_, opacities_, gain_bias_, colors_, radii_;
  ResizableTensor d_means_, d_scales_, d_rotations_, d_opacities_, d_gain_bias_, d_colors_, d_means_ndc_,
      d_features_;
  Deformed shown_;
  ResizableTensor image_, depth_, alpha_;
  View view_;
};

}  // namespace eg4d
