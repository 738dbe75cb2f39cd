#include "io/network_config.h"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "io/json_file.h"

namespace eg4d {

using nlohmann::json;

NetworkConfig::NetworkConfig(const std::filesystem::path& path) : path_(path.string()) {
  json values = json::object();
  if (std::filesystem::is_regular_file(path)) values = read_json(path);
  if (!values.is_object()) throw Error(fmt::format("'{}' is no JSON object", path_));
  values_ = std::make_unique<const json>(std::move(values));
}

NetworkConfig::~NetworkConfig() = default;

bool NetworkConfig::has(const char* name) const {
  return values_->contains(name) && !values_->at(name).is_null();
}

double NetworkConfig::number(const char* name, double otherwise) const {
  if (!has(name)) return otherwise;
  const json& value = values_->at(name);
  if (!value.is_number() || !std::isfinite(value.get<double>()) || value.get<double>() <= 0)
    throw Error(fmt::format("'{}': \"{}\" is {}, not a positive number", path_, name, value.dump()));
  return value.get<double>();
}

int64_t NetworkConfig::whole(const char* name, int64_t otherwise) const {
  const double value = number(name, static_cast<double>(otherwise));
  if (value != std::floor(value) || value > 1 << 20)
    throw Error(fmt::format("'{}': \"{}\" is {}, not a reasonable whole number", path_, name, value));
  return static_cast<int64_t>(value);
}

std::string NetworkConfig::text(const char* name, const std::string& otherwise) const {
  return has(name) && values_->at(name).is_string() ? values_->at(name).get<std::string>() : otherwise;
}

bool NetworkConfig::flag(const char* name, bool otherwise) const {
  return has(name) && values_->at(name).is_boolean() ? values_->at(name).get<bool>() : otherwise;
}

std::vector<int64_t> NetworkConfig::list(const char* name, size_t count, int64_t least) const {
  if (!has(name)) return {};
  const json& entries = values_->at(name);
  if (!entries.is_array()) return std::vector<int64_t>(count, whole(name, 1));
  std::vector<int64_t> numbers;
  for (const json& value : entries) {
    if (!value.is_number_integer() || value.get<int64_t>() < least)
      throw Error(
          fmt::format("'{}': \"{}\" holds {}, not a positive whole number", path_, name, value.dump()));
    numbers.push_back(value.get<int64_t>());
  }
  return numbers;
}

size_t NetworkConfig::length(const char* name) const {
  return has(name) ? values_->at(name).size() : 0;
}

}  // namespace eg4d
