#include "models/model_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "core/error.h"
#include "core/interrupt.h"
#include "diffusion/control_checkpoint.h"
#include "diffusion/image_checkpoint.h"
#include "diffusion/video_checkpoint.h"
#include "io/safetensors.h"
#include "io/sha256.h"
#include "vision/clip_similarity.h"
#include "vision/depth.h"
#include "vision/lpips.h"
#include "vision/u2net.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> safetensors_files(const ModelEntry& entry, const ModelLocation& location) {
  if (!location.diffusers_layout) return {location.path};
  std::vector<fs::path> files;
  for (const auto& part :
       fs::recursive_directory_iterator(location.path, fs::directory_options::follow_directory_symlink))
    if (part.path().extension() == ".safetensors" &&
        (part.path().parent_path() != location.path || is_one_network(entry.kind)))
      files.push_back(part.path());
  std::sort(files.begin(), files.end());
  return files;
}

WeightMap weights_of_file(const ModelEntry& entry, const ModelLocation& location) {
  if (entry.kind == ModelKind::matting) return read_u2net_weights(location.path);
  if (entry.kind == ModelKind::depth) return read_dpt_weights(location.path);
  return read_weights(location.path);
}

// "svd.steps" → ("svd", "steps").
std::pair<std::string, std::string> stage_and_key(const std::string& name) {
  const size_t dot = name.find('.');
  if (dot == std::string::npos) return {};
  return {name.substr(0, dot), name.substr(dot + 1)};
}

// "2077 steps, 167 s, loss 0.17": what is known of a stage's training.
std::string record_text(const std::map<std::string, std::string>& record) {
  constexpr const char* kForms[][2] = {{"steps", "{} steps"},  {"seconds", "{} s"},     {"loss", "loss {}"},
                                       {"psnr", "PSNR {} dB"}, {"commit", "commit {}"}, {"seed", "seed {}"}};
  std::string text;
  for (const auto& [key, form] : kForms)
    if (const auto found = record.find(key); found != record.end())
      text += (text.empty() ? "" : ", ") + fmt::format(fmt::runtime(form), found->second);
  return text;
}

// The tensors that eg4d takes of a file; throws Error when they do not fit the network.
WeightMap checked_file(const ModelEntry& entry, const ModelLocation& location) {
  const WeightMap weights = weights_of_file(entry, location);
  switch (entry.kind) {
    case ModelKind::matting:
      U2Net::check(weights);
      return weights;
    case ModelKind::depth:
      return weights;
    case ModelKind::lpips_backbone:
      Lpips::check_backbone(weights);
      return weights.below("features.");
    case ModelKind::lpips_heads:
      Lpips::check_heads(weights);
      return weights;
    default:
      return ClipSimilarity::checked(weights);
  }
}

// Names and shapes.
void check_structure(const ModelEntry& entry, const ModelLocation& location) {
  switch (entry.kind) {
    case ModelKind::video:
      VideoCheckpoint(location.path);
      break;
    case ModelKind::image:
      ImageCheckpoint(location.path);
      break;
    case ModelKind::autoencoder:
      ImageCheckpoint::check_autoencoder(location.path);
      break;
    case ModelKind::control_net:
      ControlNetCheckpoint(location.path);
      break;
    default:
      break;
  }
}

void verify_hash(const ModelLocation& location, ModelCheck& check, Progress& progress) {
  progress.begin(static_cast<int64_t>(fs::file_size(location.path)),
                 "SHA-256 of " + location.path.filename().string());
  progress.in_bytes();
  Sha256 hash;
  hash_file(location.path, hash, [&](int64_t bytes) {
    progress.update(bytes);
    if (interrupt_requested()) throw Interrupted("interrupted; nothing was changed");
  });
  check.hash_verified = hash.hex() == *location.sha256;
  if (!check.hash_verified)
    check.problem = fmt::format("its SHA-256 is {} and should be {}: remove it and fetch it again",
                                hash.hex(), *location.sha256);
}

}  // namespace

std::string training_record(const ModelLocation& location) {
  std::map<std::string, std::map<std::string, std::string>> stages;
  ModelEntry any;
  for (const fs::path& file : safetensors_files(any, location)) {
    const SafetensorsFile tensors(file);
    for (const auto& [name, value] : tensors.metadata())
      if (const auto [stage, key] = stage_and_key(name); !stage.empty()) stages[stage][key] = value;
  }
  std::string text;
  for (const auto& [stage, record] : stages)
    if (const std::string parts = record_text(record); !parts.empty())
      text += fmt::format("{}{}: {}", text.empty() ? "" : "; ", stage, parts);
  return text;
}

ModelCheck check_model(const ModelEntry& entry, const ModelLocation& location, bool hash,
                       Progress& progress) {
  ModelCheck check;
  std::set<std::string> types;
  try {
    const auto count = [&](const Shape& shape, DType type) {
      ++check.tensors;
      check.parameters += element_count(shape);
      types.insert(name_of(type));
    };
    if (is_single_file(entry.kind)) {
      const WeightMap weights = checked_file(entry, location);
      for (const auto& [name, item] : weights.items()) count(item.shape, item.parts.front()->dtype);
    } else {
      for (const fs::path& file : safetensors_files(entry, location)) {
        const SafetensorsFile tensors(file);
        for (const auto& [name, tensor] : tensors.entries()) count(tensor.shape, tensor.dtype);
      }
      check_structure(entry, location);
    }
    if (!location.diffusers_layout && check.parameters < entry.parameters)
      check.problem =
          fmt::format("it holds {} parameters, {} are expected: a smaller network of the same family",
                      check.parameters, entry.parameters);
    if (hash && location.sha256) verify_hash(location, check, progress);
  } catch (const Interrupted&) {
    throw;
  } catch (const Error& error) {
    check.problem = error.what();
    check.unreadable = dynamic_cast<const UnreadableFile*>(&error) != nullptr;
  }
  for (const std::string& type : types) check.stored_as += (check.stored_as.empty() ? "" : " and ") + type;
  return check;
}

}  // namespace eg4d
