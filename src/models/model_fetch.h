#pragma once

#include <filesystem>
#include <string>

#include "core/progress.h"
#include "models/model_catalog.h"

namespace eg4d {

// The user's access token for the Hugging Face hub: $HF_TOKEN, $HUGGING_FACE_HUB_TOKEN, else the file that
// its own tools write ($HF_TOKEN_PATH, $HF_HOME/token, ~/.cache/huggingface/token). Empty when there is none.
std::string hugging_face_token();

// What to do to be let at a gated repository: accept the licence, make a token, where to put it.
std::string gated_access_help(const ModelEntry& entry);

// Downloads the model's file from the hub ($HF_ENDPOINT, else huggingface.co) into `folder` and leaves its
// SHA-256 in <file>.sha256. Continues an earlier download. Throws Error with what the user can do: token
// missing or wrong, licence not accepted, file gone, network down, damaged transfer. What is proven to be no
// such model is renamed to <file>.rejected; what could not be checked stays. Returns the file.
std::filesystem::path fetch_model(const ModelEntry& entry, const std::filesystem::path& folder,
                                  Progress& progress);

}  // namespace eg4d
