#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backend/stored_weight.h"
#include "core/dtype.h"
#include "core/shape.h"
#include "io/safetensors.h"

namespace eg4d {

// The tensors of a checkpoint by name, in memory-mapped files or in memory. Names and forms are those of the
// single-file checkpoints; a checkpoint in another layout is put together under these names.
class WeightMap {
 public:
  struct Item {
    Shape shape;
    // One stored tensor, or several one after the other along the first axis.
    std::vector<const SafetensorsFile::Entry*> parts;
    bool transposed = false;  // stored as [shape[1], shape[0]]
    bool in_file = true;      // mapped, so that its pages may be dropped once they were read
  };

  WeightMap() = default;
  explicit WeightMap(const std::filesystem::path& safetensors);

  // What messages call the checkpoint: the file or folder.
  const std::filesystem::path& path() const { return path_; }
  const std::map<std::string, Item>& items() const { return items_; }
  bool contains(const std::string& name) const { return items_.count(name) != 0; }
  bool contains_prefix(const std::string& prefix) const;
  // A positive whole number in a file's own header; `otherwise` when there is no such entry.
  int64_t metadata_number(const std::string& key, int64_t otherwise) const;

  // The tensor as it is stored, for the backend; the map must outlive it. Throws Error when it holds no
  // floating-point numbers.
  StoredWeight stored(const std::string& name) const;
  // It was read: its pages leave memory (not the file cache).
  void drop(const std::string& name) const;
  // As floats, whatever the stored type; then dropped.
  std::vector<float> floats(const std::string& name) const;
  // Some rows (along the first axis) of a tensor that is stored as it is; only these are read.
  std::vector<float> rows(const std::string& name, std::span<const int64_t> rows) const;

  // The tensors whose names begin so; the files stay open.
  WeightMap below(const std::string& prefix) const;
  void add(const WeightMap& other);  // its tensors, in place of those of the same name

  // For other layouts: keeps the file open and names some of its tensors.
  void set_path(const std::filesystem::path& path) { path_ = path; }
  std::shared_ptr<const SafetensorsFile> add_file(const std::filesystem::path& safetensors);
  void add_item(const std::string& name, Item item) { items_[name] = std::move(item); }
  // A tensor in memory that the map then shares.
  void add_tensor(const std::string& name, DType type, Shape shape, std::shared_ptr<const std::byte> data);
  void remove(const std::string& name) { items_.erase(name); }

 private:
  const Item& at(const std::string& name) const;
  std::string described(const std::string& name) const;  // for messages

  std::filesystem::path path_;
  std::vector<std::shared_ptr<const SafetensorsFile>> files_;
  struct OwnedEntry {
    std::shared_ptr<const std::byte> data;
    SafetensorsFile::Entry entry;
  };
  std::vector<std::shared_ptr<const OwnedEntry>> owned_;
  std::map<std::string, Item> items_;
};

// The tensors of a .safetensors file, or of what torch.save wrote: a state_dict, also when it lies under
// "state_dict" or "model" beside other things; what is no tensor is left out. Throws Error.
WeightMap read_weights(const std::filesystem::path& path);

}  // namespace eg4d
