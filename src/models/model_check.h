#pragma once

// Whether a network's weights are what they should be, and what their files tell.

#include <cstdint>
#include <string>

#include "core/progress.h"
#include "models/model_store.h"

namespace eg4d {

// What the headers of a trained-here model's files tell of its training, for people: "svd: 2077 steps, 167 s,
// loss 0.17, commit cb0db26, seed 0; …"; empty when they tell nothing.
std::string training_record(const ModelLocation& location);

struct ModelCheck {
  std::string problem;      // empty: all is well
  bool unreadable = false;  // the problem is that a file could not be read, not what it holds
  int64_t tensors = 0, parameters = 0;
  std::string stored_as;  // "f16", "f32", "f16 and f32"
  bool hash_verified = false;
};
// Opens the file (or the files of the folder), checks its structure and the number of parameters, and with
// `hash` compares the SHA-256 with the one on record.
ModelCheck check_model(const ModelEntry& entry, const ModelLocation& location, bool hash, Progress& progress);

}  // namespace eg4d
