#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "scene/dataset.h"
#include "splat/model.h"

namespace eg4d {

// Who shows an object.
struct ViewerServing {
  bool served = false;       // a server, which has more than the object
  bool token_reads = false;  // even reading needs the link's token
  bool live = false;         // a run, which may go on being trained
};

// What the viewer's page tells of an object, as JSON. `place` is the model's file or folder, `named` what the
// user called it.
std::string viewer_info(const ModelInfo& info, const std::filesystem::path& named,
                        const std::filesystem::path& place, const ViewerServing& serving);

// The cameras and pictures of the dataset that a model was trained on, for the viewer's page; read when they
// are first asked for.
class ViewerDataset {
 public:
  // `given`: as for dataset_of_model; may be empty.
  ViewerDataset(std::filesystem::path model, std::filesystem::path given, ModelInfo info);

  // {"splits": [{"name", "frames": [{"name", "time", "width", "height", "pose", …}]}], "note"}: the note says
  // why there are none. pose: the first three rows of camera to world, OpenGL axes.
  const std::string& cameras();
  // Composited on the background as training saw it. None for another split or index. Throws Error for one
  // that cannot be read, or lies outside of the dataset's folder (through a link, or "..").
  std::optional<std::string> picture(const std::string& split, size_t index);

 private:
  void open();
  std::string describe() const;

  const std::filesystem::path model_, given_;
  const ModelInfo info_;
  bool opened_ = false;
  std::optional<Dataset> dataset_;
  std::string note_, cameras_;
};

}  // namespace eg4d
