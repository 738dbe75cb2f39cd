#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace eg4d {

// What a number may be, ends included; for a list, what each of its elements may be.
struct Range {
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
};

// Named TOML texts ("paper" -> "[schedule]\ncoarse_iterations = …"). A text whose first key is `inherits =
// "paper"` starts from that preset.
using PresetTexts = std::map<std::string, std::string>;

// A value as TOML knows it.
struct ConfigValue : std::variant<bool, int64_t, double, std::string, std::vector<ConfigValue>> {
  using variant::variant;
};

// As TOML, but a text without its quotes: for people.
std::string to_text(const ConfigValue& value);

// One setting: a dotted key such as "deformation.width" that is bound to a member of an options structure.
struct ConfigOption {
  std::string key;
  std::string type;     // "an integer", "a number", "true or false", "text", "a list of integers", "one of"
  std::string allowed;  // "0 to 1000000", "l1, huber"; empty when anything of the type goes
  std::string help;
  ConfigValue default_value;  // the value at the time of add()

  std::function<ConfigValue()> get;
  std::function<bool(const ConfigValue&)> set;  // false, and nothing changed, when the value is not allowed

  std::string expectation() const;  // "an integer, 0 to 1000000"
};

struct ConfigAssignment {
  std::string key;
  ConfigValue value;
  std::string place;  // "paper.toml line 3", "--set": opens the error message
};

// Config is data: every setting is declared once, with its type, range and help, and from that come the
// TOML reader, `--set key=value`, a command-line option per key, the dump of the settings in force and
// docs/options.md.
//
//   ConfigSchema schema;
//   schema.add("schedule.coarse_iterations", options.coarse_iterations, {.min = 0, .max = 1e6}, "…");
//   schema.add("loss.kind", options.kind, {{"l1", Loss::l1}, {"huber", Loss::huber}}, "…");
//   schema.apply_preset("paper", presets);
//   schema.apply_toml_file("mine.toml", presets);
//   schema.set("schedule.coarse_iterations", "600", "--set");
//
// The schema keeps references: the options structure must outlive it and must not move. Settings change
// only when their whole source (file, preset, argument) was read without a fault.
class ConfigSchema {
 public:
  void add(std::string key, int& value, Range range, std::string help);
  void add(std::string key, int64_t& value, Range range, std::string help);
  void add(std::string key, uint64_t& value, Range range, std::string help);
  void add(std::string key, float& value, Range range, std::string help);
  void add(std::string key, double& value, Range range, std::string help);
  void add(std::string key, bool& value, std::string help);
  void add(std::string key, std::string& value, std::string help);
  void add(std::string key, std::vector<int>& value, Range each, std::string help);
  void add(std::string key, std::vector<float>& value, Range each, std::string help);
  // A choice among names.
  template <class Enum>
  requires std::is_enum_v<Enum>
  void add(std::string key, Enum& value,
           std::type_identity_t<std::vector<std::pair<std::string, Enum>>> names, std::string help);

  // Settings that `declare` adds get "name." before their keys.
  void section(const std::string& name, const std::function<void(ConfigSchema&)>& declare);

  // All of these throw UsageError naming place, key, value and what is allowed, and then change nothing.
  // `text` is a TOML value; quotes may be left out for texts and names, brackets for lists ("1,2,4").
  void set(std::string_view key, std::string_view text, std::string_view source);
  void apply_toml(std::string_view toml, const std::string& source, const PresetTexts& presets);
  void apply_toml_file(const std::string& path, const PresetTexts& presets);
  void apply_preset(const std::string& name, const PresetTexts& presets);

  const std::vector<ConfigOption>& options() const { return options_; }
  const ConfigOption* find(std::string_view key) const;

  // The settings in force: what apply_toml reads back to the same values, bit for bit.
  std::string to_toml() const;
  std::string to_json() const;      // nested by section
  std::string to_markdown() const;  // a table per section: key, default, allowed, meaning

 private:
  // A choice by its index among `names`.
  void add_choice(std::string key, std::vector<std::string> names, std::function<size_t()> get,
                  std::function<void(size_t)> set, std::string help);
  void add_option(ConfigOption option);
  const ConfigOption& require(std::string_view key, std::string_view place) const;
  void set_all(const std::vector<ConfigAssignment>& assignments);

  std::vector<ConfigOption> options_;
  std::string section_;  // before the keys of what is added
};

template <class Enum>
requires std::is_enum_v<Enum>
void ConfigSchema::add(std::string key, Enum& value,
                       std::type_identity_t<std::vector<std::pair<std::string, Enum>>> names,
                       std::string help) {
  std::vector<std::string> texts;
  std::vector<Enum> values;
  for (auto& [text, meaning] : names) {
    texts.push_back(std::move(text));
    values.push_back(meaning);
  }
  auto get = [&value, values] {
    size_t index = 0;
    while (index + 1 < values.size() && values[index] != value) ++index;
    return index;
  };
  auto set = [&value, values](size_t index) { value = values[index]; };
  add_choice(std::move(key), std::move(texts), std::move(get), std::move(set), std::move(help));
}

// The settings of a TOML text as ConfigSchema::to_json writes them, whether this version knows them or not.
// Throws UsageError, opening with `source`, when it is no TOML.
std::string settings_as_json(std::string_view toml, const std::string& source);

}  // namespace eg4d
