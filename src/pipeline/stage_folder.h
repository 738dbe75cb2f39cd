#pragma once

#include <filesystem>
#include <string>

namespace eg4d {

class ConfigSchema;

// The folder of a stage's results with its manifest.json: what the results depend on, and whether they are
// complete.
class StageFolder {
 public:
  struct Manifest {
    std::string stage;         // "animate"
    std::string options_json;  // ConfigSchema::to_json()
    std::string input;         // identifies what goes in: a hash of the pictures
    std::string model;         // identifies the weights
  };
  // Makes the folder, or finds an earlier call's results there. Throws Error, naming the first setting that
  // differs, when they were made from something else; `overwrite` removes them instead.
  StageFolder(std::filesystem::path folder, const Manifest& manifest, bool overwrite);

  const std::filesystem::path& path() const { return path_; }
  bool finished() const { return finished_; }
  void finish();  // written to the manifest

 private:
  void write() const;
  std::filesystem::path path_;
  Manifest manifest_;
  bool finished_ = false;
};

// What identifies weights in a manifest without reading gigabytes: name, size, and the SHA-256 on record if
// any.
std::string model_identity(const std::filesystem::path& model);

}  // namespace eg4d
