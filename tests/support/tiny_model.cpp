#include "support/tiny_model.h"

#include "random/random.h"
#include "scene/camera.h"

namespace eg4d::test {
namespace {

void fill_normal(const Tensor& tensor, float mean, float deviation, Philox& random) {
  std::vector<float> values(static_cast<size_t>(tensor.count()));
  for (float& value : values) value = mean + deviation * random.normal();
  Tensor(tensor).copy_from_host(values.data(), tensor.bytes());
}

}  // namespace

Model tiny_model(Backend& backend, int count, int active_sh_degree) {
  Model model;
  ModelInfo& info = model.info;
  info.options.hexplane.channels = 4;
  info.options.hexplane.resolution = 8;
  info.options.hexplane.levels = {1, 2};
  info.options.hexplane.time_resolution = 5;
  info.options.deformation.width = 8;
  info.iterations = 77;
  info.extent = 4.4;
  info.frame_count = 5;
  info.width = 40;
  info.height = 30;
  info.fov_x = kOrbitFovX;
  info.camera_radius = kOrbitRadius;
  info.provenance = {{"preset", "paper"}};

  Philox random(11);
  model.gaussians = Gaussians::empty(backend, count);
  model.gaussians.active_sh_degree = active_sh_degree;
  fill_normal(model.gaussians.positions, 0, 0.4f, random);
  fill_normal(model.gaussians.sh_dc, 0.5f, 0.5f, random);
  fill_normal(model.gaussians.sh_rest, 0, 0.1f, random);
  fill_normal(model.gaussians.log_scales, -2, 0.3f, random);
  fill_normal(model.gaussians.quaternions, 0, 1, random);
  fill_normal(model.gaussians.opacity_logits, 0, 1, random);
  model.field = DeformationField(backend, info.options);
  model.field.initialize(model.gaussians.positions.to_host(), random);
  fill_normal(model.field.grid, 0.5f, 0.3f, random);
  return model;
}

}  // namespace eg4d::test
