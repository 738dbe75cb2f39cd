#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace eg4d {

// A network's config.json (or another JSON object of settings) in the folders that publish networks. Without
// such a file there are no entries. Throws Error naming the file for what is no JSON object, and in the
// getters for values that make no sense.
class NetworkConfig {
 public:
  explicit NetworkConfig(const std::filesystem::path& path);
  ~NetworkConfig();

  const std::string& path() const { return path_; }
  bool has(const char* name) const;  // and it is not null
  // Positive and finite; `otherwise` where there is no such entry, as in those below.
  double number(const char* name, double otherwise) const;
  int64_t whole(const char* name, int64_t otherwise) const;  // 1 … 2²⁰
  std::string text(const char* name, const std::string& otherwise) const;
  bool flag(const char* name, bool otherwise) const;
  // A list of whole numbers from `least` on, or one number that stands for `count` of them; empty where there
  // is none.
  std::vector<int64_t> list(const char* name, size_t count, int64_t least = 1) const;
  size_t length(const char* name) const;  // of a list

 private:
  std::string path_;
  std::unique_ptr<const nlohmann::json> values_;
};

}  // namespace eg4d
