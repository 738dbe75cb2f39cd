#include "support/tiny_video_model.h"

#include <deque>

#include "support/hashed_weights.h"
#include "support/places.h"

namespace eg4d::test {
namespace {

// Collects tensors of the fixtures under new names.
class Collector {
 public:
  // The tensors of the fixture's weights that begin with `prefix`, without the prefix's part `from`,
  // which becomes `to`. Names that contain one of `without` are left out.
  void take(const std::string& fixture, const std::string& from, const std::string& to,
            const std::vector<std::string>& without = {}) {
    const WeightMap weights = fixture_weights(test_data() / "golden" / fixture);
    for (const auto& [name, item] : weights.items()) {
      if (name.rfind(from, 0) != 0) continue;
      bool wanted = true;
      for (const std::string& part : without) wanted = wanted && name.find(part) == std::string::npos;
      if (wanted) add(to + name.substr(from.size()), item.shape, weights.floats(name));
    }
  }

  // Keeps the first `columns` of a matrix.
  void narrow(const std::string& name, int64_t columns) {
    for (size_t i = 0; i < tensors_.size(); ++i) {
      if (tensors_[i].name != name) continue;
      const int64_t before = tensors_[i].shape.at(1);
      std::vector<float> kept;
      for (int64_t row = 0; row < tensors_[i].shape[0]; ++row)
        kept.insert(kept.end(), values_[i].begin() + row * before,
                    values_[i].begin() + row * before + columns);
      values_[i] = std::move(kept);
      tensors_[i].shape[1] = columns;
      tensors_[i].data = values_[i].data();
    }
  }

  void write(const std::filesystem::path& path) const {
    write_safetensors(path, tensors_, {{"num_head_channels", "16"}, {"clip_head_channels", "16"}});
  }

 private:
  void add(const std::string& name, const Shape& shape, std::vector<float> values) {
    values_.push_back(std::move(values));
    tensors_.push_back({name, DType::f32, shape, values_.back().data()});
  }
  std::vector<SafetensorsTensor> tensors_;
  std::deque<std::vector<float>> values_;
};

}  // namespace

void write_tiny_model(TinyModel model, const std::filesystem::path& path) {
  Collector collector;
  const bool svd = model == TinyModel::svd;
  const std::string tower = "conditioner.embedders.0.open_clip.model.", unet = "model.diffusion_model.";
  collector.take("openclip_vit", tower, tower);
  collector.take(svd ? "svd_unet" : "sv3d_injection", unet, unet);
  collector.narrow(tower + "visual.proj", svd ? 32 : 40);
  if (svd) {
    collector.take("svd_vae", "first_stage_model.", "first_stage_model.");
    collector.take("svd_vae", "conditioner.embedders.3.", "conditioner.embedders.3.");
  } else {
    collector.take("svd_vae", "first_stage_model.decoder.", "first_stage_model.decoder.",
                   {"time_stack", "time_mix_conv", "mix_factor"});
    collector.take("svd_vae", "conditioner.embedders.3.", "conditioner.embedders.1.");
  }
  collector.write(path);
}

}  // namespace eg4d::test
