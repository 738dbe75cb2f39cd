#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <sstream>

#include "core/text_layout.h"
#include "support/expect_error.h"
#include "support/places.h"
#include "support/run_program.h"
#include "support/temporary_folder.h"

namespace eg4d::test {
namespace {

void expect_usage_error(const std::vector<std::string>& arguments, const std::vector<std::string>& parts) {
  const ProgramResult result = run_program(arguments);
  EXPECT_EQ(result.exit_code, 2) << result.errors;
  EXPECT_EQ(result.output, "");
  EXPECT_EQ(result.errors.find("error: "), 0u) << result.errors;
  EXPECT_TRUE(contains(result.errors, "\nTry: eg4d ")) << result.errors;
  for (const std::string& part : parts) EXPECT_TRUE(contains(result.errors, part)) << result.errors;
}

TEST(CommandLine, HelpNamesEveryCommandAndTheFirstSteps) {
  const ProgramResult result = run_program({"--help"});
  EXPECT_EQ(result.exit_code, 0);
  for (const char* part : {"animate", "multiview", "reconstruct", "render", "export", "evaluate", "models",
                           "info", "options", "First steps:"}) {
    EXPECT_TRUE(contains(result.output, part)) << part;
  }
  for (const std::vector<std::string>& words : std::vector<std::vector<std::string>>{{"-h"}, {"help"}, {}}) {
    const ProgramResult same = run_program(words);
    EXPECT_EQ(same.output, result.output);
    EXPECT_EQ(same.exit_code, 0);
  }
}

TEST(CommandLine, EveryCommandHasHelpThatEndsWithExamples) {
  for (const char* command : {"animate", "multiview", "reconstruct", "render", "export", "evaluate", "models",
                              "info", "options", "refine", "generate", "view"}) {
    const ProgramResult result = run_program({command, "--help"});
    EXPECT_EQ(result.exit_code, 0);
    EXPECT_TRUE(contains(result.output, "Examples:")) << command;
    EXPECT_TRUE(contains(result.output, std::string("  eg4d ") + command)) << command;
    EXPECT_EQ(result.errors, "");
    std::istringstream lines(result.output);
    for (std::string line; std::getline(lines, line);) EXPECT_LE(display_width(line), 80) << line;
    EXPECT_FALSE(contains(result.output, "\n\n\n")) << command;
    EXPECT_EQ(run_program({"help", command}).output, result.output);
  }
}

TEST(CommandLine, HelpIsWrittenForPeople) {
  const std::string render = run_program({"render", "--help"}).output;
  EXPECT_TRUE(contains(render, "Usage: eg4d render MODEL -o FILE|FOLDER [options]\n"));
  EXPECT_TRUE(contains(render, "\n  --[no-]back "));
  EXPECT_TRUE(contains(render, "(default 0,360)"));
  EXPECT_TRUE(contains(run_program({"generate", "-h"}).output, "Usage: eg4d generate [PICTURE…] -o RUN"));
  EXPECT_TRUE(contains(run_program({"models", "-h"}).output, "Usage: eg4d models ACTION [MODEL…]"));
}

TEST(CommandLine, VersionIsOneLine) {
  const ProgramResult result = run_program({"--version"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.output.find("eg4d "), 0u);
  EXPECT_EQ(std::count(result.output.begin(), result.output.end(), '\n'), 1);
  EXPECT_EQ(run_program({"-V"}).output, result.output);
}

TEST(CommandLine, MistakesAreNamedWithWhatToDo) {
  expect_usage_error({"-x"}, {"'-x' stands where the command should"});
  expect_usage_error({"help", "rendr"}, {"did you mean 'render'?"});
  expect_usage_error({"recontruct"}, {"no command 'recontruct'", "did you mean 'reconstruct'?"});
  expect_usage_error({"--nonsense"}, {"--nonsense"});
  expect_usage_error({"reconstruct"}, {"DATASET is missing", "Try: eg4d reconstruct --help"});
  expect_usage_error({"reconstruct", ".", "--prest", "fast"},
                     {"no option '--prest'", "did you mean '--preset'?"});
  expect_usage_error({"info", "a", "b"}, {"'b' is one argument too many"});
  expect_usage_error({"reconstruct", ".", "--threads", "many"}, {"--threads", "\"many\"", "an integer"});
  expect_usage_error({"reconstruct", ".", "--threads", "-1"}, {"0 to 4096"});
  expect_usage_error({"reconstruct", ".", "--threads"}, {"--threads needs a value"});
  expect_usage_error({"render", ".", "--frames", "0"}, {"--frames", "1 to"});
  expect_usage_error({"info", ".", "--json=perhaps"}, {"--json", "perhaps"});
}

// A hint that leads elsewhere is worse than none.
TEST(CommandLine, NamesThatAreNotNearAreNotSuggested) {
  const ProgramResult result = run_program({"render", ".", "--seed", "3"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_TRUE(contains(result.errors, "no option '--seed'\n")) << result.errors;
}

TEST(CommandLine, FarMoreThreadsThanProcessorsAreWarnedOf) {
  const std::string none = TemporaryFolder() / "none";
  const std::string many = "4096";
  EXPECT_TRUE(contains(run_program({"evaluate", none, "--threads", many}).errors, "warning: 4096 threads"));
  EXPECT_FALSE(contains(run_program({"evaluate", none, "--threads", "1"}).errors, "warning"));
}

TEST(CommandLine, SeveralModelsAreNamedAtOnceWithOrWithoutCommas) {
  for (const std::vector<std::string>& words : std::vector<std::vector<std::string>>{
           {"models", "check", "alexnet", "svd_nothing"}, {"models", "check", "alexnet,", "svd_nothing"}}) {
    const ProgramResult result = run_program(words);
    EXPECT_TRUE(contains(result.errors, "svd_nothing")) << result.errors;
    EXPECT_FALSE(contains(result.errors, "too many")) << result.errors;
  }
}

TEST(CommandLine, SettingsAreCheckedWhereverTheyComeFrom) {
  expect_usage_error({"reconstruct", ".", "--preset", "papr"}, {"no preset 'papr'", "did you mean 'paper'?"});
  expect_usage_error({"reconstruct", ".", "--set", "schedule.views"}, {"key=value"});
  expect_usage_error({"reconstruct", ".", "--set", "schedule.vews=2"}, {"did you mean 'schedule.views'?"});
  expect_usage_error({"reconstruct", ".", "--schedule.views", "0"}, {"schedule.views = 0", "1 to 1024"});
  expect_usage_error({"reconstruct", ".", "--schedule.vews", "1"}, {"did you mean '--schedule.views'?"});
  expect_usage_error({"reconstruct", ".", "--config", "/no/such/file.toml"},
                     {"there is no configuration file '/no/such/file.toml'"});
  const TemporaryFolder folder;
  write_text(folder / "bad.toml", "[schedule]\nviews = 2\nlearning = 3\n");
  expect_usage_error({"reconstruct", ".", "--config", folder / "bad.toml"},
                     {"bad.toml line 3", "schedule.learning"});
  write_text(folder / "empty.toml", "");
  EXPECT_EQ(run_program({"options", "--config", folder / "empty.toml"}).exit_code, 0);
  expect_usage_error({"options", "--config", folder.path()}, {"cannot read the configuration file"});
  write_text(folder / "broken.toml", "[schedule\n");
  expect_usage_error({"reconstruct", ".", "--config", folder / "broken.toml"},
                     {"broken.toml line 1", "TOML"});
}

TEST(CommandLine, LaterSourcesOfSettingsWin) {
  const TemporaryFolder folder;
  write_text(folder / "mine.toml",
             "inherits = \"fast\"\nseed = 3\n[schedule]\nviews = 3\ncoarse_iterations = 33\n");
  const std::string file = folder / "mine.toml";
  const auto settings = [](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"options", "--toml"});
    const ProgramResult result = run_program(arguments);
    EXPECT_EQ(result.exit_code, 0) << result.errors;
    return result.output;
  };
  EXPECT_TRUE(contains(settings({"--schedule.views", "5", "--set", "schedule.views=4", "--config", file}),
                       "\nviews = 5\n"));
  EXPECT_TRUE(contains(settings({"--set", "schedule.views=4", "--config", file}), "\nviews = 4\n"));
  EXPECT_TRUE(contains(settings({"--config", file, "--preset", "paper"}), "\ncoarse_iterations = 33\n"));
  EXPECT_TRUE(contains(settings({"--config", file, "--seed", "9"}), "seed = 9\n"));
  EXPECT_TRUE(contains(settings({"--gaussian.flat", "--no-hexplane.train-box"}), "\nflat = true\n"));
  EXPECT_TRUE(contains(settings({"--schedule.coarse-iterations=7"}), "\ncoarse_iterations = 7\n"));
}

TEST(CommandLine, TheDumpedSettingsAreAConfigurationFile) {
  const TemporaryFolder folder;
  const std::string dump = run_program({"options", "--toml", "--preset", "quality"}).output;
  write_text(folder / "dump.toml", dump);
  EXPECT_EQ(run_program({"options", "--toml", "--config", folder / "dump.toml"}).output, dump);
}

TEST(CommandLine, SettingsOfEveryCommandCanBeDumpedAndReadBack) {
  const TemporaryFolder folder;
  for (const char* command : {"reconstruct", "animate", "multiview", "refine", "generate"}) {
    const std::string dump = run_program({"options", command, "--toml", "--preset", "mini"}).output;
    EXPECT_TRUE(contains(dump, " = ")) << command;
    write_text(folder / "dump.toml", dump);
    EXPECT_EQ(run_program({"options", command, "--toml", "--config", folder / "dump.toml"}).output, dump);
    EXPECT_EQ(run_program({"options", command, "--json", "--preset", "paper"}).output.substr(0, 1), "{");
  }
  const auto settings = [](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "options");
    return run_program(arguments).output;
  };
  EXPECT_TRUE(contains(settings({"multiview", "--toml", "--elevation", "12"}), "elevation = 12.0\n"));
  EXPECT_TRUE(contains(settings({"generate", "--toml", "--preset", "mini", "--refine.iterations", "77"}),
                       "iterations = 77\n"));
  EXPECT_TRUE(contains(settings({"animate"}), "motion.fps_id = 6"));
  expect_usage_error({"options", "multiview", "--toml", "--schedule.views", "5"},
                     {"--schedule.views", "another command"});
  expect_usage_error({"options", "multivew"}, {"did you mean 'multiview'?"});
}

TEST(CommandLine, TheOptionsPageIsUpToDate) {
  EXPECT_EQ(read_text(docs() / "options.md"), run_program({"options", "--markdown"}).output)
      << "run: build/release/eg4d options --markdown > docs/options.md";
}

TEST(CommandLine, OutputThatCannotBeWrittenIsAFailure) {
  const ProgramResult result = run_program({"options", "--json"});
  EXPECT_EQ(result.exit_code, 0);
  const TemporaryFolder folder;
  const std::string command =
      eg4d_program().string() + " options > /dev/full 2> " + (folder / "errors").string();
  EXPECT_NE(std::system(command.c_str()), 0);
  EXPECT_EQ(read_text(folder / "errors"),
            "error: not all of standard output could be written; is its disk full?\n");
}

}  // namespace
}  // namespace eg4d::test
