#include "core/config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "core/config_toml.h"
#include "core/error.h"
#include "core/nearest_name.h"

namespace eg4d {
namespace {

std::string describe(Range range) {
  const bool below = std::isfinite(range.min), above = std::isfinite(range.max);
  if (below && above) return fmt::format("{} to {}", range.min, range.max);
  if (below) return fmt::format("{} or more", range.min);
  if (above) return fmt::format("{} or less", range.max);
  return "";
}

bool contains(Range range, double value) {
  return value >= range.min && value <= range.max;
}

// The number as the member type holds it; nothing when it is not one or does not fit. A whole number may be
// written as a float (1e4), because people do.
template <class T>
std::optional<T> number_from(const ConfigValue& value, Range range) {
  double number = 0;
  if (const auto* integer = std::get_if<int64_t>(&value)) {
    if constexpr (std::is_integral_v<T>) {
      if (!std::in_range<T>(*integer) || !contains(range, static_cast<double>(*integer))) return {};
      return static_cast<T>(*integer);
    }
    number = static_cast<double>(*integer);
  } else if (const auto* real = std::get_if<double>(&value)) {
    number = *real;
  } else {
    return {};
  }
  if (!std::isfinite(number) || !contains(range, number)) return {};
  if constexpr (std::is_integral_v<T>) {
    if (number != std::floor(number) || std::abs(number) > 0x1p53) return {};
    if (!std::in_range<T>(static_cast<int64_t>(number))) return {};
  } else {
    if (std::abs(number) > std::numeric_limits<T>::max()) return {};
  }
  return static_cast<T>(number);
}

template <class T>
ConfigValue to_value(T number) {
  if constexpr (std::is_integral_v<T>) {
    return static_cast<int64_t>(number);
  } else {
    return std::stod(fmt::format("{}", number));  // a float's shortest text, so that 0.1f is shown as 0.1
  }
}

ConfigOption described(std::string key, std::string type, std::string allowed, std::string help) {
  ConfigOption option;
  option.key = std::move(key);
  option.type = std::move(type);
  option.allowed = std::move(allowed);
  option.help = std::move(help);
  return option;
}

template <class T>
ConfigOption number_option(std::string key, T& value, Range range, std::string help) {
  ConfigOption option = described(std::move(key), std::is_integral_v<T> ? "an integer" : "a number",
                                  describe(range), std::move(help));
  option.get = [&value] { return to_value(value); };
  option.set = [&value, range](const ConfigValue& given) {
    const std::optional<T> number = number_from<T>(given, range);
    if (number) value = *number;
    return number.has_value();
  };
  return option;
}

template <class T>
ConfigOption list_option(std::string key, std::vector<T>& value, Range each, std::string help) {
  ConfigOption option =
      described(std::move(key), std::is_integral_v<T> ? "a list of integers" : "a list of numbers",
                describe(each), std::move(help));
  if (!option.allowed.empty()) option.allowed = "each " + option.allowed;
  option.get = [&value]() -> ConfigValue {
    std::vector<ConfigValue> list;
    for (const T item : value) list.push_back(to_value(item));
    return list;
  };
  option.set = [&value, each](const ConfigValue& given) {
    const auto* list = std::get_if<std::vector<ConfigValue>>(&given);
    if (!list) return false;
    std::vector<T> numbers;
    for (const ConfigValue& item : *list) {
      const std::optional<T> number = number_from<T>(item, each);
      if (!number) return false;
      numbers.push_back(*number);
    }
    value = std::move(numbers);
    return true;
  };
  return option;
}

template <class T>
ConfigOption plain_option(std::string key, T& value, const char* type, std::string help) {
  ConfigOption option = described(std::move(key), type, "", std::move(help));
  option.get = [&value]() -> ConfigValue { return value; };
  option.set = [&value](const ConfigValue& given) {
    const T* same = std::get_if<T>(&given);
    if (same) value = *same;
    return same != nullptr;
  };
  return option;
}

}  // namespace

std::string to_text(const ConfigValue& value) {
  const auto* text = std::get_if<std::string>(&value);
  return text ? *text : to_toml(value);
}

std::string ConfigOption::expectation() const {
  if (allowed.empty()) return type;
  return type + (type == "one of" ? " " : ", ") + allowed;
}

void ConfigSchema::add(std::string key, int& value, Range range, std::string help) {
  add_option(number_option(std::move(key), value, range, std::move(help)));
}
void ConfigSchema::add(std::string key, int64_t& value, Range range, std::string help) {
  add_option(number_option(std::move(key), value, range, std::move(help)));
}
void ConfigSchema::add(std::string key, uint64_t& value, Range range, std::string help) {
  add_option(number_option(std::move(key), value, range, std::move(help)));
}
void ConfigSchema::add(std::string key, float& value, Range range, std::string help) {
  add_option(number_option(std::move(key), value, range, std::move(help)));
}
void ConfigSchema::add(std::string key, double& value, Range range, std::string help) {
  add_option(number_option(std::move(key), value, range, std::move(help)));
}
void ConfigSchema::add(std::string key, bool& value, std::string help) {
  add_option(plain_option(std::move(key), value, "true or false", std::move(help)));
}
void ConfigSchema::add(std::string key, std::string& value, std::string help) {
  add_option(plain_option(std::move(key), value, "text", std::move(help)));
}
void ConfigSchema::add(std::string key, std::vector<int>& value, Range each, std::string help) {
  add_option(list_option(std::move(key), value, each, std::move(help)));
}
void ConfigSchema::add(std::string key, std::vector<float>& value, Range each, std::string help) {
  add_option(list_option(std::move(key), value, each, std::move(help)));
}

void ConfigSchema::add_choice(std::string key, std::vector<std::string> names, std::function<size_t()> get,
                              std::function<void(size_t)> set, std::string help) {
  ConfigOption option =
      described(std::move(key), "one of", fmt::format("{}", fmt::join(names, ", ")), std::move(help));
  option.get = [names, get]() -> ConfigValue { return names[get()]; };
  option.set = [names, set](const ConfigValue& given) {
    const auto* name = std::get_if<std::string>(&given);
    if (!name) return false;
    const auto found = std::find(names.begin(), names.end(), *name);
    if (found == names.end()) return false;
    set(static_cast<size_t>(found - names.begin()));
    return true;
  };
  add_option(std::move(option));
}

void ConfigSchema::section(const std::string& name, const std::function<void(ConfigSchema&)>& declare) {
  const std::string outer = section_;
  section_ += name + ".";
  declare(*this);
  section_ = outer;
}

void ConfigSchema::add_option(ConfigOption option) {
  option.key = section_ + option.key;
  if (find(option.key)) throw std::logic_error("setting '" + option.key + "' is declared twice");
  option.default_value = option.get();
  if (!option.set(option.default_value)) {
    throw std::logic_error("the default of setting '" + option.key + "' is not allowed by its own range");
  }
  options_.push_back(std::move(option));
}

const ConfigOption* ConfigSchema::find(std::string_view key) const {
  const auto found = std::find_if(options_.begin(), options_.end(),
                                  [key](const ConfigOption& option) { return option.key == key; });
  return found == options_.end() ? nullptr : &*found;
}

const ConfigOption& ConfigSchema::require(std::string_view key, std::string_view source) const {
  if (const ConfigOption* option = find(key)) return *option;
  std::vector<std::string> keys;
  for (const ConfigOption& option : options_) keys.push_back(option.key);
  throw UsageError(fmt::format("{}: there is no setting '{}'{}", source, key,
                               keys.empty() ? std::string{} : did_you_mean(key, keys)) +
                   " (`eg4d options` lists all settings)");
}

void ConfigSchema::set_all(const std::vector<ConfigAssignment>& assignments) {
  std::vector<std::pair<const ConfigOption*, ConfigValue>> before;
  try {
    for (const auto& [key, value, place] : assignments) {
      const ConfigOption& option = require(key, place);
      before.emplace_back(&option, option.get());
      if (!option.set(value)) {
        throw UsageError(fmt::format("{}: {} = {} is not allowed; it must be {}", place, key,
                                     eg4d::to_toml(value), option.expectation()));
      }
    }
  } catch (...) {
    for (auto item = before.rbegin(); item != before.rend(); ++item) item->first->set(item->second);
    throw;
  }
}

void ConfigSchema::set(std::string_view key, std::string_view text, std::string_view source) {
  const ConfigOption& option = require(key, source);
  const bool is_text = option.type == "text" || option.type == "one of";
  const bool is_list = option.type.starts_with("a list");
  ConfigValue value = is_text   ? ConfigValue(std::string(text))
                      : is_list ? parse_toml_list(text)
                                : parse_toml_value(text);
  set_all({{std::string(key), std::move(value), std::string(source)}});
}

void ConfigSchema::apply_toml(std::string_view toml, const std::string& source, const PresetTexts& presets) {
  set_all(toml_assignments(toml, source, presets));
}

void ConfigSchema::apply_preset(const std::string& name, const PresetTexts& presets) {
  set_all(preset_assignments(name, presets));
}

}  // namespace eg4d
