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

}  // namespace

StageFolder::StageFolder(fs::path folder, const Manifest& manifest, bool overwrite)
    : path_(std::move(folder)), manifest_(manifest) {
  std::error_code error;
  if (overwrite) fs::remove_all(path_, error);
  make_folder(path_);
  const fs::path file = path_ / "manifest.json";
  if (!fs::exists(file)) {
    write();
    return;
  }
  std::ifstream stream(file);
  json before = json::parse(stream, nullptr, false);
  if (!before.is_object())
    throw Error(fmt::format("{} cannot be read; --overwrite starts the stage anew", file.string()));
  finished_ = before.value("finished", false);
  before.erase("finished");
  if (const std::string difference = first_difference(before, to_json(manifest)); !difference.empty())
    throw Error(fmt::format(
        "{} holds results of other settings ({}): give another output folder with -o, or --overwrite "
        "to replace them",
        path_.string(), difference));
}

void StageFolder::write() const {
  json manifest = to_json(manifest_);
  manifest["finished"] = finished_;
  write_file_atomically(path_ / "manifest.json", manifest.dump(2) + "\n");
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
