#include "pipeline/model_catalog.h"

#include <fmt/format.h>

#include "core/error.h"
#include "core/nearest_name.h"

namespace eg4d {
namespace {

const char* kSvd = "stabilityai/stable-video-diffusion-img2vid";
const char* kSvdXt = "stabilityai/stable-video-diffusion-img2vid-xt";
const char* kSvdXt11 = "stabilityai/stable-video-diffusion-img2vid-xt-1-1";
const char* kSv3d = "stabilityai/sv3d";
const char* kSvdLicense = "Stable Video Diffusion Community License";
const char* kSvd11License = "Stable Video Diffusion 1.1 Community License";
const char* kSv3dLicense = "Stable Video 3D Community License";
const char* kSdxlTurbo = "stabilityai/sdxl-turbo";
const char* kSdxlVaeFix = "madebyollin/sdxl-vae-fp16-fix";
const char* kSdxlTurboLicense = "Stability AI Non-Commercial Research Community License";

// Parameters as the architectures have them; the image-decoder files hold the plain decoder instead of the
// temporal one.
constexpr int64_t kSvdParameters = 2389819785, kTemporalDecoder = 63579183, kPlainDecoder = 49490179;
constexpr int64_t kSvdImageDecoderParameters = kSvdParameters - kTemporalDecoder + kPlainDecoder;

// UNet, autoencoder, the two text encoders.
constexpr int64_t kSdxlParameters = 2567463684 + 83653863 + 123060480 + 694659840;

}  // namespace

const std::vector<ModelEntry>& model_catalog() {
  static const std::vector<ModelEntry> entries = {
      {ModelKind::video, "svd_xt_1_1", "picture to video, 25 frames", kSvdXt11, "svd_xt_1_1.safetensors",
       kSvdParameters, 4.8, kSvd11License, true, "animate"},
      {ModelKind::video, "svd_xt", "picture to video, 25 frames", kSvdXt, "svd_xt.safetensors",
       kSvdParameters, 9.6, kSvdLicense, false, ""},
      {ModelKind::video, "svd_xt_image_decoder", "the same, decoded frame by frame", kSvdXt,
       "svd_xt_image_decoder.safetensors", kSvdImageDecoderParameters, 9.5, kSvdLicense, false, ""},
      {ModelKind::video, "svd", "picture to video, 14 frames", kSvd, "svd.safetensors", kSvdParameters, 9.6,
       kSvdLicense, false, ""},
      {ModelKind::video, "svd_image_decoder", "the same, decoded frame by frame", kSvd,
       "svd_image_decoder.safetensors", kSvdImageDecoderParameters, 9.5, kSvdLicense, false, ""},
      {ModelKind::video, "sv3d_p", "picture to 21 views, elevation given", kSv3d, "sv3d_p.safetensors",
       2342222549, 9.4, kSv3dLicense, true, "multiview"},
      {ModelKind::video, "sv3d_u", "picture to 21 views", kSv3d, "sv3d_u.safetensors", 2340911829, 9.4,
       kSv3dLicense, true, ""},
      {ModelKind::image, "sdxl_turbo", "picture and text to picture", kSdxlTurbo,
       "sd_xl_turbo_1.0_fp16.safetensors", kSdxlParameters, 6.9, kSdxlTurboLicense, false, "refine"},
      {ModelKind::image, "sdxl_turbo_f32", "the same in full precision", kSdxlTurbo,
       "sd_xl_turbo_1.0.safetensors", kSdxlParameters, 13.9, kSdxlTurboLicense, false, ""},
      {ModelKind::autoencoder, "sdxl_vae_fp16_fix", "autoencoder that EG4D uses with it", kSdxlVaeFix,
       "sdxl_vae.safetensors", 83653863, 0.3, "MIT", false, "refine"},
  };
  return entries;
}

const ModelEntry& find_model_entry(const std::string& name) {
  std::vector<std::string> names;
  std::string listed;
  for (const ModelEntry& entry : model_catalog()) {
    if (entry.name == name) return entry;
    names.push_back(entry.name);
    listed += (listed.empty() ? "" : ", ") + entry.name;
  }
  throw UsageError(
      fmt::format("there is no model \"{}\"{}; known are {}", name, did_you_mean(name, names), listed));
}

}  // namespace eg4d
