#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/progress.h"
#include "diffusion/video_networks.h"
#include "heldout.h"
#include "pipeline/generate.h"
#include "pipeline/video_painter.h"

namespace eg4d::bench {

// One line of a table; figures by name: "PSNR" in dB, "SSIM", others in grey levels of [0,1].
struct QualityRow {
  std::string name;
  std::map<std::string, double> figures;
};
struct QualityTable {
  std::string title;
  std::vector<std::string> columns;
  std::vector<QualityRow> rows;
  std::vector<HeldOut::Row> pictures;  // to look at: the truth, below it what was generated; row after row
};

// How good the pictures of small models are on held-out creatures, through the pipeline's own painters.
class MiniQuality {
 public:
  MiniQuality(Backend& backend, const GenerateModels& models, const GenerateOptions& options,
              const HeldOut& data, Progress& progress);

  // What the autoencoder makes of pictures.
  QualityTable autoencoder();
  // Views of SV3D against the truth, beside the input's copy, the mean picture and the autoencoder's limit.
  QualityTable views();
  // Orbits of consecutive moments, with and without attention injection. Flicker: the mean of |change of the
  // generated views from moment to moment - change of the true ones|. At most `creatures`.
  QualityTable flicker(size_t creatures);
  // Clips of SVD: change and second difference from frame to frame, and identity, the cosine between the
  // image tower's embeddings of a frame and of the input.
  QualityTable clips();
  // What image to image makes of spoilt pictures.
  QualityTable mending();

 private:
  using Row = HeldOut::Row;
  QualityRow compare(const std::string& name, const std::vector<Row>& ours, const std::vector<Row>& truth);
  Row reconstructed(const Row& pictures);
  std::vector<Row> paint(VideoNetworks& networks, PaintJob job);
  std::vector<Row> turn(const std::vector<Picture>& inputs, double elevation, bool injection);
  double identity(const Row& frames, const std::vector<float>& input);

  Backend& backend_;
  const GenerateModels& models_;
  const GenerateOptions& options_;
  const HeldOut& data_;
  Progress& progress_;
  const DType precision_;
  VideoNetworks animator_, painter_;
};

}  // namespace eg4d::bench
