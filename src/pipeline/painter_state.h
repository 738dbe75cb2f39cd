#pragma once

#include <filesystem>
#include <optional>
#include <vector>

namespace eg4d {

// What a picture contributes to its video's condition.
struct PictureConditions {
  int height = 0, width = 0;                // of the latents
  std::vector<std::vector<float>> context;  // per video: [context width]
  std::vector<std::vector<float>> concat;   // per video: [height, width, 4]
};

// The state of an unfinished painting in a folder. Files are written atomically; reading gives nothing when
// there are none, and throws Error when they are damaged.
void save_conditions(const std::filesystem::path& folder, const PictureConditions& conditions);
std::optional<PictureConditions> load_conditions(const std::filesystem::path& folder);

struct LatentState {
  int steps_done = 0;
  size_t videos = 0;
  std::vector<float> latents;  // [videos, frames, height, width, 4]
};
void save_latents(const std::filesystem::path& folder, const LatentState& state);
// `videos` latents of `size` numbers each are expected.
std::optional<LatentState> load_latents(const std::filesystem::path& folder, size_t videos, size_t size);

void remove_painter_state(const std::filesystem::path& folder);

}  // namespace eg4d
