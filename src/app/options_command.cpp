#include <fmt/format.h>

#include <cstdio>

#include "app/command.h"
#include "pipeline/diffusion_painter.h"
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
    "\"fast\"`.\n\n";

class OptionsCommand : public Command {
 public:
  const char* name() const override { return "options"; }
  const char* summary() const override {
    return "every setting with its default and range; the settings in force";
  }
  const char* examples() const override {
    return "  eg4d options                          what each setting means\n"
           "  eg4d options --toml --preset fast     a preset as a TOML file to start from:\n"
           "      eg4d options --toml --preset fast > mine.toml; eg4d reconstruct dataset -o run --config "
           "mine.toml";
  }
  bool computes() const override { return false; }

  void declare(Arguments& arguments) override {
    arguments.options.add("toml", toml_, "the settings in force as a TOML file");
    arguments.options.add("json", json_, "the settings in force as JSON");
    arguments.options.add("markdown", markdown_, "docs/options.md");
    options_.bind(schema_);
    arguments.settings(schema_, reconstruct_presets(), "paper");
  }

  void run(const Arguments&, const CommonOptions&, Progress&) override { std::fputs(text().c_str(), stdout); }

 private:
  std::string text() const {
    if (markdown_) return page();
    if (json_) return schema_.to_json() + "\n";
    if (toml_) return schema_.to_toml();
    std::string lines;
    for (const ConfigOption& option : schema_.options()) {
      lines += fmt::format("{} = {}    ({})\n    {}\n", option.key, to_text(option.get()),
                           option.expectation(), option.help);
    }
    return lines;
  }

  // docs/options.md: the settings of all stages.
  std::string page() const {
    AnimateOptions animate;
    MultiviewOptions multiview;
    ConfigSchema animate_schema, multiview_schema;
    animate.bind(animate_schema);
    multiview.bind(multiview_schema);
    RefineOptions refine;
    DiffusionPainterOptions painting;
    ConfigSchema refine_schema;
    refine.bind(refine_schema);
    painting.bind(refine_schema);
    return kMarkdownHead + std::string("# reconstruct\n\n") + schema_.to_markdown() +
           "\n# animate\n\nPresets: `paper`, `svd` (the 14-frame model).\n\n" + animate_schema.to_markdown() +
           "\n# multiview\n\n" + multiview_schema.to_markdown() +
           "\n# refine\n\nPresets: `paper`, `fast`.\n\n" + refine_schema.to_markdown();
  }

  bool toml_ = false, json_ = false, markdown_ = false;
  ReconstructOptions options_;
  ConfigSchema schema_;
};

}  // namespace

std::unique_ptr<Command> make_options_command() {
  return std::make_unique<OptionsCommand>();
}

}  // namespace eg4d
