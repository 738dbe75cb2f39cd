#include "pipeline/stage_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "io/atomic_file.h"
#include "io/folder.h"
#include "io/sha256.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr int kVersion = 1;
constexpr const char* kManifest = "manifest.json";

// File names in it need not be UTF-8.
std::string text_of(const json& value, int indent = -1) {
  return value.dump(indent, ' ', false, json::error_handler_t::replace);
}

std::string contents_of(const StageFolder::Manifest& manifest) {
  return text_of({{"stage", manifest.stage},
                  {"version", kVersion},
                  {"options", json::parse(manifest.settings.given)},
                  {"input", manifest.input},
                  {"model", manifest.model}});
}

// "guidance.min" -> its value, for everything below `value`. Lists are values.
void collect(const json& value, const std::string& name, std::map<std::string, json>& settings) {
  if (!value.is_object()) {
    settings[name] = value;
    return;
  }
  for (const auto& [key, item] : value.items()) {
    if (name.empty() && key == "checkpoint") continue;
    collect(item, name.empty() ? key : name + "." + key, settings);
  }
}

std::map<std::string, json> settings_in(const json& options) {
  std::map<std::string, json> settings;
  collect(options, "", settings);
  return settings;
}

// Earlier versions wrote reconstruct's settings as a TOML text and its input as "dataset", and put the
// painter's settings of refine into the text that identifies its weights.
void bring_up_to_date(json& manifest, const std::string& source) {
  json& options = manifest.at("options");
  if (options.is_string()) options = json::parse(settings_as_json(options.get<std::string>(), source));
  if (manifest.contains("dataset")) {
    manifest["input"] = "dataset " + manifest["dataset"].get<std::string>();
    manifest["model"] = "";
  }
  // A setting that is gone, where it did nothing.
  if (const auto gone = options.find("interpolate"); gone != options.end() && *gone == 1) options.erase(gone);
  if (manifest.at("stage") != "refine") return;
  std::string model = manifest.at("model");
  const size_t begin = model.find(", {"), end = model.rfind('}');
  if (begin == std::string::npos || end == std::string::npos || end < begin) return;
  const json painter = json::parse(model.substr(begin + 2, end - begin - 1), nullptr, false);
  if (!painter.is_object()) return;
  options.update(painter, true);
  manifest["model"] = model.erase(begin, end - begin + 1);
}

// The first entry in which the two differ, as a sentence's part; empty when there is none.
std::string first_difference(const json& before, const json& now, const std::string& defaults_text) {
  const auto were = settings_in(before.at("options")), are = settings_in(now.at("options"));
  const auto defaults = settings_in(json::parse(defaults_text));
  for (const auto& [name, value] : are) {
    const auto was = were.find(name), usual = defaults.find(name);
    if (was != were.end() ? was->second == value : usual != defaults.end() && usual->second == value)
      continue;
    return fmt::format("{} is {}, it was {}", name, text_of(value),
                       was != were.end()         ? text_of(was->second)
                       : usual != defaults.end() ? text_of(usual->second)
                                                 : "not set");
  }
  for (const auto& [name, value] : were)
    if (!are.count(name))
      return fmt::format("{} was {}, and this version has no such setting", name, text_of(value));
  for (const char* key : {"stage", "model", "input"})
    if (before.at(key) != now.at(key))
      return fmt::format("{} is {}, it was {}", key, text_of(now.at(key)), text_of(before.at(key)));
  return {};
}

// What a folder's manifest says.
struct Found {
  std::string manifest;  // its JSON without "finished"
  bool finished = false;
  std::string difference;  // from what is wanted; empty when there is none
};

Found parse_manifest(json stored, const StageFolder::Manifest& wanted, const fs::path& file) {
  Found found;
  found.finished = stored.value("finished", false);
  stored.erase("finished");
  found.manifest = text_of(stored);
  if (stored.at("version").get<int>() > kVersion)
    throw Error(
        fmt::format("'{}' was written by a later version of eg4d; update the program", file.string()));
  bring_up_to_date(stored, file.string());
  json now = json::parse(contents_of(wanted));
  if (wanted.input.empty()) now["input"] = stored.at("input");
  found.difference = first_difference(stored, now, wanted.settings.defaults);
  return found;
}

// Nothing where there is no manifest. Throws Error when it is damaged or of a later version.
std::optional<Found> find(const fs::path& folder, const StageFolder::Manifest& wanted) {
  const fs::path file = folder / kManifest;
  if (!fs::exists(file)) return {};
  std::ifstream stream(file);
  const json stored = json::parse(stream, nullptr, false);
  const auto damaged = [&] {
    return Error(
        fmt::format("'{}' is damaged, so that it is not known what the results beside it were made from: "
                    "start this stage anew "
                    "with --overwrite, or in another folder",
                    file.string()));
  };
  if (!stored.is_object()) throw damaged();
  try {
    return parse_manifest(stored, wanted, file);
  } catch (const json::exception&) {
    throw damaged();
  } catch (const UsageError&) {
    throw damaged();
  }
}

Error other_settings(const fs::path& folder, const std::string& difference) {
  return Error(fmt::format(
      "'{}' holds results of other settings ({}): --overwrite replaces them, another run folder keeps them",
      folder.string(), difference));
}

// Whether there is any file but the manifest and the lock.
bool holds_results(const fs::path& folder) {
  std::error_code error;
  for (fs::recursive_directory_iterator entry(folder, error), end; entry != end; entry.increment(error)) {
    const bool ours = entry->path() == folder / kManifest || entry->path() == FileLock::of_folder(folder);
    if (!ours && (entry->is_symlink(error) || !entry->is_directory(error))) return true;
  }
  return static_cast<bool>(error);
}

std::string hash_of(const std::string& text) {
  Sha256 hash;
  hash.update(text.data(), text.size());
  return hash.hex();
}

}  // namespace

StageSettings merged(const StageSettings& a, const StageSettings& b) {
  const auto both = [](const std::string& first, const std::string& second) {
    json all = json::parse(first);
    all.update(json::parse(second), true);
    return all.dump(2);
  };
  return {both(a.given, b.given), both(a.defaults, b.defaults)};
}

StageFolder::StageFolder(fs::path folder, const Manifest& manifest, bool overwrite, bool overwrite_other)
    : path_(std::move(folder)) {
  make_folder(path_);
  const fs::path lock = FileLock::of_folder(path_);
  lock_.emplace(lock, fmt::format("'{}'", path_.string()));
  remove_abandoned_temporaries(path_);
  if (overwrite) empty_folder(path_, lock);
  std::optional<Found> found;
  try {
    found = find(path_, manifest);
    if (found && !found->difference.empty()) throw other_settings(path_, found->difference);
  } catch (const Error&) {
    if (!overwrite_other && holds_results(path_)) throw;
    empty_folder(path_, lock);
    found.reset();
  }
  if (!found) {
    write(contents_of(manifest));
    return;
  }
  manifest_ = found->manifest;
  fingerprint_ = hash_of(manifest_);
  finished_ = found->finished;
}

void StageFolder::check(const fs::path& folder, const Manifest& manifest) {
  if (!fs::exists(folder / kManifest) || !holds_results(folder)) return;
  const std::string difference = find(folder, manifest)->difference;
  if (!difference.empty()) throw other_settings(folder, difference);
}

StageFolder::~StageFolder() {
  std::error_code ignored;
  if (!holds_results(path_)) fs::remove(path_ / kManifest, ignored);
  lock_.reset();
  fs::remove(path_, ignored);  // nothing happens unless it is empty
}

void StageFolder::write(const std::string& contents) {
  manifest_ = contents;
  fingerprint_ = hash_of(manifest_);
  json manifest = json::parse(contents);
  manifest["finished"] = finished_;
  write_file_atomically(path_ / kManifest, text_of(manifest, 2) + "\n");
}

void StageFolder::finish() {
  finished_ = true;
  write(manifest_);
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

std::string start_identity(const fs::path& model) {
  std::vector<fs::path> files = {model};
  if (fs::is_directory(model)) files = {model / "point_cloud.ply", model / "deformation.pth"};
  Sha256 hash;
  for (const fs::path& file : files)
    if (fs::is_regular_file(file)) hash_file(file, hash);
  return fmt::format("{} {}", model.filename().string(), hash.hex());
}

}  // namespace eg4d
