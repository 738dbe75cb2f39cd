#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <iterator>
#include <sstream>

#include "app/checks.h"
#include "app/command.h"
#include "core/error.h"
#include "models/model_check.h"
#include "models/model_fetch.h"
#include "models/model_store.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;

std::string size_of_file(double gigabytes) {
  if (gigabytes >= 0.1) return fmt::format("{:.1f} GB", gigabytes);
  if (gigabytes >= 1e-4) return fmt::format("{:.1f} MB", gigabytes * 1e3);
  return fmt::format("{:.0f} KB", gigabytes * 1e6);
}

class ModelsCommand : public Command {
 public:
  const char* name() const override { return "models"; }
  const char* summary() const override { return "which weights there are, where they are, how to get them"; }
  const char* examples() const override {
    return "  eg4d models list\n"
           "  eg4d models check                       what is missing; --hash also compares SHA-256 (reads "
           "everything)\n"
           "  eg4d models check sv3d_p --folder /data/weights\n"
           "  eg4d models fetch svd_xt_1_1 sv3d_p     downloads; broken off, the same command continues\n"
           "  eg4d models fetch all --folder /data/weights\n"
           "Gated models need an account on the Hugging Face hub that has accepted their licence, and its "
           "token in "
           "HF_TOKEN.";
  }
  bool computes() const override { return false; }

  void declare(Arguments& arguments) override {
    arguments.positional("ACTION", action_, "list, check or fetch");
    arguments.positionals_of(
        "MODEL", models_, "names of `eg4d models list`; all: those that the commands take by default", false);
    arguments.value_name("folder", "FOLDER");
    arguments.options.add("folder", folder_, "where the weights are, or go");
    arguments.options.add("hash", hash_, "check: also compare SHA-256");
  }

  void run(const Arguments&, const CommonOptions&, Progress& progress) override {
    if (action_ == "list") return list();
    if (action_ == "check") return check(progress);
    if (action_ == "fetch") return fetch(progress);
    throw UsageError(fmt::format("models cannot \"{}\": it can list, check or fetch", action_));
  }

 private:
  // Those named; for "all" or no name the default models of the commands.
  std::vector<const ModelEntry*> chosen() const {
    std::vector<const ModelEntry*> entries;
    const std::vector<std::string> names = names_given();
    if (names.empty() || names.front() == "all") {
      for (const ModelEntry& entry : model_catalog())
        if (!entry.needed_by.empty()) entries.push_back(&entry);
    } else {
      for (const std::string& name : names) entries.push_back(&find_model_entry(name));
    }
    return entries;
  }

  // Commas may stand between names too.
  std::vector<std::string> names_given() const {
    std::string all = fmt::format("{}", fmt::join(models_, " "));
    std::replace(all.begin(), all.end(), ',', ' ');
    std::istringstream words(all);
    return {std::istream_iterator<std::string>(words), {}};
  }

  void list() const {
    for (const ModelEntry& entry : model_catalog()) {
      const auto location = find_model(entry, folder_);
      fmt::print("{:<27} {:<36} about {}  {}\n", entry.name, entry.purpose, size_of_file(entry.gigabytes),
                 location ? location->path.string() : "not here");
      fmt::print("{:<27} {}{}{}\n", "", entry.license, entry.gated ? ", to be accepted first" : "",
                 entry.needed_by.empty() ? "" : "; default of eg4d " + entry.needed_by);
      fmt::print("{:<27} {}\n", "", entry.address());
    }
    fmt::print("Looked for in:");
    for (const fs::path& folder : model_folders(folder_)) fmt::print(" {}", folder.string());
    for (const fs::path& folder : bundled_model_folders(folder_)) fmt::print(" {}", folder.string());
    fmt::print(" {}\n", hugging_face_cache().string());
  }

  void check(Progress& progress) const {
    int missing = 0;
    for (const ModelEntry* entry : chosen()) {
      const auto location = find_model(*entry, folder_);
      if (!location) {
        ++missing;
        if (entry->bundled)
          fmt::print("{}: missing; {}\n", entry->name, how_to_get(*entry));
        else
          fmt::print("{}: missing; \"eg4d models fetch {}\" gets it{}\n", entry->name, entry->name,
                     entry->gated && hugging_face_token().empty() ? ". " + gated_access_help(*entry) : "");
        continue;
      }
      const ModelCheck result = check_model(*entry, *location, hash_, progress);
      progress.end();
      missing += result.problem.empty() ? 0 : 1;
      const char* hashed = !hash_ ? "" : result.hash_verified ? ", SHA-256 right" : ", no SHA-256 on record";
      fmt::print("{}: {} ({})\n", entry->name,
                 result.problem.empty()
                     ? fmt::format("good; {} tensors, {} parameters in {}{}", result.tensors,
                                   result.parameters, result.stored_as, hashed)
                     : result.problem,
                 location->path.string());
    }
    if (missing) throw Error(fmt::format("{} of the models cannot be used as they are", missing));
  }

  void fetch(Progress& progress) const {
    if (names_given().empty())
      throw UsageError(
          "fetch what? Give a name from \"eg4d models list\", or all for those that the commands take by "
          "default");
    const fs::path folder = folder_.empty() ? model_store_folder() : fs::path(folder_);
    require_writable_folder(folder);
    for (const ModelEntry* entry : chosen()) {
      if (const auto location = find_model(*entry, folder)) {
        progress.message(fmt::format("{} is here already: {}", entry->name, location->path.string()));
        continue;
      }
      if (entry->bundled) throw Error(how_to_get(*entry));
      const fs::path file = fetch_model(*entry, folder, progress);
      progress.end();
      progress.message(fmt::format("{}: {}", entry->name, file.string()));
    }
  }

  std::string action_, folder_;
  std::vector<std::string> models_;
  bool hash_ = false;
};

}  // namespace

std::unique_ptr<Command> make_models_command() {
  return std::make_unique<ModelsCommand>();
}

}  // namespace eg4d
