#include "pipeline/stage_folder.h"

#include <fmt/format.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "io/atomic_file.h"
#include "io/folder.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kManifestFile = "manifest.json";

json read_manifest(const fs::path& folder) {
  std::ifstream stream(folder / kManifestFile);
  return json::parse(stream, nullptr, false);
}

json to_json(const StageFolder::Manifest& manifest) {
  return {{"stage", manifest.stage},
          {"version", 1},
          {"options", json::parse(manifest.options_json)},
          {"input", manifest.input},
          {"model", manifest.model}};
}

// "guidance.min" for "/options/guidance/min".
std::string readable(std::string pointer) {
  if (const std::string options = "/options/"; pointer.rfind(options, 0) == 0)
    pointer.erase(0, options.size());
  if (!pointer.empty() && pointer[0] == '/') pointer.erase(0, 1);
  for (char& c : pointer)
    if (c == '/') c = '.';
  return pointer;
}

// The first entry in which the two differ, as a sentence's part; empty when there is none.
std::string first_difference(const json& before, const json& now) {
  const json a = before.flatten(), b = now.flatten();
  for (const auto& [key, value] : b.items())
    if (!a.contains(key) || a[key] != value)
      return fmt::format("{} is {}, it was {}", readable(key), value.dump(),
                         a.contains(key) ? a[key].dump() : "not set");
  for (const auto& [key, value] : a.items())
    if (!b.contains(key)) return fmt::format("{} was {} and is not set now", readable(key), value.dump());
  return {};
}

// Why the folder's results are not those of `manifest`, a sentence; empty where there are none or they are.
std::string mismatch(const fs::path& folder, const StageFolder::Manifest& manifest) {
  if (!fs::exists(folder / kManifestFile)) return {};
  json before = read_manifest(folder), now = to_json(manifest);
  if (!before.is_object())
    return fmt::format("{} cannot be read; --overwrite starts the stage anew",
                       (folder / kManifestFile).string());
  before.erase("finished");
  if (manifest.input.empty()) {
    before.erase("input");
    now.erase("input");
  }
  const std::string difference = first_difference(before, now);
  if (difference.empty()) return {};
  // Stage III works within the run folder of the stage before it.
  const char* remedy = manifest.stage == "refine" ? "--overwrite replaces them"
                                                  : "give another output folder with -o, or --overwrite to "
                                                    "replace them";
  return fmt::format("{} holds results of other settings ({}): {}", folder.string(), difference, remedy);
}

}  // namespace

StageFolder::StageFolder(fs::path folder, const Manifest& manifest, bool overwrite, bool overwrite_other)
    : path_(std::move(folder)), manifest_(manifest) {
  if (overwrite || (overwrite_other && !mismatch(path_, manifest).empty())) {
    std::error_code error;
    fs::remove_all(path_, error);
    if (error)
      throw Error(fmt::format("cannot remove '{}' to make it anew: {}", path_.string(), error.message()));
  }
  make_folder(path_);
  if (!fs::exists(path_ / kManifestFile)) {
    write();
    return;
  }
  check(path_, manifest);
  finished_ = read_manifest(path_).value("finished", false);
}

void StageFolder::check(const fs::path& folder, const Manifest& manifest) {
  if (const std::string sentence = mismatch(folder, manifest); !sentence.empty()) throw Error(sentence);
}

void StageFolder::write() const {
  json manifest = to_json(manifest_);
  manifest["finished"] = finished_;
  write_file_atomically(path_ / kManifestFile, manifest.dump(2) + "\n");
}

void StageFolder::finish() {
  finished_ = true;
  write();
}

std::string model_identity(const fs::path& model) {
  std::error_code error;
  const auto size = fs::is_regular_file(model) ? fs::file_size(model, error) : 0;
  std::string word;
  fs::path record = model;
  record += ".sha256";
  if (!(std::ifstream(record) >> word)) word.clear();
  return fmt::format("{} {} {}", model.filename().string(), size, word);
}

}  // namespace eg4d
