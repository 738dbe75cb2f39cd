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
  // Makes the folder, or finds an earlier call's results there. `overwrite` removes them, `overwrite_other`
  // when they were made from something else; otherwise that is an Error that names the first setting that
  // differs.
  StageFolder(std::filesystem::path folder, const Manifest& manifest, bool overwrite,
              bool overwrite_other = false);
  // Throws that Error and makes nothing. An empty `manifest.input` is not known yet and not compared.
  static void check(const std::filesystem::path& folder, const Manifest& manifest);

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
