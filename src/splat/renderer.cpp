#include "splat/renderer.h"

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
    : backend_(backend),
      options_(options),
      raster_context_(backend.create_rasterize_context()),
      own_row_(backend, 1) {}

// ---------------------------------------------------------------- memory

bool Renderer::reserve_gaussians(int64_t count, bool backward) {
  bool moved = false;
  const auto room = [&](ResizableTensor& tensor, Shape shape, DType type = DType::f32) {
    moved |= tensor.resize(backend_, std::move(shape), type);
  };
  room(means_, {count, 3});
  room(scales_, {count, 3});
  room(rotations_, {count, 4});
  room(opacities_, {count});
  room(colors_, {count, 3});
  room(radii_, {count}, DType::i32);
  if (!backward) return moved;
  room(d_means_, {count, 3});
  room(d_scales_, {count, 3});
  room(d_rotations_, {count, 4});
  room(d_opacities_, {count});
  room(d_colors_, {count, 3});
  room(d_means_ndc_, {count, 2});
  return moved;
}

bool Renderer::reserve_field(int64_t count, bool backward) {
  bool moved = false;
  const auto room = [&](ResizableTensor& tensor, Shape shape) {
    moved |= tensor.resize(backend_, std::move(shape));
  };
  const int64_t width = described_.planes.feature_width();
  room(features_[0], {count, width});
  room(gain_bias_, {count, 4});
  for (size_t head = 0; head < kHeadCount; ++head) room(outputs_[head], {count, kHeadWidths[head]});
  if (!backward) return moved;
  room(d_features_, {count, width});
  room(d_gain_bias_, {count, 4});
  for (size_t head = 0; head < kHeadCount; ++head) room(d_outputs_[head], {count, kHeadWidths[head]});
  return moved;
}

bool Renderer::reserve_picture(int width, int height) {
  bool moved = image_.resize(backend_, {height, width, 3});
  moved |= depth_.resize(backend_, {height, width});
  moved |= alpha_.resize(backend_, {height, width});
  view_ = {image_.tensor(), depth_.tensor(), alpha_.tensor(), radii_.tensor()};
  return moved;
}

void Renderer::use_field(const DeformationField& field) {
  FieldDescription description = field.description();
  if (field_contexts_[0] && description == described_) return;
  described_ = std::move(description);
  field_contexts_[0] = backend_.create_field_context(described_);
  field_contexts_[1] = nullptr;
}

FieldContext& Renderer::field_context(const DeformationField& field) {
  use_field(field);
  return *field_contexts_[0];
}

bool Renderer::reserve(const Gaussians& gaussians, const DeformationField* field, bool backward, int width,
                       int height) {
  const int64_t count = gaussians.count();
  const FieldContext* const context = field_contexts_[0].get();
  bool moved = reserve_gaussians(count, backward);
  if (field) {
    use_field(*field);
    moved |= context && context != field_contexts_[0].get();
    moved |= reserve_field(count, backward);
    gaussians_ = &gaussians;
    field_ = field;
    keep_ = backward;
    passes_ = {pass_of(true, true)};
    field_contexts_[0]->reserve(network(0));
  }
  moved |= reserve_picture(width, height);
  raster_context_->reserve(count, width, height);
  return moved;
}

// ---------------------------------------------------------------- forward

IterationInputs Renderer::inputs(const Camera& camera, const DeformationField* field, float time,
                                 float color_time) const {
  IterationInputs row;
  row.camera = camera.rasterize_camera(options_.background);
  if (field) {
    row.time = field->time_coordinate(time);
    row.color_time = field->time_coordinate(color_time);
  }
  return row;
}

Renderer::FieldPass Renderer::pass_of(bool geometry, bool appearance) const {
  FieldPass pass;
  pass.at_color_time = !geometry;
  pass.heads[index_of(Head::position)] = geometry;
  pass.heads[index_of(Head::log_scale)] = geometry && options_.use_scale_change;
  pass.heads[index_of(Head::quaternion)] = geometry && options_.use_rotation_change;
  pass.heads[index_of(Head::opacity)] = appearance && options_.use_opacity_change;
  for (const Head head : {Head::gain, Head::bias})
    pass.heads[index_of(head)] = appearance && options_.use_color_change;
  return pass;
}

HexPlane Renderer::hexplane(size_t number) const {
  HexPlane plane;
  plane.context = field_contexts_[number].get();
  plane.count = gaussians_->count();
  plane.grid = field_->grid.data();
  plane.box = field_->box.data();
  plane.points = gaussians_->positions.data();
  plane.time = passes_[number].at_color_time ? &deform_row_->color_time : &deform_row_->time;
  plane.features = features_[number].data();
  return plane;
}

DeformationNetwork Renderer::network(size_t number) const {
  DeformationNetwork network;
  network.context = field_contexts_[number].get();
  network.count = gaussians_->count();
  network.features = features_[number].data();
  network.weights = field_->network.data();
  network.keep = keep_;
  for (size_t head = 0; head < kHeadCount; ++head)
    if (passes_[number].heads[head]) network.outputs[head] = outputs_[head].data();
  return network;
}

void Renderer::run(size_t number) {
  if (!field_contexts_[number]) field_contexts_[number] = backend_.create_field_context(described_);
  features_[number].resize(backend_, {gaussians_->count(), described_.planes.feature_width()});
  backend_.run(hexplane(number));
  backend_.run(network(number));
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
    if (options_.use_scale_change) a.delta_log_scales = output(Head::log_scale);
    if (options_.use_rotation_change) a.delta_quaternions = output(Head::quaternion);
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

void Renderer::deform(const Gaussians& gaussians, const DeformationField* field, const IterationInputs* row,
                      bool own_color_time, bool keep_for_backward) {
  gaussians_ = &gaussians;
  field_ = field;
  deform_row_ = row;
  keep_ = keep_for_backward;
  last_render_.reset();
  reserve_gaussians(gaussians.count(), keep_for_backward);
  if (field) {
    use_field(*field);
    reserve_field(gaussians.count(), keep_for_backward);
    const bool two = own_color_time && (options_.use_opacity_change || options_.use_color_change);
    if (two)
      passes_ = {pass_of(true, false), pass_of(false, true)};
    else
      passes_ = {pass_of(true, true)};
    run(0);
    if (two && !colors_kept_) run(1);
  }
  colors_kept_ = false;
  backend_.run(activation());
  shown_ = {means_.tensor(), scales_.tensor(), rotations_.tensor(), opacities_.tensor(),
            field && options_.use_color_change ? gain_bias_.tensor() : Tensor()};
  if (keep_for_backward) {
    for (ResizableTensor* tensor : {&d_means_, &d_scales_, &d_rotations_, &d_opacities_}) tensor->fill_zero();
    if (field) d_gain_bias_.fill_zero();
  }
}

void Renderer::deform(const Gaussians& gaussians, const DeformationField* field, float time, float color_time,
                      bool keep_for_backward) {
  if (field) {
    own_inputs_.time = field->time_coordinate(time);
    own_inputs_.color_time = field->time_coordinate(color_time);
    own_row_.copy_from_host({own_inputs_});
  }
  deform(gaussians, field, own_row_[0], color_time != time, keep_for_backward);
}

Renderer::Deformed Renderer::Deformed::clone() const {
  return {means.clone(), scales.clone(), rotations.clone(), opacities.clone(),
          gain_bias.defined() ? gain_bias.clone() : Tensor()};
}

void Renderer::show(const Gaussians& gaussians, const Deformed& deformed) {
  gaussians_ = &gaussians;
  field_ = nullptr;
  keep_ = false;
  last_render_.reset();
  reserve_gaussians(gaussians.count(), false);
  shown_ = deformed;
}

ShColor Renderer::sh_color() const {
  ShColor color;
  color.count = gaussians_->count();
  color.degree = gaussians_->active_sh_degree;
  color.positions = (options_.sh_at_deformed ? shown_.means : gaussians_->positions).data();
  color.camera_center = render_row_->camera.center;
  color.sh_dc = gaussians_->sh_dc.data();
  color.sh_rest = gaussians_->sh_rest.data();
  if (shown_.gain_bias.defined()) color.gain_bias = shown_.gain_bias.data();
  color.colors = colors_.data();
  return color;
}

const Renderer::View& Renderer::render(int width, int height, const IterationInputs* row) {
  reserve_picture(width, height);
  render_row_ = row;
  backend_.run(sh_color());
  RasterizeForward forward;
  forward.camera = &row->camera;
  forward.width = width;
  forward.height = height;
  forward.count = gaussians_->count();
  forward.means = shown_.means.data();
  forward.scales = shown_.scales.data();
  forward.rotations = shown_.rotations.data();
  forward.opacities = shown_.opacities.data();
  forward.colors = colors_.data();
  forward.image = view_.image.data();
  forward.depth = view_.depth.data();
  forward.alpha = view_.alpha.data();
  forward.radii = view_.radii.data<int32_t>();
  forward.context = raster_context_.get();
  backend_.run(forward);
  last_render_ = forward;
  return view_;
}

const Renderer::View& Renderer::render(const Camera& camera) {
  own_inputs_.camera = camera.rasterize_camera(options_.background);
  own_row_.copy_from_host({own_inputs_});
  return render(camera.width, camera.height, own_row_[0]);
}

// ---------------------------------------------------------------- backward

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

  ShColorBackward color;
  color.forward = sh_color();
  color.d_colors = d_colors_.data();
  color.d_positions = options_.sh_at_deformed ? d_means_.data() : gradients.gaussians.positions.data();
  color.d_sh_dc = gradients.gaussians.sh_dc.data();
  color.d_sh_rest = gradients.gaussians.sh_rest.data();
  if (color.forward.gain_bias) color.d_gain_bias = d_gain_bias_.data();
  backend_.run(color);
}

void Renderer::weigh(const Tensor& picture, const Tensor& sums) {
  RasterizeBackward backward;
  backward.forward = *last_render_;
  backward.d_image = picture.data();
  backward.d_colors = sums.data();
  backend_.run(backward);
}

void Renderer::run_backward(size_t number, Gradients& gradients) {
  d_features_.fill_zero();
  DeformationNetworkBackward network_backward;
  network_backward.forward = network(number);
  for (size_t head = 0; head < kHeadCount; ++head)
    if (passes_[number].heads[head]) network_backward.d_outputs[head] = d_outputs_[head].data();
  network_backward.d_features = d_features_.data();
  network_backward.d_weights = gradients.network.data();
  backend_.run(network_backward);

  HexPlaneBackward plane;
  plane.forward = hexplane(number);
  plane.d_features = d_features_.data();
  plane.d_grid = gradients.grid.data();
  plane.d_box = gradients.box.data();
  plane.d_points = gradients.gaussians.positions.data();
  backend_.run(plane);
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
  for (ResizableTensor& tensor : d_outputs_) tensor.fill_zero();
  auto d_output = [&](Head head) { return d_outputs_[index_of(head)].data(); };
  backward.d_delta_positions = d_output(Head::position);
  if (options_.use_scale_change) backward.d_delta_log_scales = d_output(Head::log_scale);
  if (options_.use_rotation_change) backward.d_delta_quaternions = d_output(Head::quaternion);
  if (options_.use_opacity_change) backward.d_delta_opacities = d_output(Head::opacity);
  if (has_color) {
    backward.d_raw_gain = d_output(Head::gain);
    backward.d_raw_bias = d_output(Head::bias);
  }
  backend_.run(backward);

  for (size_t number = 0; number < passes_.size(); ++number) run_backward(number, gradients);
}

}  // namespace eg4d
