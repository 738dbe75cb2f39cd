#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "core/config.h"
#include "io/file_lock.h"

namespace eg4d {

// Settings that results depend on, as two JSON texts (ConfigSchema::to_json): the values in force, and those
// that this version has where nothing is said.
struct StageSettings {
  std::string given = "{}", defaults = "{}";
};

template <class Options>
StageSettings settings_of(Options options) {
  const auto json_of = [](Options& of) {
    ConfigSchema schema;
    of.bind(schema);
    return schema.to_json();
  };
  Options defaults;
  return {json_of(options), json_of(defaults)};
}

// The settings of both; they must differ in their names.
StageSettings merged(const StageSettings& a, const StageSettings& b);

// The folder of a stage's results with its manifest.json: what the results depend on, and whether they are
// complete. While the object lives, no other process works in the folder.
//
// Settings are compared by name. One that the manifest does not have was unknown to the version that began
// the results: they fit when it has its default now. checkpoint.* is not looked at: when to save does not
// change what is computed.
class StageFolder {
 public:
  struct Manifest {
    std::string stage;  // "animate"
    StageSettings settings;
    std::string input;       // identifies what goes in: a hash of the pictures
    std::string model = {};  // identifies the weights
  };
  // Makes the folder, or finds an earlier call's results there; what killed processes left half-written is
  // removed. Throws Error when another process works there, when the manifest is damaged, or, naming the
  // first setting that differs, when the results were made from something else; `overwrite` removes them
  // instead, and `overwrite_other` those that would be such an Error. A folder with nothing but a manifest
  // holds no results: it is taken over.
  StageFolder(std::filesystem::path folder, const Manifest& manifest, bool overwrite,
              bool overwrite_other = false);
  // Throws the same Error for a damaged manifest or results of something else, and makes nothing. An empty
  // `manifest.input` is not known yet and not compared.
  static void check(const std::filesystem::path& folder, const Manifest& manifest);
  // Nothing stays of a stage that failed before it made anything.
  ~StageFolder();
  StageFolder(const StageFolder&) = delete;
  StageFolder& operator=(const StageFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  bool finished() const { return finished_; }
  void finish();  // written to the manifest

  // SHA-256 of what the manifest says, the same until the stage is begun anew: what was written by this run
  // and no other carries it.
  const std::string& fingerprint() const { return fingerprint_; }

 private:
  void write(const std::string& contents);

  std::filesystem::path path_;
  std::optional<FileLock> lock_;
  std::string manifest_, fingerprint_;  // manifest_: the file's JSON without "finished"
  bool finished_ = false;
};

// What identifies weights in a manifest without reading gigabytes: name, size, and the SHA-256 on record if
// any.
std::string model_identity(const std::filesystem::path& model);
// Of a model that training starts from (open_model's file or folder of the Python EG4D): also what is in it.
std::string start_identity(const std::filesystem::path& model);

}  // namespace eg4d
