#include "models/model_catalog.h"

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
const char* kSdxlBase = "stabilityai/stable-diffusion-xl-base-1.0";
const char* kControlNetDepth = "diffusers/controlnet-depth-sdxl-1.0";
const char* kControlNetDepthSmall = "diffusers/controlnet-depth-sdxl-1.0-small";
const char* kDptHybrid = "Intel/dpt-hybrid-midas";
const char* kSdxlVaeFix = "madebyollin/sdxl-vae-fp16-fix";
const char* kClipL14 = "openai/clip-vit-large-patch14";
const char* kClipB32 = "openai/clip-vit-base-patch32";
const char* kOpenRail = "CreativeML Open RAIL++-M License";
const char* kSdxlTurboLicense = "Stability AI Non-Commercial Research Community License";

// Parameters as the architectures have them; the image-decoder files hold the plain decoder instead of the
// temporal one.
constexpr int64_t kSvdParameters = 2389819785, kTemporalDecoder = 63579183, kPlainDecoder = 49490179;
constexpr int64_t kSvdImageDecoderParameters = kSvdParameters - kTemporalDecoder + kPlainDecoder;

// UNet, autoencoder, the two text encoders.
constexpr int64_t kSdxlParameters = 2567463684 + 83653863 + 123060480 + 694659840;

const std::string kRembg = "https://github.com/danielgatis/rembg/releases/download/v0.0.0/";
const std::string kTorchvision = "https://download.pytorch.org/models/";
const std::string kLpips =
    "https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/master/lpips/weights/v0.1/";

// Small networks that are downloaded from their authors' pages.
ModelEntry file_entry(ModelKind kind, const char* name, const char* purpose, const std::string& folder,
                      const char* file, int64_t parameters, double gigabytes, const char* license,
                      const char* needed_by) {
  return {kind, name, purpose, "", file, parameters, gigabytes, license, false, needed_by, folder + file};
}

// Our own small networks. `parameters` is 0: as many as the file has.
ModelEntry bundled_entry(ModelKind kind, const char* name, const char* purpose, const char* file,
                         double gigabytes) {
  ModelEntry entry{kind, name,      purpose,      "",    file,
                   0,    gigabytes, "Apache-2.0", false, "generate --preset mini"};
  entry.source = "comes with eg4d; trained by training/ of its repository";
  entry.bundled = true;
  return entry;
}

}  // namespace

bool is_single_file(ModelKind kind) {
  return kind == ModelKind::matting || kind == ModelKind::lpips_backbone || kind == ModelKind::lpips_heads ||
         kind == ModelKind::clip_image || kind == ModelKind::depth;
}

bool is_one_network(ModelKind kind) {
  return kind == ModelKind::autoencoder || kind == ModelKind::control_net;
}

std::string ModelEntry::address() const {
  return repository.empty() ? source : "https://huggingface.co/" + repository;
}

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
      {ModelKind::image, "sdxl_base", "picture and text to picture, slower", kSdxlBase,
       "sd_xl_base_1.0.safetensors", kSdxlParameters, 6.9, kOpenRail, false, ""},
      {ModelKind::control_net, "controlnet_depth_sdxl", "holds SDXL to a depth map", kControlNetDepth,
       "controlnet-depth-sdxl-1.0.safetensors", 1251014160, 2.5, kOpenRail, false, "",
       "diffusion_pytorch_model.fp16.safetensors"},
      // How many numbers this one holds could not be looked up: 0, as many as the file has.
      {ModelKind::control_net, "controlnet_depth_sdxl_small", "the same, small: EG4D's",
       kControlNetDepthSmall, "controlnet-depth-sdxl-1.0-small.safetensors", 0, 0.3, kOpenRail, false, "",
       "diffusion_pytorch_model.fp16.safetensors"},
      {ModelKind::depth, "dpt_hybrid_midas", "picture to depth map", kDptHybrid, "dpt-hybrid-midas.bin",
       122377985, 0.5, "Apache-2.0", false, "", "pytorch_model.bin"},
      {ModelKind::autoencoder, "sdxl_vae_fp16_fix", "autoencoder that EG4D uses with it", kSdxlVaeFix,
       "sdxl_vae.safetensors", 83653863, 0.3, "MIT", false, "refine"},
      file_entry(ModelKind::matting, "u2net", "cuts the object out", kRembg, "u2net.onnx", 43981069, 0.18,
                 "Apache-2.0", "refine"),
      file_entry(ModelKind::matting, "u2netp", "the same, small", kRembg, "u2netp.onnx", 1125485, 0.005,
                 "Apache-2.0", ""),
      file_entry(ModelKind::matting, "isnet", "the same, finer", kRembg, "isnet-general-use.onnx", 44004737,
                 0.18, "Apache-2.0", ""),
      file_entry(ModelKind::lpips_backbone, "alexnet", "LPIPS: features", kTorchvision,
                 "alexnet-owt-7be5be79.pth", 2469696, 0.24, "BSD-3-Clause", "refine"),
      file_entry(ModelKind::lpips_backbone, "vgg16", "LPIPS: features, VGG", kTorchvision,
                 "vgg16-397923af.pth", 14714688, 0.55, "BSD-3-Clause", ""),
      file_entry(ModelKind::lpips_heads, "lpips_alex", "LPIPS: linear heads", kLpips, "alex.pth", 1152, 6e-6,
                 "BSD-2-Clause", "refine"),
      file_entry(ModelKind::lpips_heads, "lpips_vgg", "LPIPS: linear heads, VGG", kLpips, "vgg.pth", 1472,
                 7e-6, "BSD-2-Clause", ""),
      {ModelKind::clip_image, "clip_vit_l_14", "CLIP-I: similarity of pictures", kClipL14,
       "clip-vit-large-patch14.safetensors", 303966208, 1.7, "MIT", false, "", "model.safetensors"},
      {ModelKind::clip_image, "clip_vit_b_32", "the same, small", kClipB32, "clip-vit-base-patch32.bin",
       87849216, 0.6, "MIT", false, "", "pytorch_model.bin"},
      bundled_entry(ModelKind::video, "svd_mini", "picture to video, 8 frames, 128×128",
                    "svd_mini.safetensors", 0.015),
      bundled_entry(ModelKind::video, "sv3d_mini", "picture to 21 views, 128×128", "sv3d_mini.safetensors",
                    0.015),
      bundled_entry(ModelKind::image, "sdxl_mini", "picture and text to picture, 128×128", "sdxl_mini",
                    0.015),
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
