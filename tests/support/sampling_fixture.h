#pragma once

// What the golden tests of whole sampling runs share.

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "diffusion/edm_sampler.h"
#include "diffusion/video_condition.h"
#include "diffusion/video_unet.h"
#include "io/safetensors.h"

namespace eg4d::test {

// The fixture's network, sampler options and inputs.
class SamplingFixture {
 public:
  explicit SamplingFixture(const std::string& folder);

  nlohmann::json config;
  SafetensorsFile io;
  EdmSchedule schedule;
  std::vector<float> scales;  // guidance

  std::unique_ptr<VideoUNet> network(Backend& backend) const;
  // As stored under <prefix>uc.* and <prefix>c.*: both halves, unless no guidance needs the first.
  VideoCondition condition(Backend& backend, const std::string& prefix) const;
  // What a picture gives, from the conditional half: <prefix>c.*, the first frame's where all have the same.
  VideoCondition picture_condition(Backend& backend, const std::string& prefix) const;
  // A stored latent [T,C,H,W], channels last.
  std::vector<float> latent(const std::string& name) const;
  Tensor latent(Backend& backend, const std::string& name) const;

 private:
  std::string folder_;
};

}  // namespace eg4d::test
