#include "pipeline/painter_state.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "core/error.h"
#include "diffusion/edm_sampler.h"
#include "io/safetensors.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;

fs::path conditions_file(const fs::path& folder) {
  return folder / "conditions.safetensors";
}
fs::path latents_file(const fs::path& folder) {
  return folder / "latents.safetensors";
}

std::vector<float> joined(const std::vector<std::vector<float>>& rows) {
  std::vector<float> all;
  for (const auto& row : rows) all.insert(all.end(), row.begin(), row.end());
  return all;
}

std::vector<std::vector<float>> rows_of(const SafetensorsFile& file, const std::string& name) {
  const Shape& shape = file.at(name).shape;
  const std::vector<float> all = file.floats(name);
  std::vector<std::vector<float>> rows;
  const size_t count = shape.empty() ? 0 : static_cast<size_t>(shape[0]);
  for (size_t row = 0; row < count; ++row)
    rows.emplace_back(all.begin() + row * all.size() / count, all.begin() + (row + 1) * all.size() / count);
  return rows;
}

Error damaged(const fs::path& path) {
  return Error(fmt::format("'{}' is damaged: delete it, and the same command makes again what it held",
                           path.string()));
}

SafetensorsFile opened(const fs::path& path) {
  try {
    SafetensorsFile file(path);
    if (file.is_intact()) return file;
  } catch (const Error&) {
  }
  throw damaged(path);
}

int64_t width_of(const std::vector<std::vector<float>>& rows) {
  return rows.empty() ? 0 : static_cast<int64_t>(rows.front().size());
}

}  // namespace

void save_conditions(const fs::path& folder, const PictureConditions& conditions) {
  const auto videos = static_cast<int64_t>(conditions.context.size());
  const auto context = joined(conditions.context), concat = joined(conditions.concat);
  write_safetensors(
      conditions_file(folder),
      {{"context", DType::f32, {videos, width_of(conditions.context)}, context.data()},
       {"concat", DType::f32, {videos, conditions.height, conditions.width, kLatentChannels}, concat.data()}},
      {}, Checksum::yes);
}

std::optional<PictureConditions> load_conditions(const fs::path& folder) {
  if (!fs::exists(conditions_file(folder))) return {};
  const SafetensorsFile file = opened(conditions_file(folder));
  const Shape& shape = file.at("concat").shape;
  if (shape.size() != 4) throw damaged(file.path());
  return PictureConditions{static_cast<int>(shape[1]), static_cast<int>(shape[2]), rows_of(file, "context"),
                           rows_of(file, "concat")};
}

void save_latents(const fs::path& folder, const LatentState& state) {
  const auto videos = static_cast<int64_t>(state.videos), all = static_cast<int64_t>(state.latents.size());
  write_safetensors(
      latents_file(folder),
      {{"latents", DType::f32, {videos, all / std::max<int64_t>(videos, 1)}, state.latents.data()}},
      {{"steps_done", std::to_string(state.steps_done)}}, Checksum::yes);
}

std::optional<LatentState> load_latents(const fs::path& folder, size_t videos, size_t size) {
  if (!fs::exists(latents_file(folder))) return {};
  const SafetensorsFile file = opened(latents_file(folder));
  LatentState state{0, videos, file.floats("latents")};
  const auto steps = file.metadata().find("steps_done");
  const std::string text = steps == file.metadata().end() ? "" : steps->second;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), state.steps_done);
  const bool fits =
      file.at("latents").shape == Shape{static_cast<int64_t>(videos), static_cast<int64_t>(size)};
  if (text.empty() || parsed.ec != std::errc() || state.steps_done < 0 || !fits)
    throw Error(fmt::format("{} does not belong to this run: remove it, or start anew with --overwrite",
                            file.path().string()));
  return state;
}

void remove_painter_state(const fs::path& folder) {
  std::error_code ignored;
  fs::remove(conditions_file(folder), ignored);
  fs::remove(latents_file(folder), ignored);
}

}  // namespace eg4d
