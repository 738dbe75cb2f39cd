#pragma once

#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "core/error.h"
#include "io/safetensors.h"
#include "nn/tensor.h"

namespace eg4d {

// Training went astray: a parameter holds NaN or infinity. Nothing was written.
class NotFinite : public Error {
 public:
  using Error::Error;
};

// What the tensor holds, for a file. Waits for the device.
HostTensor on_host(const std::string& name, const Tensor& tensor);

// Throws NotFinite, naming the tensor.
void require_finite(const std::string& name, std::span<const float> values);

// What training continues from: a safetensors file of f32 tensors with a checksum of everything in it.
struct StateTensor {
  std::string name;
  const Tensor* tensor = nullptr;
  bool parameter = false;  // must be finite; anything else must not be NaN
};
// Copied to the host, after what must be finite was found to be. `format` goes into the metadata.
PreparedFile prepare_training_state(const std::string& format, const std::vector<StateTensor>& tensors,
                                    std::map<std::string, std::string> metadata);

class TrainingStateFile {
 public:
  // Throws Error, saying what to do, when the file is damaged or of another format.
  TrainingStateFile(const std::filesystem::path& path, const std::string& format);

  const std::string& metadata(const std::string& key) const;  // empty where the file has none
  const Shape& shape(const std::string& name) const;
  // Throws Error when the file has no such tensor of that shape, or values that StateTensor does not allow.
  void check(const std::string& name, const Shape& shape, bool parameter) const;
  // For tensors that were checked.
  void copy_to(const std::string& name, Tensor& tensor) const;

  // The sentence for what does not fit together inside the file.
  Error damaged(const std::string& what) const;

 private:
  SafetensorsFile file_;
};

}  // namespace eg4d
