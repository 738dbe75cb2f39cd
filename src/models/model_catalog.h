#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace eg4d {

// What a checkpoint of it is read by.
enum class ModelKind {
  video,           // VideoCheckpoint
  image,           // ImageCheckpoint
  autoencoder,     // in place of an ImageCheckpoint's own
  control_net,     // ControlNetCheckpoint
  depth,           // DepthEstimator
  matting,         // Matting
  lpips_backbone,  // Lpips
  lpips_heads,
  clip_image,  // ClipSimilarity
};

// A published network that eg4d can run.
struct ModelEntry {
  ModelKind kind = ModelKind::video;
  std::string name;        // what commands call it: "svd_xt_1_1"
  std::string purpose;     // "picture to video, 25 frames"
  std::string repository;  // on the Hugging Face hub: "stabilityai/sv3d"
  std::string file;        // single-file layout: "sv3d_p.safetensors"
  int64_t parameters;      // numbers in the file
  double gigabytes;        // of the published file, about
  std::string license;     // name; its text is in the repository
  bool gated;              // the licence must be accepted on the repository's page before anything is sent
  std::string needed_by;   // commands that take it when nothing else is said
  // Where the file comes from, when that is not `file` in the repository: its name there, or its address.
  std::string source = {};
  // Comes with the program: in mini/ of the models folders (bundled_model_folders), and is not downloaded.
  bool bundled = false;

  std::string address() const;  // of the page or file, for people
};

// Networks that are one file each, which may also be in another format than the published one.
bool is_single_file(ModelKind kind);
// One network in the diffusers layout, whose folder is its own (of a whole model, each has a folder below).
bool is_one_network(ModelKind kind);

const std::vector<ModelEntry>& model_catalog();
// Throws UsageError, with the nearest name, for one that is not there.
const ModelEntry& find_model_entry(const std::string& name);

}  // namespace eg4d
