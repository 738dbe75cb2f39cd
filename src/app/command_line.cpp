#include "app/command_line.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>

#include "core/error.h"
#include "core/nearest_name.h"
#include "core/version.h"

namespace eg4d {
namespace {

constexpr const char* kAbout = "eg4d: one picture or a multi-view video becomes an animated 3D object";
constexpr const char* kFirstSteps =
    "First steps:\n"
    "  eg4d reconstruct examples/robot-192 -o run --preset fast   train on a multi-view video\n"
    "  eg4d render run -o orbit.mp4                               look at the result\n"
    "  eg4d COMMAND --help                                        the options of one command, with examples\n"
    "  eg4d options                                               every setting, its default and range";

std::string hyphenated(std::string key) {
  std::replace(key.begin(), key.end(), '_', '-');
  return key;
}

const char* placeholder(const ConfigOption& option) {
  if (option.type == "an integer") return "N";
  if (option.type == "a number") return "X";
  if (option.type == "one of") return "NAME";
  return option.type.starts_with("a list") ? "X,Y,…" : "TEXT";
}

bool is_flag(const ConfigOption& option) {
  return option.type == "true or false";
}

std::string help_of(const ConfigOption& option) {
  if (is_flag(option)) return option.help;
  std::string shown = to_text(option.default_value);
  std::string help = option.help;
  if (!shown.empty()) help += fmt::format(" [{}]", shown);
  if (!option.allowed.empty()) help += fmt::format(" ({})", option.allowed);
  return help;
}

// One command with its arguments, as CLI11 sees it.
class CommandParser {
 public:
  CommandParser(CLI::App& program, Command& command) : command_(command) {
    app_ = program.add_subcommand(command.name(), command.summary());
    app_->footer(std::string("Examples:\n") + command.examples());
    app_->allow_extras();
    command.declare(arguments_);
    add_positionals();
    for (const ConfigOption& option : arguments_.options.options()) add(option, "Options");
    if (arguments_.setting_schema) add_settings();
    declare_common();
    for (const ConfigOption& option : common_schema_.options()) add(option, "General");
  }
  CommandParser(const CommandParser&) = delete;

  bool chosen() const { return app_->parsed(); }
  Command& command() const { return command_; }

  // Throws UsageError for a missing positional of the chosen command.
  void require_positionals() const {
    if (!chosen()) return;
    for (const Arguments::Positional& positional : arguments_.positionals) {
      if (positional.required && app_->get_option(positional.name)->empty()) {
        throw UsageError(fmt::format("{} is missing: {}", positional.name, positional.help));
      }
    }
  }

  void take(ParsedCommand& parsed) {
    reject_unknown();
    take_positionals();
    take_from(arguments_.options);
    take_from(common_schema_);
    if (arguments_.setting_schema) take_settings();
    parsed.command = &command_;
    parsed.common = common_;
    parsed.arguments = arguments_;
  }

 private:
  std::string option_names(const std::string& key) const {
    std::string names = "--" + hyphenated(key);
    // Settings may also be typed as the TOML key; in the help of plain options that would be noise.
    if (key.find('.') != std::string::npos && hyphenated(key) != key) names += ",--" + key;
    for (const auto& [letter, owner] : arguments_.short_names) {
      if (owner == key) names = fmt::format("-{},{}", letter, names);
    }
    return names;
  }

  // A flag that is on by default is turned off by --no-KEY.
  std::string flag_names(const ConfigOption& option) const {
    std::string names = option_names(option.key);
    if (option.default_value == ConfigValue(true)) names += ",!--no-" + hyphenated(option.key);
    return names;
  }

  void add(const ConfigOption& option, const std::string& group) {
    known_names_.push_back("--" + hyphenated(option.key));
    if (is_flag(option)) {
      app_->add_flag(flag_names(option), option.help)
          ->group(group)
          ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
      return;
    }
    add_text(option_names(option.key), help_of(option), group, placeholder(option))
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  }

  // An option with one value, kept as it was typed: the schema reads it.
  CLI::Option* add_text(const std::string& names, const std::string& help, const std::string& group,
                        const std::string& placeholder) {
    const CLI::callback_t keep = [](const CLI::results_t&) { return true; };
    return app_->add_option(names, keep, help)->group(group)->option_text(placeholder);
  }

  void declare_common() {
    if (command_.computes()) {
      common_schema_.add("device", common_.device, "where to compute: auto, cpu, cuda or cuda:N");
      common_schema_.add("threads", common_.threads, {0, 4096},
                         "processor threads; 0 takes all; results do not depend on it");
      common_schema_.add("log_json", common_.log_json,
                         "progress and messages as JSON lines on standard output");
      common_schema_.add("quiet", common_.quiet, "no progress display, only warnings and errors");
    }
  }

  void add_positionals() {
    for (const Arguments::Positional& positional : arguments_.positionals) {
      CLI::Option* option =
          add_text(positional.name, positional.help, "Arguments", positional.required ? " " : "(optional)");
      option->required(positional.required);
      if (positional.many) option->expected(1, CLI::detail::expected_max_vector_size)->allow_extra_args();
    }
  }

  void add_settings() {
    std::vector<std::string> names;
    for (const auto& [name, text] : arguments_.presets) names.push_back(name);
    const std::string group = "Settings";
    known_names_.insert(known_names_.end(), {"--preset", "--config", "--set"});
    add_text("--preset",
             fmt::format("named settings: {} [{}]", fmt::join(names, ", "), arguments_.preset_name), group,
             "NAME")
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
    add_text("--config", "settings from a TOML file", group, "FILE")
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    add_text("--set", "one setting (`eg4d options` lists them); each is also an option: --schedule.views 4",
             group, "KEY=VALUE")
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    for (const ConfigOption& option : arguments_.setting_schema->options()) {
      // Settings without a section, such as the seed, are common enough to be shown.
      const bool shown = option.key.find('.') == std::string::npos;
      add(option, shown ? group : "");
    }
    for (const ConfigSchema* further : arguments_.further_settings)
      for (const ConfigOption& option : further->options())
        if (!app_->get_option_no_throw("--" + hyphenated(option.key))) add(option, "");
  }

  // Options of other sets of settings than the one that was chosen.
  void reject_other_settings() const {
    for (const ConfigSchema* further : arguments_.further_settings)
      for (const ConfigOption& option : further->options()) {
        const std::string name = "--" + hyphenated(option.key);
        if (!arguments_.setting_schema->find(option.key) && app_->get_option(name)->count() > 0)
          throw UsageError(fmt::format("{} is a setting of another command", name));
      }
  }

  void reject_unknown() const {
    const std::vector<std::string> extras = app_->remaining();
    if (extras.empty()) return;
    const std::string word = extras.front().substr(0, extras.front().find('='));
    if (word.starts_with("-") && word.size() > 1) {
      throw UsageError(fmt::format("there is no option '{}'{}", word, did_you_mean(word, known_names_)));
    }
    throw UsageError(fmt::format("'{}' is one argument too many", word));
  }

  void take_positionals() {
    for (const Arguments::Positional& positional : arguments_.positionals) {
      const std::vector<std::string> results = app_->get_option(positional.name)->results();
      if (!results.empty()) positional.take(results);
    }
  }

  void take_from(ConfigSchema& schema) {
    for (const ConfigOption& option : schema.options()) {
      const std::string name = "--" + hyphenated(option.key);
      const CLI::Option* given = app_->get_option(name);
      if (given->count() == 0) continue;
      arguments_.given_keys.push_back(option.key);
      schema.set(option.key, given->results().back(), name);
    }
  }

  void take_settings() {
    if (arguments_.settings_chooser) arguments_.settings_chooser();
    reject_other_settings();
    ConfigSchema& schema = *arguments_.setting_schema;
    const auto preset = app_->get_option("--preset")->results();
    const auto files = app_->get_option("--config")->results();
    if (!preset.empty()) arguments_.preset_name = preset.back();
    if (preset.empty() && !files.empty()) {
      arguments_.preset_name = "";
    } else {
      if (preset.empty() && arguments_.preset_chooser) arguments_.preset_name = arguments_.preset_chooser();
      schema.apply_preset(arguments_.preset_name, arguments_.presets);
    }
    for (const std::string& file : files) schema.apply_toml_file(file, arguments_.presets);
    for (const std::string& assignment : app_->get_option("--set")->results()) {
      const size_t equals = assignment.find('=');
      if (equals == std::string::npos) {
        throw UsageError(
            fmt::format("--set takes key=value, such as --set schedule.views=4, not '{}'", assignment));
      }
      arguments_.given_keys.push_back(assignment.substr(0, equals));
      schema.set(assignment.substr(0, equals), assignment.substr(equals + 1), "--set");
    }
    take_from(schema);
  }

  Command& command_;
  CLI::App* app_ = nullptr;
  Arguments arguments_;
  CommonOptions common_;
  ConfigSchema common_schema_;
  std::vector<std::string> known_names_;
};

void require_command(int argc, char** argv, const std::vector<std::unique_ptr<Command>>& commands) {
  std::vector<std::string> names;
  for (const auto& command : commands) names.emplace_back(command->name());
  if (argc < 2) {
    throw UsageError(fmt::format("which command? One of {}", fmt::join(names, ", ")));
  }
  const std::string word = argv[1];
  if (word == "--help" || word == "-h" || word == "--version") return;
  if (std::find(names.begin(), names.end(), word) != names.end()) return;
  throw UsageError(fmt::format("there is no command '{}'{} (commands: {})", word, did_you_mean(word, names),
                               fmt::join(names, ", ")));
}

}  // namespace

bool Arguments::given(const std::string& key) const {
  return std::find(given_keys.begin(), given_keys.end(), key) != given_keys.end();
}

void parse_command_line(int argc, char** argv, const std::vector<std::unique_ptr<Command>>& commands,
                        ParsedCommand& parsed) {
  CLI::App program(kAbout, "eg4d");
  program.set_version_flag("--version", std::string("eg4d ") + kVersion);
  program.set_help_flag("-h,--help", "this help");
  program.footer(kFirstSteps);
  program.require_subcommand(0,
                             1);  // then a command's name can be an argument of another: eg4d options refine
  program.get_formatter()->column_width(34);
  program.get_formatter()->label("SUBCOMMAND", "COMMAND");
  program.get_formatter()->label("Subcommands", "Commands");
  std::string help = "eg4d --help";
  try {
    require_command(argc, argv, commands);
    std::vector<std::unique_ptr<CommandParser>> parsers;
    for (const auto& command : commands) {
      if (argc > 1 && argv[1] == std::string(command->name()))
        help = fmt::format("eg4d {} --help", command->name());
      parsers.push_back(std::make_unique<CommandParser>(program, *command));
    }
    try {
      program.parse(argc, argv);
    } catch (const CLI::Success& request) {  // --help, --version
      program.exit(request);
      return;
    } catch (const CLI::RequiredError&) {
      for (const auto& parser : parsers) parser->require_positionals();
      throw;
    } catch (const CLI::ParseError& error) {
      throw UsageError(error.what());
    }
    for (const auto& parser : parsers) {
      if (parser->chosen()) parser->take(parsed);
    }
  } catch (const UsageError& error) {
    throw UsageError(fmt::format("{}\nTry: {}", error.what(), help));
  }
}

}  // namespace eg4d
