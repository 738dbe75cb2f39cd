#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "models/model_catalog.h"

namespace eg4d {

// Where a network's weights are.
struct ModelLocation {
  std::filesystem::path path;  // the file; for the diffusers layout its folder (unet/, vae/, …)
  bool diffusers_layout = false;
  std::optional<std::string>
      sha256;  // what the file should hash to, when a download or the hub's cache left word of it
};

// Folders that are searched, in order: `folder` when given; $EG4D_MODELS; models/ and checkpoints/ of the
// working folder; the store (where fetch puts files: $EG4D_MODELS, else ~/.cache/eg4d/models).
std::vector<std::filesystem::path> model_folders(const std::filesystem::path& folder = {});
std::filesystem::path model_store_folder();
// Where the models that come with the program may be, in order: `folder`/mini where given,
// share/eg4d/models/mini beside an installed program, models/mini of the source tree that it was built in.
std::vector<std::filesystem::path> bundled_model_folders(const std::filesystem::path& folder = {});
// Hugging Face's own folder ($HF_HOME, $XDG_CACHE_HOME/huggingface, ~/.cache/huggingface) and the cache in it
// ($HF_HUB_CACHE, $HUGGINGFACE_HUB_CACHE, else hub/).
std::filesystem::path hugging_face_home();
std::filesystem::path hugging_face_cache();

// Looks for the model's file, or its repository in the diffusers layout, in those folders and in Hugging
// Face's cache; for a bundled model in bundled_model_folders.
std::optional<ModelLocation> find_model(const ModelEntry& entry, const std::filesystem::path& folder = {});

// For a network of one file; throws Error, how_to_get, when it is not here.
ModelLocation require_file(const ModelEntry& entry, const std::filesystem::path& folder = {});
// One sentence.
std::string how_to_get(const ModelEntry& entry, const std::filesystem::path& folder = {});

// The location of what a command was given as its model: a name of the catalogue, a file, or a folder in the
// diffusers layout. Throws Error saying how to get it when it is not here.
ModelLocation require_model(const std::string& name_or_path, const std::filesystem::path& folder = {});

// The same for another network than the model itself: a name of the catalogue, which must be of that kind, a
// file, or a folder as its reader takes it. Throws UsageError for a model of another kind.
ModelLocation require_model_of_kind(const std::string& name_or_path, ModelKind kind,
                                    const std::filesystem::path& folder = {});

}  // namespace eg4d
