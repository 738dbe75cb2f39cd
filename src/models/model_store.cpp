#include "models/model_store.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <map>
#include <set>

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

std::optional<fs::path> environment_path(const char* name) {
  const char* value = std::getenv(name);
  if (!value || !*value) return {};
  return fs::path(value);
}

fs::path cache_folder() {
  if (const auto cache = environment_path("XDG_CACHE_HOME")) return *cache;
  if (const auto home = environment_path("HOME")) return *home / ".cache";
  return ".cache";
}

bool exists_as_file(const fs::path& path) {
  std::error_code error;
  return fs::is_regular_file(path, error);
}

bool has_diffusers_file(const fs::path& folder) {
  for (const char* name : {"diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.fp16.safetensors",
                           "diffusion_pytorch_model.safetensors.index.json",
                           "diffusion_pytorch_model.safetensors.index.fp16.json"})
    if (exists_as_file(folder / name)) return true;
  return false;
}

bool has_diffusers_layout(const fs::path& folder) {
  return has_diffusers_file(folder / "unet");
}

// One network, whose folder is its own.
bool is_one_network(ModelKind kind) {
  return kind == ModelKind::autoencoder || kind == ModelKind::control_net;
}

bool has_diffusers_layout(const fs::path& folder, const ModelEntry& entry) {
  return is_one_network(entry.kind) ? has_diffusers_file(folder) : has_diffusers_layout(folder);
}

bool looks_like_sha256(const std::string& text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

// From FILE.sha256 (as sha256sum writes it), or the name of the cache's blob that the link leads to.
std::optional<std::string> recorded_sha256(const fs::path& file) {
  fs::path record = file;
  record += ".sha256";
  std::string word;
  if (std::ifstream(record) >> word && looks_like_sha256(word)) return word;
  std::error_code error;
  const std::string blob = fs::canonical(file, error).filename().string();
  if (!error && looks_like_sha256(blob)) return blob;
  return {};
}

std::vector<fs::path> published_folders(ModelKind kind) {
  const fs::path home = environment_path("HOME").value_or("");
  if (kind == ModelKind::matting) return {environment_path("U2NET_HOME").value_or(home / ".u2net")};
  if (kind == ModelKind::lpips_backbone)
    return {environment_path("TORCH_HOME").value_or(cache_folder() / "torch") / "hub" / "checkpoints"};
  return {};
}

// A network of one file, in any format that is read.
std::optional<ModelLocation> locate_file(const fs::path& folder, const ModelEntry& entry) {
  fs::path file = folder / entry.file;
  if (exists_as_file(file)) return ModelLocation{file, false, recorded_sha256(file)};
  for (const char* extension : {".safetensors", ".pth", ".bin", ".onnx"})
    if (exists_as_file(file.replace_extension(extension)))
      return ModelLocation{file, false, recorded_sha256(file)};
  return {};
}

std::optional<ModelLocation> locate(const fs::path& folder, const ModelEntry& entry) {
  if (exists_as_file(folder / entry.file))
    return ModelLocation{folder / entry.file, false, recorded_sha256(folder / entry.file)};
  if (has_diffusers_layout(folder, entry)) return ModelLocation{folder, true, {}};
  return {};
}

// Snapshots of the repository in the hub's cache, the one that refs/main names first.
std::vector<fs::path> snapshots(const ModelEntry& entry) {
  if (entry.repository.empty()) return {};
  std::string name = "models--" + entry.repository;
  name.replace(name.find('/'), 1, "--");
  const fs::path repository = hugging_face_cache() / name;
  std::vector<fs::path> found;
  std::string revision;
  if (std::ifstream(repository / "refs" / "main") >> revision)
    found.push_back(repository / "snapshots" / revision);
  std::error_code error;
  for (const auto& snapshot : fs::directory_iterator(repository / "snapshots", error))
    found.push_back(snapshot.path());
  if (found.size() > 1) std::sort(found.begin() + (revision.empty() ? 0 : 1), found.end());
  return found;
}

}  // namespace

std::vector<fs::path> bundled_model_folders(const fs::path& folder) {
  std::vector<fs::path> folders;
  if (!folder.empty()) folders.push_back(folder / "mini");
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error).parent_path();
  // Installed; not installed: build/release/eg4d, build/release/tests/eg4d_tests.
  for (const char* place : {"../share/eg4d/models/mini", "../../models/mini", "../../../models/mini"})
    folders.push_back((program / place).lexically_normal());
  return folders;
}

fs::path model_store_folder() {
  if (const auto folder = environment_path("EG4D_MODELS")) return *folder;
  return cache_folder() / "eg4d" / "models";
}

fs::path hugging_face_home() {
  if (const auto home = environment_path("HF_HOME")) return *home;
  return cache_folder() / "huggingface";
}

fs::path hugging_face_cache() {
  for (const char* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"})
    if (const auto folder = environment_path(name)) return *folder;
  return hugging_face_home() / "hub";
}

namespace {

std::optional<ModelLocation> find_bundled(const ModelEntry& entry, const fs::path& folder) {
  for (const fs::path& candidate : bundled_model_folders(folder)) {
    const fs::path path = candidate / entry.file;
    if (exists_as_file(path)) return ModelLocation{path, false, recorded_sha256(path)};
    if (has_diffusers_layout(path)) return ModelLocation{path, true, {}};
  }
  return {};
}

std::optional<ModelLocation> find_file(const ModelEntry& entry, const fs::path& folder) {
  std::vector<fs::path> folders = model_folders(folder);
  for (const fs::path& other : published_folders(entry.kind)) folders.push_back(other);
  for (const fs::path& candidate : folders)
    if (const auto location = locate_file(candidate, entry)) return location;
  for (const fs::path& snapshot : snapshots(entry))
    if (exists_as_file(snapshot / entry.source))
      return ModelLocation{snapshot / entry.source, false, recorded_sha256(snapshot / entry.source)};
  return {};
}

}  // namespace

std::vector<fs::path> model_folders(const fs::path& folder) {
  std::vector<fs::path> folders;
  if (!folder.empty()) folders.push_back(folder);
  if (const auto named = environment_path("EG4D_MODELS")) folders.push_back(*named);
  folders.insert(folders.end(), {"models", "checkpoints", model_store_folder()});
  return folders;
}

std::optional<ModelLocation> find_model(const ModelEntry& entry, const fs::path& folder) {
  if (entry.bundled) return find_bundled(entry, folder);
  if (is_single_file(entry.kind)) return find_file(entry, folder);
  const fs::path repository_name = fs::path(entry.repository).filename();
  for (const fs::path& candidate : model_folders(folder)) {
    if (exists_as_file(candidate / entry.file)) return locate(candidate, entry);
    if (has_diffusers_layout(candidate / repository_name, entry))
      return ModelLocation{candidate / repository_name, true, {}};
  }
  for (const fs::path& snapshot : snapshots(entry))
    if (const auto location = locate(snapshot, entry)) return location;
  return {};
}

ModelLocation require_file(const ModelEntry& entry, const fs::path& folder) {
  if (const auto location = find_model(entry, folder)) return *location;
  throw Error(how_to_get(entry));
}

std::string how_to_get(const ModelEntry& entry, const fs::path& folder) {
  if (entry.bundled) {
    std::string places;
    for (const fs::path& place : bundled_model_folders(folder))
      places += (places.empty() ? "" : ", ") + place.string();
    return fmt::format(
        "{} ({}) comes with eg4d but is not there: install eg4d again, or give the folder that holds mini/{} "
        "with --models-folder (looked in {})",
        entry.file, entry.purpose, entry.file, places);
  }
  return fmt::format(
      "{} ({}) is not on this machine: \"eg4d models fetch {}\" gets it from {}, or put it into {}",
      entry.file, entry.purpose, entry.name, entry.address(), model_store_folder().string());
}

ModelLocation require_model(const std::string& name_or_path, const fs::path& folder) {
  const fs::path path = name_or_path;
  if (exists_as_file(path)) return {path, false, recorded_sha256(path)};
  if (fs::is_directory(path)) {
    if (has_diffusers_layout(path)) return {path, true, {}};
    throw Error(fmt::format(
        "the folder {} holds no model in the diffusers layout (unet/diffusion_pytorch_model."
        "safetensors); give a .safetensors file, such a folder, or a name from \"eg4d models list\"",
        name_or_path));
  }
  if (path.has_parent_path() || path.extension() == ".safetensors")
    throw Error(fmt::format("there is no model file {}", name_or_path));
  const ModelEntry& entry = find_model_entry(name_or_path);
  if (const auto location = find_model(entry, folder)) return *location;
  if (entry.bundled) throw Error(how_to_get(entry, folder));
  throw Error(fmt::format(
      "the model {} is not on this machine: \"eg4d models fetch {}\" gets it, or give its file with "
      "--model (looked for {} in {} and in {})",
      entry.name, entry.name, entry.file, model_store_folder().string(), hugging_face_cache().string()));
}

namespace {

const char* what_it_does(ModelKind kind) {
  switch (kind) {
    case ModelKind::matting:
      return "cuts nothing out";
    case ModelKind::control_net:
      return "is no ControlNet";
    case ModelKind::depth:
      return "makes no depth maps";
    default:
      return "is of another kind";
  }
}

}  // namespace

ModelLocation require_model_of_kind(const std::string& name_or_path, ModelKind kind, const fs::path& folder) {
  const fs::path path = name_or_path;
  if (exists_as_file(path)) return {path, false, recorded_sha256(path)};
  if (!is_single_file(kind) || kind == ModelKind::depth)
    if (fs::is_directory(path)) return {path, true, {}};
  if (path.has_parent_path() || path.has_extension())
    throw Error(fmt::format("there is no model file {}", name_or_path));
  const ModelEntry& entry = find_model_entry(name_or_path);
  if (entry.kind == kind) return require_file(entry, folder);
  std::vector<std::string> names;
  for (const ModelEntry& one : model_catalog())
    if (one.kind == kind) names.push_back(one.name);
  throw UsageError(fmt::format("{} {}; \"eg4d models list\" has {}", name_or_path, what_it_does(kind),
                               fmt::join(names, ", ")));
}

namespace {

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
