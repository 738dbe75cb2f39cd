#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/config.h"

// How core/config.cpp reads and writes TOML; nobody else needs it.
namespace eg4d {

// The settings a TOML text gives, dotted ("[schedule]\ncoarse_iterations = 1" ->
// "schedule.coarse_iterations"), those of the presets it inherits first. `source` names the text in errors.
std::vector<ConfigAssignment> toml_assignments(std::string_view toml, const std::string& source,
                                               const PresetTexts& presets);
std::vector<ConfigAssignment> preset_assignments(const std::string& name, const PresetTexts& presets);

// One value ("600", "[1, 2]", "true"); a text when it is nothing else, so that quotes can be left out.
ConfigValue parse_toml_value(std::string_view text);
// "1,2,4" with or without brackets.
ConfigValue parse_toml_list(std::string_view text);

std::string to_toml(const ConfigValue& value);

}  // namespace eg4d
