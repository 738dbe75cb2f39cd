#pragma once

#include <memory>
#include <optional>

#include "diffusion/image_to_image.h"
#include "models/model_store.h"
#include "nn/network_type.h"
#include "pipeline/refine.h"
#include "vision/depth.h"
#include "vision/matting.h"

namespace eg4d {

// How reference pictures are refined; the defaults are EG4D's settings for SDXL-Turbo.
struct DiffusionPainterOptions {
  std::string prompt;
  std::string negative_prompt;  // used with guidance above 1, also that of score distillation
  uint64_t seed = 0;
  std::string rng = "philox";
  NetworkPrecision precision = NetworkPrecision::automatic;
  int size = 0;  // the pictures' longer side inside; 0: as they are
  ImageToImage::Options sampling;

  void bind(ConfigSchema& schema);
  ImageToImage::Options made() const;  // `sampling`, whose strength of 0 means one step
  // Throws UsageError when no denoising step would be made.
  void check() const;
};

// SDXL(-Turbo) image-to-image, on request held to the reference picture's depth by a ControlNet; then, with
// matting weights, everything but the object becomes background.
class DiffusionPainter : public TargetPainter {
 public:
  struct Models {
    ModelLocation network;                     // SDXL, SDXL-Turbo or a sibling
    std::optional<ModelLocation> autoencoder;  // instead of the network's own
    std::optional<ModelLocation> matting;
    struct Control {
      ModelLocation network;  // a ControlNet for depth maps
      ModelLocation depth;    // DPT-Hybrid
    };
    std::optional<Control> control{};  // needed when the options' control_scale is above 0
  };
  // By names of the catalogue or by paths. Without a name, sdxl_vae_fp16_fix and u2net are taken where they
  // are found; "none" takes neither. Throws Error, saying how to get it, for what is named and not there.
  static Models find_models(const std::string& network, const std::string& autoencoder,
                            const std::string& matting, const std::filesystem::path& folder);

  // Likewise; controlnet_depth_sdxl_small and dpt_hybrid_midas without names.
  static Models::Control find_control(const std::string& network, const std::string& depth,
                                      const std::filesystem::path& folder);

  // What a painter's identity() is, without reading weights.
  static PainterIdentity identity_of(const Models& models, const DiffusionPainterOptions& options);

  // Reads all weights and embeds the prompt. The backend must outlive it. Throws UsageError, before
  // that, when a ControlNet is given and the options do not use it, or the other way round, and when they
  // leave no step to make.
  DiffusionPainter(Backend& backend, const Models& models, const DiffusionPainterOptions& options);

  Picture paint(const Picture& reference, size_t view, Background background) override;
  RefinementTrainer::Distiller distiller() override;
  void release() override;
  PainterIdentity identity() const override { return identity_of(models_, options_); }

 private:
  ImageToImage& network();
  std::vector<float> hint(const Picture& picture);

  Backend& backend_;
  const Models models_;
  const DiffusionPainterOptions options_;
  // Null once released; the depth network also without a ControlNet.
  std::unique_ptr<DepthEstimator> depth_;
  std::unique_ptr<ImageToImage> network_;
  std::optional<Matting> matting_;
};

// No diffusion: every view is to show the reference picture itself.
class ReferencePainter : public TargetPainter {
 public:
  Picture paint(const Picture& reference, size_t, Background) override { return reference; }
  PainterIdentity identity() const override { return {"reference pictures"}; }
};

// The text of prompt.txt in the run folder or the dataset, without white space at its ends; empty where there
// is none. Throws Error when it is too long for a prompt (64 KiB).
std::string prompt_file_text(const std::filesystem::path& run, const std::filesystem::path& dataset);

}  // namespace eg4d
