#pragma once

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/config.h"

namespace eg4d {

// What one command takes on its command line. Values go through the same schema as settings, so that every
// error names the option, the value and what is allowed.
class Arguments {
 public:
  // `key` becomes --key (underscores as hyphens); a bool becomes the flag --key.
  ConfigSchema options;
  // "-o" for --output.
  void short_name(char letter, const std::string& key) { short_names.emplace_back(letter, key); }

  // What stands for the option's value in the help ("FILE"). A needed option is shown in the usage line too;
  // that it is there is for the command to check, which knows what to say.
  void value_name(const std::string& key, const std::string& name, bool needed = false) {
    value_names[key] = {name, needed};
  }

  // An argument without a dash, named in upper case: "DATASET". Required ones come first.
  void positional(const std::string& name, std::string& value, const std::string& help,
                  bool required = true) {
    positionals.push_back(
        {name, help, required, [&value](const auto& words) { value = words.back(); }, false});
  }
  // One or more of them, or, where not required, any number; only as the last one.
  void positionals_of(const std::string& name, std::vector<std::string>& values, const std::string& help,
                      bool required = true) {
    positionals.push_back({name, help, required, [&values](const auto& words) { values = words; }, true});
  }

  // --preset, --config FILE, --set key=value, and --KEY for every setting; applied in this order, whatever
  // their order on the command line. Without --preset and --config, `preset` is taken.
  void settings(ConfigSchema& schema, const PresetTexts& texts, const std::string& preset) {
    setting_schema = &schema;
    presets = texts;
    preset_name = preset;
  }
  // Instead of a fixed preset: asked after the options were taken when neither --preset nor --config is
  // given.
  void choose_preset(std::function<std::string()> choose) { preset_chooser = std::move(choose); }

  // For a command that shows several sets of settings: `choose` is called when the positionals were taken and
  // calls settings() with the one that is meant. The options of all `further_settings` can be typed.
  void choose_settings(std::function<void()> choose) { settings_chooser = std::move(choose); }
  std::vector<ConfigSchema*> further_settings;

  // Whether the option or setting was on the command line.
  bool given(const std::string& key) const;

  // For the parser (command_line.cpp).
  struct ValueName {
    std::string name;
    bool needed = false;
  };
  struct Positional {
    std::string name, help;
    bool required;
    std::function<void(const std::vector<std::string>&)> take;  // of one word or more
    bool many;
  };
  std::vector<std::pair<char, std::string>> short_names;
  std::map<std::string, ValueName> value_names;
  std::vector<Positional> positionals;
  ConfigSchema* setting_schema = nullptr;
  PresetTexts presets;
  std::string preset_name;
  std::function<std::string()> preset_chooser;
  std::function<void()> settings_chooser;
  std::vector<std::string> given_keys;
};

}  // namespace eg4d
