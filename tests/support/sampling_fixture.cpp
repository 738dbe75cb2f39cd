#include "support/sampling_fixture.h"

#include "support/golden.h"
#include "support/network_fixture.h"

namespace eg4d::test {

SamplingFixture::SamplingFixture(const std::string& folder)
    : config(golden_json(folder + "/config.json")),
      io(golden_tensors(folder + "/io.safetensors")),
      schedule{config.at("steps"), config.at("sigma_min"), config.at("sigma_max"), config.at("rho")},
      folder_(folder) {
  const auto& guider = config.at("guider");
  const bool linear = guider.at("type").get<std::string>().find("Linear") != std::string::npos;
  scales = guidance_scales({linear ? GuidanceShape::linear : GuidanceShape::triangle, guider.at("min_scale"),
                            guider.at("max_scale")},
                           config.at("num_frames"));
}

std::unique_ptr<VideoUNet> SamplingFixture::network(Backend& backend) const {
  const VideoUNet::Options options{.head_channels =
                                       config.at("network_config").at("num_head_channels").get<int64_t>()};
  return std::make_unique<VideoUNet>(backend, golden_weights(folder_),
                                     config.value("key_prefix", "model.diffusion_model."), options);
}

std::vector<float> SamplingFixture::latent(const std::string& name) const {
  const auto backend = make_cpu_backend();
  return channels_last(*backend, io, name).to_host();
}

Tensor SamplingFixture::latent(Backend& backend, const std::string& name) const {
  return channels_last(backend, io, name);
}

VideoCondition SamplingFixture::condition(Backend& backend, const std::string& prefix) const {
  std::vector<float> context, concat, vector;
  for (const std::string half : {"uc.", "c."}) {
    if (half == "uc." && !needs_unconditional(scales)) continue;
    const auto append = [&](std::vector<float>& to, const std::vector<float>& from) {
      to.insert(to.end(), from.begin(), from.end());
    };
    append(context, io.floats(prefix + half + "crossattn"));
    append(concat, latent(prefix + half + "concat"));
    append(vector, io.floats(prefix + half + "vector"));
  }
  const Shape& shape = io.at(prefix + "c.concat").shape;
  const int64_t rows = static_cast<int64_t>(concat.size()) / (shape[1] * shape[2] * shape[3]);
  const auto width = [&](const std::vector<float>& values) {
    return static_cast<int64_t>(values.size()) / rows;
  };
  return {Tensor::from_host<float>(backend, {rows, 1, width(context)}, context),
          Tensor::from_host<float>(backend, {rows, width(vector)}, vector),
          Tensor::from_host<float>(backend, {rows, shape[2], shape[3], shape[1]}, concat)};
}

VideoCondition SamplingFixture::picture_condition(Backend& backend, const std::string& prefix) const {
  const Shape& shape = io.at(prefix + "c.concat").shape;
  const auto first = [&](std::vector<float> values) {
    values.resize(values.size() / static_cast<size_t>(shape[0]));
    return values;
  };
  const auto context = first(io.floats(prefix + "c.crossattn")), concat = first(latent(prefix + "c.concat"));
  return video_condition(backend,
                         {static_cast<int>(shape[0]), static_cast<int>(shape[2]), static_cast<int>(shape[3]),
                          context, concat, io.floats(prefix + "c.vector")},
                         needs_unconditional(scales));
}

}  // namespace eg4d::test
