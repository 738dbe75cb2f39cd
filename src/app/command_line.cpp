#include "app/command_line.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>

#include "app/help.h"
#include "core/error.h"
#include "core/nearest_name.h"
#include "core/version.h"

namespace eg4d {
namespace {

constexpr const char* kAbout = "eg4d: one picture or a multi-view video becomes an animated 3D object";
constexpr const char* kFirstSteps =
    "First steps:\n"
    "  eg4d generate examples/creature.png -o creature --preset mini   a picture becomes an object\n"
    "  eg4d reconstruct examples/robot-192 -o robot --preset fast   train on a multi-view video\n"
    "  eg4d render robot -o orbit.mp4   look at the result\n"
    "  eg4d help COMMAND   the options of one command, with examples\n"
    "  eg4d options   every setting, its default and range";

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

// One command with its arguments, as CLI11 sees it.
class CommandParser {
 public:
  CommandParser(CLI::App& program, Command& command) : command_(command) {
    app_ = program.add_subcommand(command.name());
    app_->allow_extras();
    command.declare(arguments_);
    add_positionals();
    for (const ConfigOption& option : arguments_.options.options()) add(option, &options_help_);
    if (arguments_.setting_schema) add_settings();
    declare_common();
    for (const ConfigOption& option : common_schema_.options()) add(option, &general_help_);
    general_help_.entries.push_back({"-h, --help", "this help"});
  }
  CommandParser(const CommandParser&) = delete;

  bool chosen() const { return app_->parsed(); }
  Command& command() const { return command_; }

  std::string help(int width) const {
    HelpPage page;
    page.usage = std::string("eg4d ") + command_.name();
    for (const Arguments::Positional& positional : arguments_.positionals) {
      const std::string shown = positional.name + (positional.many ? "…" : "");
      page.usage += positional.required ? " " + shown : " [" + shown + "]";
    }
    for (const auto& [key, shown] : arguments_.value_names)
      if (shown.needed) page.usage += fmt::format(" {} {}", shortest_name(key), shown.name);
    page.usage += " [options]";
    page.about = command_.summary();
    page.groups = {positionals_help_, options_help_, settings_help_, general_help_};
    page.examples = std::string("Examples:\n") + command_.examples();
    return layout(page, width);
  }

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

  std::string shortest_name(const std::string& key) const {
    for (const auto& [letter, owner] : arguments_.short_names)
      if (owner == key) return fmt::format("-{}", letter);
    return "--" + hyphenated(key);
  }

  // A flag that is on by default is turned off by --no-KEY.
  std::string flag_names(const ConfigOption& option) const {
    std::string names = option_names(option.key);
    if (option.default_value == ConfigValue(true)) names += ",!--no-" + hyphenated(option.key);
    return names;
  }

  // "-o, --output RUN", "--[no-]back".
  std::string shown_name(const ConfigOption& option) const {
    const std::string name = hyphenated(option.key);
    if (is_flag(option)) return (option.default_value == ConfigValue(true) ? "--[no-]" : "--") + name;
    std::string shown = "--" + name;
    if (const std::string shortest = shortest_name(option.key); shortest != shown)
      shown = shortest + ", " + shown;
    const auto named = arguments_.value_names.find(option.key);
    return shown + " " + (named == arguments_.value_names.end() ? placeholder(option) : named->second.name);
  }

  // Without a group the help does not show it.
  void add(const ConfigOption& option, HelpPage::Group* group) {
    known_names_.push_back("--" + hyphenated(option.key));
    if (group) {
      const auto named = arguments_.value_names.find(option.key);
      const bool needed = named != arguments_.value_names.end() && named->second.needed;
      group->entries.push_back({shown_name(option), help_text(option, needed)});
    }
    if (is_flag(option)) {
      app_->add_flag(flag_names(option))->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
      return;
    }
    add_text(option_names(option.key))->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  }

  // An option with one value, kept as it was typed: the schema reads it.
  CLI::Option* add_text(const std::string& names) {
    const CLI::callback_t keep = [](const CLI::results_t&) { return true; };
    return app_->add_option(names, keep);
  }

  void declare_common() {
    if (command_.computes()) {
      common_schema_.add("device", common_.device, "where to compute: auto, cpu, cuda or cuda:N");
      if (command_.has_field()) {
        std::vector<std::pair<std::string, FieldPrecision>> names;
        for (const FieldPrecision each :
             {FieldPrecision::automatic, FieldPrecision::f32, FieldPrecision::tf32, FieldPrecision::bf16})
          names.emplace_back(name_of(each), each);
        common_schema_.add("precision", common_.precision, names,
                           "of products in the deformation field's network, whose sums are f32; auto: bf16 "
                           "on a GPU, f32 on the processor, which has no other");
      }
      arguments_.value_name("memory", "SIZE");
      common_schema_.add(
          "memory", common_.memory,
          "at most so much of a GPU's memory, such as 8G, 12G or 24G: weights then wait in the "
          "host's memory for their turn, and less is computed at once");
      common_schema_.add("threads", common_.threads, {0, 4096},
                         "processor threads; 0 takes all; results do not depend on it");
      common_schema_.add("log_json", common_.log_json,
                         "progress and messages as JSON lines on standard output");
      common_schema_.add("quiet", common_.quiet, "no progress display, only warnings and errors");
      common_schema_.add("trace", common_.trace,
                         "file for every operation of the device with its shape, bytes, FLOP and time (opens "
                         "in ui.perfetto.dev); a table follows at the end");
    }
  }

  void add_positionals() {
    for (const Arguments::Positional& positional : arguments_.positionals) {
      positionals_help_.entries.push_back({positional.name, positional.help});
      CLI::Option* option = add_text(positional.name);
      option->required(positional.required);
      if (positional.many) option->expected(1, CLI::detail::expected_max_vector_size)->allow_extra_args();
    }
  }

  void add_settings() {
    std::vector<std::string> names;
    for (const auto& [name, text] : arguments_.presets) names.push_back(name);
    known_names_.insert(known_names_.end(), {"--preset", "--config", "--set"});
    settings_help_.entries = {
        {"--preset NAME",
         fmt::format("named settings: {} (default: {})", fmt::join(names, ", "), arguments_.preset_name)},
        {"--config FILE", "settings from a TOML file"},
        {"--set KEY=VALUE", fmt::format("one setting; each is also an option: --{} {}; `{}` lists them all",
                                        example_key(), example_value(), list_command())}};
    add_text("--preset")->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
    add_text("--config")->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    add_text("--set")->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    for (const ConfigOption& option : arguments_.setting_schema->options()) {
      // Settings without a section, such as the seed, are common enough to be shown.
      const bool shown = option.key.find('.') == std::string::npos;
      add(option, shown ? &settings_help_ : nullptr);
    }
    for (const ConfigSchema* further : arguments_.further_settings)
      for (const ConfigOption& option : further->options())
        if (!app_->get_option_no_throw("--" + hyphenated(option.key))) add(option, nullptr);
  }

  std::string list_command() const {
    const std::string name = command_.name();
    return name == "options" || name == "reconstruct" ? "eg4d options" : "eg4d options " + name;
  }

  // Of a setting with a section, to show how it is typed.
  const ConfigOption& example_setting() const {
    const auto& options = arguments_.setting_schema->options();
    const auto found = std::find_if(options.begin(), options.end(), [](const ConfigOption& option) {
      return option.type == "an integer" && option.key.find('.') != std::string::npos;
    });
    return found == options.end() ? options.front() : *found;
  }
  std::string example_key() const { return hyphenated(example_setting().key); }
  std::string example_value() const { return to_text(example_setting().default_value); }

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
  HelpPage::Group positionals_help_{"Arguments", {}}, options_help_{"Options", {}},
      settings_help_{"Settings", {}}, general_help_{"General", {}};
};

using Commands = std::vector<std::unique_ptr<Command>>;

std::string program_help(const Commands& commands, int width) {
  HelpPage page;
  page.usage = "eg4d COMMAND [arguments]";
  page.about = kAbout;
  HelpPage::Group list{"Commands", {}};
  for (const auto& command : commands) list.entries.push_back({command->name(), command->summary()});
  list.entries.push_back({"help", "this help; eg4d help COMMAND: that of a command"});
  page.groups = {list,
                 {"Options", {{"-h, --help", "this help"}, {"-V, --version", "the program's version"}}}};
  page.examples = kFirstSteps;
  return layout(page, width);
}

// The words after the program's name; "help X" is "X --help", nothing is "--help".
std::vector<std::string> words_of(int argc, char** argv) {
  std::vector<std::string> words(argv + 1, argv + argc);
  if (words.empty()) return {"--help"};
  if (words.front() != "help") return words;
  if (words.size() == 1 || words[1] == "help") return {"--help"};
  return {words[1], "--help"};
}

// What CLI11 has to say, as a sentence of ours where its own is unreadable.
std::string sentence_of(const CLI::ParseError& error) {
  const std::string text = error.what();
  if (dynamic_cast<const CLI::ArgumentMismatch*>(&error))
    return text.substr(0, text.find(':')) + " needs a value";
  return text;
}

void require_command(const std::vector<std::string>& words, const Commands& commands) {
  std::vector<std::string> names;
  for (const auto& command : commands) names.emplace_back(command->name());
  const std::string& word = words.front();
  for (const char* option : {"--help", "-h", "--version", "-V"})
    if (word == option) return;
  if (std::find(names.begin(), names.end(), word) != names.end()) return;
  if (word.starts_with("-"))
    throw UsageError(fmt::format(
        "'{}' stands where the command should: the command comes first, then its options (commands: {})",
        word, fmt::join(names, ", ")));
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
  program.set_version_flag("-V,--version", std::string("eg4d ") + kVersion);
  program.set_help_flag("-h,--help");
  // A command's name can be an argument of another: eg4d options refine.
  program.require_subcommand(0, 1);
  std::vector<std::string> words = words_of(argc, argv);
  std::string help = "eg4d --help";
  try {
    require_command(words, commands);
    std::vector<std::unique_ptr<CommandParser>> parsers;
    const std::string& named = words.front().starts_with("-") ? words.back() : words.front();
    for (const auto& command : commands) {
      if (named != command->name()) continue;  // to declare the options of all takes half the time of a start
      help = fmt::format("eg4d {} --help", command->name());
      parsers.push_back(std::make_unique<CommandParser>(program, *command));
    }
    const auto chosen = [&parsers] {
      return std::find_if(parsers.begin(), parsers.end(), [](const auto& one) { return one->chosen(); });
    };
    try {
      std::reverse(words.begin(), words.end());  // as CLI11 takes them
      program.parse(words);
    } catch (const CLI::CallForHelp&) {
      const auto parser = chosen();
      const int width = help_width();
      std::fputs((parser == parsers.end() ? program_help(commands, width) : (*parser)->help(width)).c_str(),
                 stdout);
      return;
    } catch (const CLI::Success& request) {  // --version
      program.exit(request);
      return;
    } catch (const CLI::RequiredError&) {
      for (const auto& parser : parsers) parser->require_positionals();
      throw;
    } catch (const CLI::ParseError& error) {
      throw UsageError(sentence_of(error));
    }
    if (const auto parser = chosen(); parser != parsers.end()) (*parser)->take(parsed);
  } catch (const UsageError& error) {
    throw UsageError(fmt::format("{}\nTry: {}", error.what(), help));
  }
}

}  // namespace eg4d
