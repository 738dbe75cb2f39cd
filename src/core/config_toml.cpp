#include "core/config_toml.h"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/error.h"
#include "core/nearest_name.h"

namespace eg4d {
namespace {

ConfigValue from_node(const toml::node& node, const std::string& place) {
  if (const auto* value = node.as_boolean()) return value->get();
  if (const auto* value = node.as_integer()) return value->get();
  if (const auto* value = node.as_floating_point()) return value->get();
  if (const auto* value = node.as_string()) return value->get();
  if (const auto* array = node.as_array()) {
    std::vector<ConfigValue> list;
    for (const toml::node& item : *array) list.push_back(from_node(item, place));
    return list;
  }
  throw UsageError(
      place +
      ": settings are numbers, true or false, texts or lists; there are no dates and no tables in lists");
}

void flatten(const toml::table& table, const std::string& prefix, const std::string& source,
             std::vector<ConfigAssignment>& assignments) {
  for (const auto& [name, node] : table) {
    const std::string key = prefix.empty() ? std::string(name) : prefix + "." + std::string(name);
    if (const toml::table* section = node.as_table()) {
      flatten(*section, key, source, assignments);
      continue;
    }
    const std::string place = fmt::format("{} line {}", source, node.source().begin.line);
    assignments.push_back({key, from_node(node, place), place});
  }
}

toml::table parse(std::string_view text, const std::string& source) {
  try {
    return toml::parse(text);
  } catch (const toml::parse_error& error) {
    throw UsageError(fmt::format("{} line {}: not valid TOML: {}", source, error.source().begin.line,
                                 error.description()));
  }
}

std::vector<ConfigAssignment> assignments_of(std::string_view text, const std::string& source,
                                             const PresetTexts& presets, std::vector<std::string> chain);

std::vector<ConfigAssignment> assignments_of_preset(const std::string& name, const std::string& source,
                                                    const PresetTexts& presets,
                                                    std::vector<std::string> chain) {
  const auto preset = presets.find(name);
  if (preset == presets.end()) {
    std::vector<std::string> names;
    for (const auto& [known, text] : presets) names.push_back(known);
    throw UsageError(fmt::format("{}: there is no preset '{}'{} (presets: {})", source, name,
                                 did_you_mean(name, names), fmt::join(names, ", ")));
  }
  if (std::find(chain.begin(), chain.end(), name) != chain.end()) {
    throw UsageError(fmt::format("{}: preset '{}' inherits itself", source, name));
  }
  chain.push_back(name);
  return assignments_of(preset->second, "preset " + name, presets, std::move(chain));
}

std::vector<ConfigAssignment> assignments_of(std::string_view text, const std::string& source,
                                             const PresetTexts& presets, std::vector<std::string> chain) {
  toml::table table = parse(text, source);
  std::vector<ConfigAssignment> assignments;
  if (const toml::node* inherits = table.get("inherits")) {
    const std::string place = fmt::format("{} line {}", source, inherits->source().begin.line);
    if (!inherits->is_string())
      throw UsageError(place + ": inherits must be the name of a preset, in quotes");
    assignments = assignments_of_preset(inherits->as_string()->get(), place, presets, std::move(chain));
    table.erase("inherits");
  }
  flatten(table, "", source, assignments);
  return assignments;
}

nlohmann::json to_json_value(const ConfigValue& value) {
  return std::visit(
      [](const auto& item) -> nlohmann::json {
        if constexpr (std::is_same_v<std::decay_t<decltype(item)>, std::vector<ConfigValue>>) {
          nlohmann::json list = nlohmann::json::array();
          for (const ConfigValue& element : item) list.push_back(to_json_value(element));
          return list;
        } else {
          return item;
        }
      },
      static_cast<const ConfigValue::variant&>(value));
}

// "a.b" is b of the object a.
void put(nlohmann::json& root, const std::string& key, const ConfigValue& value) {
  std::string pointer = "/" + key;
  std::replace(pointer.begin(), pointer.end(), '.', '/');
  root[nlohmann::json::json_pointer(pointer)] = to_json_value(value);
}

// Settings may be file names, which need not be UTF-8.
std::string text_of(const nlohmann::json& root) {
  return root.dump(2, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::pair<std::string, std::string> split_key(const std::string& key) {
  const size_t dot = key.rfind('.');
  if (dot == std::string::npos) return {"", key};
  return {key.substr(0, dot), key.substr(dot + 1)};
}

// Sections in the order of their first setting, except that settings without one come first, as TOML wants
// it.
std::vector<std::pair<std::string, std::vector<const ConfigOption*>>> by_section(
    const std::vector<ConfigOption>& options) {
  std::vector<std::pair<std::string, std::vector<const ConfigOption*>>> sections = {{"", {}}};
  for (const ConfigOption& option : options) {
    const std::string section = split_key(option.key).first;
    auto found = std::find_if(sections.begin(), sections.end(),
                              [&section](const auto& known) { return known.first == section; });
    if (found == sections.end()) found = sections.insert(found, {section, {}});
    found->second.push_back(&option);
  }
  if (sections.front().second.empty()) sections.erase(sections.begin());
  return sections;
}

}  // namespace

std::vector<ConfigAssignment> toml_assignments(std::string_view toml, const std::string& source,
                                               const PresetTexts& presets) {
  return assignments_of(toml, source, presets, {});
}

std::vector<ConfigAssignment> preset_assignments(const std::string& name, const PresetTexts& presets) {
  return assignments_of_preset(name, "--preset", presets, {});
}

ConfigValue parse_toml_value(std::string_view text) {
  try {
    toml::table table = toml::parse("value = " + std::string(text));
    if (table.size() == 1) return from_node(*table.get("value"), "");
  } catch (const toml::parse_error&) {
  } catch (const UsageError&) {
  }
  return std::string(text);
}

ConfigValue parse_toml_list(std::string_view text) {
  const bool bracketed = !text.empty() && text.front() == '[';
  return parse_toml_value(bracketed ? std::string(text) : "[" + std::string(text) + "]");
}

std::string to_toml(const ConfigValue& value) {
  if (const auto* list = std::get_if<std::vector<ConfigValue>>(&value)) {
    std::string text = "[";
    for (const ConfigValue& item : *list) text += (text.size() > 1 ? ", " : "") + to_toml(item);
    return text + "]";
  }
  if (const auto* text = std::get_if<std::string>(&value)) {
    // TOML takes JSON's quoting.
    return nlohmann::json(*text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  }
  if (const auto* number = std::get_if<double>(&value)) {
    const std::string text = fmt::format("{}", *number);
    return text.find_first_of(".en") == std::string::npos ? text + ".0" : text;
  }
  if (const auto* integer = std::get_if<int64_t>(&value)) return fmt::format("{}", *integer);
  return std::get<bool>(value) ? "true" : "false";
}

void ConfigSchema::apply_toml_file(const std::string& path, const PresetTexts& presets) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  std::error_code error;
  if (!std::filesystem::exists(path, error))
    throw UsageError(fmt::format("there is no configuration file '{}'", path));
  const bool empty = file.peek() == std::ifstream::traits_type::eof() && !file.bad();
  if (!file.is_open() || (!empty && !(text << file.rdbuf())))
    throw UsageError(fmt::format("cannot read the configuration file '{}'; it should be a TOML text", path));
  apply_toml(text.str(), path, presets);
}

std::string ConfigSchema::to_toml() const {
  std::string text;
  for (const auto& [section, members] : by_section(options_)) {
    if (!section.empty()) text += fmt::format("{}[{}]\n", text.empty() ? "" : "\n", section);
    for (const ConfigOption* option : members) {
      text += fmt::format("{} = {}\n", split_key(option->key).second, eg4d::to_toml(option->get()));
    }
  }
  return text;
}

std::string ConfigSchema::to_json() const {
  nlohmann::json root = nlohmann::json::object();
  for (const ConfigOption& option : options_) put(root, option.key, option.get());
  return text_of(root);
}

std::string settings_as_json(std::string_view toml, const std::string& source) {
  nlohmann::json root = nlohmann::json::object();
  for (const ConfigAssignment& item : toml_assignments(toml, source, {})) put(root, item.key, item.value);
  return text_of(root);
}

std::string ConfigSchema::to_markdown() const {
  std::string text;
  for (const auto& [section, members] : by_section(options_)) {
    text += fmt::format("{}## {}\n\n| setting | default | allowed | meaning |\n| --- | --- | --- | --- |\n",
                        text.empty() ? "" : "\n", section.empty() ? "general" : section);
    for (const ConfigOption* option : members) {
      text += fmt::format("| `{}` | `{}` | {} | {} |\n", option->key, eg4d::to_toml(option->default_value),
                          option->expectation(), option->help);
    }
  }
  return text;
}

}  // namespace eg4d
