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

VideoCondition SamplingFixture::condition(const std::string& prefix) const {
  const Shape& shape = io.at(prefix + "c.concat").shape;
  VideoCondition condition{
      static_cast<int>(shape[0]), static_cast<int>(shape[2]), static_cast<int>(shape[3]), {}, {}, {}};
  for (const std::string half : {"uc.", "c."}) {
    const auto append = [&](std::vector<float>& to, const std::vector<float>& from) {
      to.insert(to.end(), from.begin(), from.end());
    };
    append(condition.context, io.floats(prefix + half + "crossattn"));
    append(condition.concat, latent(prefix + half + "concat"));
    append(condition.vector, io.floats(prefix + half + "vector"));
  }
  return condition;
}

}  // namespace eg4d::test
