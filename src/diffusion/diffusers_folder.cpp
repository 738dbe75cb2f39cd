#include "diffusion/diffusers_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "io/json_file.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;

const std::string kFirstStage = "first_stage_model.";

// By network and name in its file.
using FolderTensors = std::map<std::string, const SafetensorsFile::Entry*>;

bool is_text_or_image_encoder(const std::string& component) {
  return component.find("encoder") != std::string::npos;
}

// The files that an index of shards names.
std::vector<fs::path> shards(const fs::path& index) {
  std::set<std::string> names;
  try {
    const nlohmann::json json = read_json(index);
    for (const auto& [tensor, file] : json.at("weight_map").items()) names.insert(file.get<std::string>());
  } catch (const nlohmann::json::exception& error) {
    throw Error(fmt::format("'{}' is no index of shards: {}", index.string(), error.what()));
  }
  std::vector<fs::path> files;
  for (const std::string& name : names) {
    files.push_back(index.parent_path() / fs::path(name).filename());
    if (!fs::exists(files.back()))
      throw Error(fmt::format("'{}' names the shard '{}', which is not there", index.string(), name));
  }
  return files;
}

// Empty when there are none.
std::vector<fs::path> files_with_stem(const fs::path& folder, const std::string& stem) {
  for (const std::string variant : {".fp16", ""}) {
    if (const fs::path file = folder / (stem + variant + ".safetensors"); fs::exists(file)) return {file};
    if (const fs::path index = folder / (stem + ".safetensors.index" + variant + ".json"); fs::exists(index))
      return shards(index);
  }
  return {};
}

std::vector<fs::path> files_of(const fs::path& folder, const std::string& component) {
  const std::string stem = is_text_or_image_encoder(component) ? "model" : "diffusion_pytorch_model";
  const std::vector<fs::path> files = files_with_stem(folder / component, stem);
  if (!files.empty()) return files;
  throw Error(
      fmt::format("'{}' has no '{}/{}.safetensors'; give a folder in the diffusers layout or a single "
                  "safetensors file",
                  folder.string(), component, stem));
}

// Older versions of the library named the autoencoder's attention otherwise.
std::string with_today_s_names(std::string name) {
  for (const auto& [old, today] :
       {std::pair<std::string, std::string>{".attentions.0.query.", ".attentions.0.to_q."},
        {".attentions.0.key.", ".attentions.0.to_k."},
        {".attentions.0.value.", ".attentions.0.to_v."},
        {".attentions.0.proj_attn.", ".attentions.0.to_out.0."}})
    if (const size_t at = name.find(old); at != std::string::npos) return name.replace(at, old.size(), today);
  return name;
}

void add_tensors(WeightMap& weights, const std::vector<fs::path>& files, const std::string& component,
                 FolderTensors& tensors) {
  for (const fs::path& file : files)
    for (const auto& [name, entry] : weights.add_file(file)->entries())
      if (!name.ends_with("position_ids"))  // a constant that some versions of the library stored
        tensors[component + "/" + (component == "vae" ? with_today_s_names(name) : name)] = &entry;
}

// The stored parts of one tensor under its name in the single file.
void add_stacked(WeightMap& weights, const std::string& name, WeightMap::Item item) {
  const std::string folder = weights.path().string();
  if (std::count(item.parts.begin(), item.parts.end(), nullptr) > 0)
    throw Error(fmt::format("'{}' does not fit the network: a part of '{}' is missing", folder, name));
  item.shape = item.parts[0]->shape;
  if (item.transposed && item.shape.size() == 2) std::swap(item.shape[0], item.shape[1]);
  item.transposed = item.transposed && item.shape.size() == 2;
  for (size_t i = 1; i < item.parts.size(); ++i) {
    if (item.parts[i]->shape != item.parts[0]->shape || item.shape.empty())
      throw Error(
          fmt::format("'{}' does not fit the network: the parts of '{}' differ in shape", folder, name));
    item.shape[0] += item.parts[i]->shape[0];
  }
  weights.add_item(name, std::move(item));
}

void add_under_single_names(WeightMap& weights, DiffusersFamily family, const FolderTensors& tensors) {
  const DiffusersNames names(DiffusersNames::structure_of_folder(family, [&](const std::string& prefix) {
    const auto found = tensors.lower_bound(prefix);
    return found != tensors.end() && found->first.starts_with(prefix);
  }));
  std::map<std::string, WeightMap::Item> items;
  for (const auto& [folder_name, entry] : tensors) {
    const auto place = names.to_single_file(folder_name);
    if (!place)
      throw Error(fmt::format("'{}' does not fit the network: '{}' is surplus", weights.path().string(),
                              folder_name));
    WeightMap::Item& item = items[place->name];
    item.parts.resize(place->parts);
    item.parts[place->part] = entry;
    item.transposed = place->transposed;
  }
  for (auto& [name, item] : items) add_stacked(weights, name, std::move(item));
}

// Of one network: the file itself, or those of its folder, which may lie in a model's.
std::vector<fs::path> network_files(const fs::path& path, const char* component, const char* network) {
  if (!fs::is_directory(path)) return {path};
  for (const fs::path& folder : {path, path / component})
    if (auto files = files_with_stem(folder, "diffusion_pytorch_model"); !files.empty()) return files;
  throw Error(fmt::format("'{}' has no 'diffusion_pytorch_model.safetensors': give {}'s folder or file",
                          path.string(), network));
}

}  // namespace

WeightMap read_diffusers_folder(const fs::path& folder, DiffusersFamily family) {
  WeightMap weights;
  weights.set_path(folder);
  FolderTensors tensors;
  const std::vector<std::string> components =
      family == DiffusersFamily::video
          ? std::vector<std::string>{"unet", "vae", "image_encoder"}
          : std::vector<std::string>{"unet", "vae", "text_encoder", "text_encoder_2"};
  for (const std::string& component : components)
    add_tensors(weights, files_of(folder, component), component, tensors);
  add_under_single_names(weights, family, tensors);
  return weights;
}

WeightMap read_autoencoder(const fs::path& path) {
  const std::vector<fs::path> files = network_files(path, "vae", "an autoencoder");
  const WeightMap stored(files[0]);
  if (stored.contains_prefix(kFirstStage)) {
    WeightMap own = stored.below(kFirstStage);
    own.set_path(path);
    return own;
  }
  WeightMap weights;
  weights.set_path(path);
  if (stored.contains_prefix("encoder.down.")) {
    weights.add(stored);
    for (const auto& [name, item] : stored.items()) {
      weights.add_item(kFirstStage + name, item);
      weights.remove(name);
    }
    return weights;
  }
  FolderTensors tensors;
  add_tensors(weights, files, "vae", tensors);
  add_under_single_names(weights, DiffusersFamily::image, tensors);
  return weights;
}

WeightMap read_video_unet(const fs::path& path) {
  const std::string single = "model.diffusion_model.";
  const std::vector<fs::path> files = network_files(path, "unet", "a UNet");
  const WeightMap stored(files[0]);
  if (stored.contains_prefix(single)) return stored.below(single);
  WeightMap weights;
  weights.set_path(path);
  FolderTensors tensors;
  add_tensors(weights, files, "unet", tensors);
  if (!tensors.count("unet/conv_in.weight"))
    throw Error(
        fmt::format("'{}' holds no UNet: neither 'conv_in.weight', as the diffusers library names it, nor "
                    "'{}input_blocks.0.0.weight'",
                    path.string(), single));
  add_under_single_names(weights, DiffusersFamily::video, tensors);
  return weights;
}

WeightMap read_control_net(const fs::path& path) {
  const std::string single = "model.diffusion_model.", folder = "unet/", own = folder + "controlnet_";
  WeightMap weights;
  weights.set_path(path);
  FolderTensors tensors;
  add_tensors(weights, network_files(path, "controlnet", "a ControlNet"), "unet", tensors);
  const bool output_blocks = tensors.count(folder + "conv_out.weight") != 0;
  FolderTensors only_here;
  for (auto item = tensors.begin(); item != tensors.end();) {
    const bool moves = item->first.starts_with(own);
    if (moves) only_here.insert(*item);
    item = moves ? tensors.erase(item) : std::next(item);
  }
  if (only_here.empty() || output_blocks)
    throw Error(
        fmt::format("'{}' is no ControlNet as the diffusers library keeps it (tensors 'controlnet_*'): give "
                    "controlnet-depth-sdxl-1.0 (\"eg4d models list\")",
                    path.string()));
  add_under_single_names(weights, DiffusersFamily::image, tensors);
  WeightMap named = weights;
  for (const auto& [name, item] : weights.items()) {
    named.remove(name);
    named.add_item("control_model." + name.substr(single.size()), item);
  }
  for (const auto& [name, entry] : only_here)
    named.add_item("control_model." + name.substr(folder.size()), {entry->shape, {entry}});
  return named;
}

}  // namespace eg4d
