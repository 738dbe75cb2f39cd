#include "splat/renderer.h"

#include <algorithm>

namespace eg4d {
namespace {

constexpr size_t index_of(Head head) {
  return static_cast<size_t>(head);
}

}  // namespace

Gradients Gradients::zeros_like(const Gaussians& gaussians, const DeformationField* field) {
  Gradients gradients;
  Backend& backend = gaussians.positions.backend();
  gradients.gaussians = Gaussians::zeros(backend, gaussians.count());
  if (field) {
    gradients.grid = Tensor::zeros(backend, field->grid.shape());
    gradients.box = Tensor::zeros(backend, field->box.shape());
    gradients.network = Tensor::zeros(backend, field->network.shape());
  }
  return gradients;
}

Renderer::Renderer(Backend& backend, const RenderOptions& options)
    : backend_(backend), options_(options), context_(backend.create_rasterize_context()) {}

void Renderer::reserve(int64_t count, bool backward) {
  if (capacity_ != count) {
    capacity_ = count;
    backward_ready_ = false;
    passes_.clear();
    d_features_ = gain_bias_ = {};
    for (Tensor& output : outputs_) output = {};
    means_ = Tensor::empty(backend_, {count, 3});
    scales_ = Tensor::empty(backend_, {count, 3});
    rotations_ = Tensor::empty(backend_, {count, 4});
    opacities_ = Tensor::empty(backend_, {count});
    colors_ = Tensor::empty(backend_, {count, 3});
    view_.radii = Tensor::empty(backend_, {count}, DType::i32);
  }
  if (field_ && !gain_bias_.defined()) {
    gain_bias_ = Tensor::empty(backend_, {count, 4});
    for (size_t head = 0; head < kHeadCount; ++head)
      outputs_[head] = Tensor::empty(backend_, {count, kHeadWidths[head]});
    backward_ready_ = false;
  }
  if (backward && !backward_ready_) {
    backward_ready_ = true;
    d_means_ = Tensor::empty(backend_, {count, 3});
    d_scales_ = Tensor::empty(backend_, {count, 3});
    d_rotations_ = Tensor::empty(backend_, {count, 4});
    d_opacities_ = Tensor::empty(backend_, {count});
    d_colors_ = Tensor::empty(backend_, {count, 3});
    d_means_ndc_ = Tensor::empty(backend_, {count, 2});
    if (field_) {
      d_features_ = Tensor::empty(backend_, {count, field_->layout.feature_width()});
      d_gain_bias_ = Tensor::empty(backend_, {count, 4});
      for (size_t head = 0; head < kHeadCount; ++head)
        d_outputs_[head] = Tensor::empty(backend_, outputs_[head].shape());
    }
  }
}

HexPlane Renderer::hexplane(const FieldPass& pass) const {
  HexPlane plane;
  plane.layout = &field_->layout;
  plane.count = gaussians_->count();
  plane.grid = field_->grid.data();
  plane.box = field_->box.data();
  plane.points = gaussians_->positions.data();
  plane.time = field_->time_coordinate(pass.time);
  plane.features = pass.features.data();
  return plane;
}

DeformationNetwork Renderer::network(const FieldPass& pass, const Gradients* gradients) const {
  DeformationNetwork network = field_->describe(gradients ? &gradients->network : nullptr);
  network.count = gaussians_->count();
  network.features = pass.features.data();
  if (pass.activations.defined()) network.activations = pass.activations.data();
  for (Head head : pass.heads) {
    network.heads[index_of(head)].output = outputs_[index_of(head)].data();
    if (gradients) network.heads[index_of(head)].d_output = d_outputs_[index_of(head)].data();
  }
  return network;
}

void Renderer::run(FieldPass& pass, bool keep) {
  if (!pass.features.defined())
    pass.features = Tensor::empty(backend_, {gaussians_->count(), field_->layout.feature_width()});
  backend_.run(hexplane(pass));
  if (keep) {
    const int64_t wanted = deformation_network_activations(network(pass, nullptr));
    if (!pass.activations.defined() || pass.activations.count() != wanted)
      pass.activations = Tensor::empty(backend_, {wanted});
  } else {
    pass.activations = {};
  }
  backend_.run(network(pass, nullptr));
}

void Renderer::run_backward(const FieldPass& pass, Gradients& gradients) {
  d_features_.fill_zero();
  DeformationNetwork description = network(pass, &gradients);
  description.d_features = d_features_.data();
  backend_.run(DeformationNetworkBackward{description});

  HexPlane plane = hexplane(pass);
  plane.d_features = d_features_.data();
  plane.d_grid = gradients.grid.data();
  plane.d_box = gradients.box.data();
  plane.d_points = gradients.gaussians.positions.data();
  backend_.run(HexPlaneBackward{plane});
}

GaussianActivation Renderer::activation() const {
  GaussianActivation a;
  a.count = gaussians_->count();
  a.positions = gaussians_->positions.data();
  a.log_scales = gaussians_->log_scales.data();
  a.quaternions = gaussians_->quaternions.data();
  a.opacity_logits = gaussians_->opacity_logits.data();
  a.flat = options_.flat;
  if (field_) {
    auto output = [&](Head head) { return outputs_[index_of(head)].data(); };
    a.delta_positions = output(Head::position);
    a.delta_log_scales = output(Head::log_scale);
    a.delta_quaternions = output(Head::quaternion);
    if (options_.use_opacity_change) a.delta_opacities = output(Head::opacity);
    if (options_.use_color_change) {
      a.raw_gain = output(Head::gain);
      a.raw_bias = output(Head::bias);
      a.gain_bias = gain_bias_.data();
    }
  }
  a.means = means_.data();
  a.scales = scales_.data();
  a.rotations = rotations_.data();
  a.opacities = opacities_.data();
  return a;
}

void Renderer::deform(const Gaussians& gaussians, const DeformationField* field, float time, float color_time,
                      bool keep_for_backward) {
  gaussians_ = &gaussians;
  field_ = field;
  last_render_.reset();
  reserve(gaussians.count(), keep_for_backward);
  if (field) {
    std::vector<Head> geometry{Head::position, Head::log_scale, Head::quaternion}, appearance;
    if (options_.use_opacity_change) appearance.push_back(Head::opacity);
    if (options_.use_color_change) appearance.insert(appearance.end(), {Head::gain, Head::bias});
    const bool together = color_time == time || appearance.empty();
    if (together) geometry.insert(geometry.end(), appearance.begin(), appearance.end());
    passes_.resize(together ? 1 : 2);
    passes_[0].time = time;
    passes_[0].heads = std::move(geometry);
    if (!together) {
      passes_[1].time = color_time;
      passes_[1].heads = std::move(appearance);
    }
    for (FieldPass& pass : passes_) run(pass, keep_for_backward);
  }
  backend_.run(activation());
  if (keep_for_backward) {
    for (Tensor* tensor : {&d_means_, &d_scales_, &d_rotations_, &d_opacities_}) tensor->fill_zero();
    if (field) d_gain_bias_.fill_zero();
  }
}

ShColor Renderer::sh_color() const {
  ShColor color;
  color.count = gaussians_->count();
  color.degree = gaussians_->active_sh_degree;
  color.positions = gaussians_->positions.data();
  std::copy(last_center_, last_center_ + 3, color.camera_center);
  color.sh_dc = gaussians_->sh_dc.data();
  color.sh_rest = gaussians_->sh_rest.data();
  if (field_ && options_.use_color_change) color.gain_bias = gain_bias_.data();
  color.colors = colors_.data();
  return color;
}

const Renderer::View& Renderer::render(const Camera& camera) {
  const Shape pixels{camera.height, camera.width};
  if (!view_.depth.defined() || view_.depth.shape() != pixels) {
    view_.image = Tensor::empty(backend_, {camera.height, camera.width, 3});
    view_.depth = Tensor::empty(backend_, pixels);
    view_.alpha = Tensor::empty(backend_, pixels);
  }
  std::copy(camera.center, camera.center + 3, last_center_);
  backend_.run(sh_color());
  RasterizeForward forward;
  forward.camera = camera.rasterize_camera(options_.background);
  forward.count = gaussians_->count();
  forward.means = means_.data();
  forward.scales = scales_.data();
  forward.rotations = rotations_.data();
  forward.opacities = opacities_.data();
  forward.colors = colors_.data();
  forward.image = view_.image.data();
  forward.depth = view_.depth.data();
  forward.alpha = view_.alpha.data();
  forward.radii = view_.radii.data<int32_t>();
  forward.context = context_.get();
  backend_.run(forward);
  last_render_ = forward;
  return view_;
}

void Renderer::render_backward(const Tensor& d_image, Gradients& gradients) {
  d_means_ndc_.fill_zero();
  d_colors_.fill_zero();
  RasterizeBackward backward;
  backward.forward = *last_render_;
  backward.d_image = d_image.data();
  backward.d_means = d_means_.data();
  backward.d_scales = d_scales_.data();
  backward.d_rotations = d_rotations_.data();
  backward.d_opacities = d_opacities_.data();
  backward.d_colors = d_colors_.data();
  backward.d_means_ndc = d_means_ndc_.data();
  backend_.run(backward);

  ShColor color = sh_color();
  color.d_colors = d_colors_.data();
  color.d_positions = gradients.gaussians.positions.data();
  color.d_sh_dc = gradients.gaussians.sh_dc.data();
  color.d_sh_rest = gradients.gaussians.sh_rest.data();
  if (color.gain_bias) color.d_gain_bias = d_gain_bias_.data();
  backend_.run(ShColorBackward{color});
}

void Renderer::deform_backward(Gradients& gradients) {
  const bool has_color = field_ && options_.use_color_change;
  GaussianActivationBackward backward;
  backward.forward = activation();
  backward.d_means = d_means_.data();
  backward.d_scales = d_scales_.data();
  backward.d_rotations = d_rotations_.data();
  backward.d_opacities = d_opacities_.data();
  if (has_color) backward.d_gain_bias = d_gain_bias_.data();
  backward.d_positions = gradients.gaussians.positions.data();
  backward.d_log_scales = gradients.gaussians.log_scales.data();
  backward.d_quaternions = gradients.gaussians.quaternions.data();
  backward.d_opacity_logits = gradients.gaussians.opacity_logits.data();
  if (!field_) {
    backend_.run(backward);
    return;
  }
  for (Tensor& tensor : d_outputs_) tensor.fill_zero();
  auto d_output = [&](Head head) { return d_outputs_[index_of(head)].data(); };
  backward.d_delta_positions = d_output(Head::position);
  backward.d_delta_log_scales = d_output(Head::log_scale);
  backward.d_delta_quaternions = d_output(Head::quaternion);
  if (options_.use_opacity_change) backward.d_delta_opacities = d_output(Head::opacity);
  if (has_color) {
    backward.d_raw_gain = d_output(Head::gain);
    backward.d_raw_bias = d_output(Head::bias);
  }
  backend_.run(backward);

  for (const FieldPass& pass : passes_) run_backward(pass, gradients);
}

}  // namespace eg4d
