#include "models/model_store.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>

#include "core/error.h"

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

}  // namespace eg4d
