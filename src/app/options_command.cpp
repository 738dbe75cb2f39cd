#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "app/command.h"
#include "core/error.h"
#include "core/nearest_name.h"
#include "pipeline/diffusion_painter.h"
#include "pipeline/generate.h"
#include "pipeline/presets.h"
#include "pipeline/sampling_options.h"
#include "splat/options.h"

namespace eg4d {
namespace {

constexpr const char* kMarkdownHead =
    "# Settings\n\n"
    "Every setting of `eg4d reconstruct`, `eg4d animate`, `eg4d multiview` and `eg4d refine`; in `eg4d "
    "generate` they have the command's name before them (`--set multiview.elevation=10`). This page is "
    "written by `eg4d options --markdown`; a test holds it up to date.\n"
    "The defaults are the published hyper-parameters (preset `paper`). A setting is changed by a preset\n"
    "(`--preset fast`), in a TOML file (`--config mine.toml`), by `--set key=value` or as an option\n"
    "(`--schedule.views 4`); the later in this list wins. A TOML file may begin with `inherits = "
    "\"fast\"`; `eg4d options COMMAND --toml --preset NAME` writes one.\n\n";

class OptionsCommand : public Command {
 public:
  const char* name() const override { return "options"; }
  const char* summary() const override {
    return "every setting with its default and range; the settings in force";
  }
  const char* examples() const override {
    return "  eg4d options                          what each setting of reconstruct means\n"
           "  eg4d options multiview                those of another command\n"
           "  eg4d options --toml --preset fast > mine.toml   a preset as a file to start from\n"
           "  eg4d reconstruct dataset -o run --config mine.toml\n"
           "  eg4d options generate --json --preset mini --animate.seed 5";
  }
  bool computes() const override { return false; }

  void declare(Arguments& arguments) override {
    arguments.positional("COMMAND", command_,
                         "whose settings: reconstruct (when left out), animate, multiview, refine, generate",
                         false);
    arguments.options.add("toml", toml_, "the settings in force as a TOML file");
    arguments.options.add("json", json_, "the settings in force as JSON");
    arguments.options.add("markdown", markdown_, "docs/options.md");
    bind();
    arguments.settings(sets_[0].schema, *sets_[0].presets, "paper");
    for (SettingSet& set : sets_) arguments.further_settings.push_back(&set.schema);
    arguments.choose_settings([this, &arguments] {
      SettingSet& set = chosen();
      arguments.settings(set.schema, *set.presets, "paper");
      if (set.command == "generate")
        arguments.choose_preset([] { return choose_generate_preset({}).preset; });
    });
  }

  void run(const Arguments&, const CommonOptions&, Progress&) override { std::fputs(text().c_str(), stdout); }

 private:
  struct SettingSet {
    std::string command;
    const PresetTexts* presets;
    ConfigSchema schema;
  };

  void bind() {
    sets_[0] = {"reconstruct", &reconstruct_presets(), {}};
    reconstruct_.bind(sets_[0].schema);
    sets_[1] = {"animate", &animate_presets(), {}};
    animate_.bind(sets_[1].schema);
    sets_[2] = {"multiview", &multiview_presets(), {}};
    multiview_.bind(sets_[2].schema);
    sets_[3] = {"refine", &refine_presets(), {}};
    refine_.bind(sets_[3].schema);
    painting_.bind(sets_[3].schema);
    sets_[4] = {"generate", &generate_presets(), {}};
    generate_.bind(sets_[4].schema);
  }

  SettingSet& chosen() {
    std::vector<std::string> names;
    for (SettingSet& set : sets_) {
      if (command_ == set.command) return set;
      names.push_back(set.command);
    }
    if (command_.empty()) return sets_[0];
    throw UsageError(fmt::format("'{}' is no command with settings{}; those are {}", command_,
                                 did_you_mean(command_, names), fmt::join(names, ", ")));
  }

  std::string text() {
    if (markdown_) return page();
    const ConfigSchema& schema = chosen().schema;
    if (json_) return schema.to_json() + "\n";
    if (toml_) return schema.to_toml();
    std::string lines;
    for (const ConfigOption& option : schema.options()) {
      lines += fmt::format("{} = {}    ({})\n    {}\n", option.key, to_text(option.get()),
                           option.expectation(), option.help);
    }
    return lines;
  }

  // docs/options.md: the settings of all stages.
  std::string page() {
    std::string text = kMarkdownHead;
    for (const SettingSet& set : sets_) {
      std::vector<std::string> names;
      for (const auto& [name, preset] : *set.presets) names.push_back("`" + name + "`");
      text += fmt::format("{}# {}\n\nPresets: {}.\n\n", &set == &sets_[0] ? "" : "\n", set.command,
                          fmt::join(names, ", "));
      if (set.command == "generate") {
        ConfigSchema own;
        generate_.bind_own(own);
        text += own.to_markdown();
      } else {
        text += set.schema.to_markdown();
      }
    }
    return text;
  }

  std::string command_;
  bool toml_ = false, json_ = false, markdown_ = false;
  ReconstructOptions reconstruct_;
  AnimateOptions animate_;
  MultiviewOptions multiview_;
  RefineOptions refine_;
  DiffusionPainterOptions painting_;
  GenerateOptions generate_;
  SettingSet sets_[5];
};

}  // namespace

std::unique_ptr<Command> make_options_command() {
  return std::make_unique<OptionsCommand>();
}

}  // namespace eg4d
