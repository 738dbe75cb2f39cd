#include "core/config.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "support/expect_error.h"

namespace eg4d {
namespace {

enum class Start { random, points };

struct Options {
  int coarse_iterations = 6000;
  int64_t large = 5;
  uint64_t seed = 1;
  float rate = 1.6e-4f;
  double factor = 0.1;
  bool flip = true;
  std::string name = "x";
  std::vector<int> levels = {1, 2, 4, 8};
  std::vector<float> background = {1, 1, 1};
  Start start = Start::random;

  void bind(ConfigSchema& schema) {
    schema.add("schedule.coarse_iterations", coarse_iterations, {.min = 0, .max = 1e6}, "coarse steps");
    schema.add("schedule.large", large, {}, "a large number");
    schema.add("schedule.rate", rate, {.min = 0}, "learning rate");
    schema.add("deformation.factor", factor, {.max = 2}, "a factor");
    schema.add("deformation.levels", levels, {.min = 1, .max = 64}, "grid levels");
    schema.add("deformation.flip", flip, "whether to flip");
    schema.add("scene.name", name, "a name");
    schema.add("scene.background", background, {.min = 0, .max = 1}, "colour");
    schema.add("scene.start", start, {{"random", Start::random}, {"points", Start::points}}, "start");
    schema.add("seed", seed, {.min = 0}, "seed");
  }
};

class ConfigTest : public testing::Test {
 protected:
  ConfigTest() { options.bind(schema); }

  // The message of the UsageError that `action` throws.
  template <class Action>
  std::string message(Action action) {
    try {
      action();
    } catch (const UsageError& error) {
      return error.what();
    }
    return "no error";
  }
  std::string message_of_toml(const std::string& toml) {
    return message([&] { schema.apply_toml(toml, "my.toml", presets); });
  }
  std::string message_of_set(const std::string& key, const std::string& value) {
    return message([&] { schema.set(key, value, "--set"); });
  }

  Options options;
  ConfigSchema schema;
  PresetTexts presets = {{"paper", "[schedule]\ncoarse_iterations = 3000\nrate = 1\n"},
                         {"fast", "inherits = \"paper\"\nschedule.rate = 2\n"},
                         {"loop", "inherits = \"pool\""},
                         {"pool", "inherits = \"loop\""}};
};

TEST_F(ConfigTest, TomlSetsEveryKind) {
  schema.apply_toml(R"(
seed = 7
[schedule]
coarse_iterations = 1e3
large = 9000000000
rate = 1
[deformation]
levels = [1, 3]
flip = false
factor = -1.5
[scene]
name = "a \"b\""
background = [0, 0.5, 1]
start = "points"
)",
                    "my.toml", presets);
  EXPECT_EQ(options.coarse_iterations, 1000);
  EXPECT_EQ(options.large, 9000000000);
  EXPECT_EQ(options.seed, 7u);
  EXPECT_EQ(options.rate, 1.0f);
  EXPECT_EQ(options.factor, -1.5);
  EXPECT_FALSE(options.flip);
  EXPECT_EQ(options.name, "a \"b\"");
  EXPECT_EQ(options.levels, (std::vector<int>{1, 3}));
  EXPECT_EQ(options.background, (std::vector<float>{0, 0.5f, 1}));
  EXPECT_EQ(options.start, Start::points);
}

TEST_F(ConfigTest, SetTakesBareTextsAndLists) {
  schema.set("deformation.levels", "1,2", "--set");
  schema.set("scene.background", "[0, 0, 0]", "--set");
  schema.set("scene.start", "points", "--set");
  schema.set("scene.name", "12", "--set");
  schema.set("deformation.flip", "false", "--set");
  schema.set("deformation.levels", "", "--set");
  EXPECT_TRUE(options.levels.empty());
  EXPECT_EQ(options.background, (std::vector<float>{0, 0, 0}));
  EXPECT_EQ(options.start, Start::points);
  EXPECT_EQ(options.name, "12");
  EXPECT_FALSE(options.flip);
}

TEST_F(ConfigTest, PresetsInherit) {
  schema.apply_preset("fast", presets);
  EXPECT_EQ(options.coarse_iterations, 3000);
  EXPECT_EQ(options.rate, 2.0f);
  schema.apply_toml("inherits = \"paper\"\n[schedule]\nlarge = 1", "my.toml", presets);
  EXPECT_EQ(options.rate, 1.0f);
  EXPECT_EQ(options.large, 1);
}

TEST_F(ConfigTest, PresetErrorsNameWhatThereIs) {
  const std::string unknown = message([&] { schema.apply_preset("papr", presets); });
  EXPECT_EQ(unknown,
            "--preset: there is no preset 'papr'; did you mean 'paper'? (presets: fast, loop, paper, pool)");
  EXPECT_NE(message([&] { schema.apply_preset("loop", presets); }).find("inherits itself"),
            std::string::npos);
  EXPECT_NE(message_of_toml("inherits = 3").find("name of a preset"), std::string::npos);
}

TEST_F(ConfigTest, UnknownKeysAreNamedWithPlaceAndSuggestion) {
  EXPECT_EQ(message_of_toml("[schedule]\nrate = 3\ncoarse_iteration = 5"),
            "my.toml line 3: there is no setting 'schedule.coarse_iteration'; did you mean "
            "'schedule.coarse_iterations'? (`eg4d options` lists all settings)");
  EXPECT_EQ(options.rate, 1.6e-4f) << "an error changes nothing";
  EXPECT_NE(message_of_set("levels", "[1]").find("did you mean 'deformation.levels'?"), std::string::npos);
  EXPECT_EQ(message_of_set("utterly.different", "1").find("did you mean"), std::string::npos);
}

TEST_F(ConfigTest, ValuesOutsideTheRangeAreNamed) {
  EXPECT_EQ(
      message_of_toml("schedule.coarse_iterations = -1"),
      "my.toml line 1: schedule.coarse_iterations = -1 is not allowed; it must be an integer, 0 to 1000000");
  EXPECT_EQ(message_of_set("scene.start", "nowhere"),
            "--set: scene.start = \"nowhere\" is not allowed; it must be one of random, points");
  for (const char* bad :
       {"1.5", "nan", "inf", "\"3\"", "true", "[1]", "1e10", "99999999999999999999", "", "x\ny = 3"}) {
    EXPECT_NE(message_of_set("schedule.coarse_iterations", bad).find("is not allowed"), std::string::npos)
        << bad;
  }
  for (const char* bad : {"nan", "inf", "1e300", "-1", "many"}) {
    EXPECT_NE(message_of_set("schedule.rate", bad).find("is not allowed"), std::string::npos) << bad;
  }
  for (const char* bad : {"0", "1,two", "1,2,65", "[[1]]", "1;2", "[1"}) {
    EXPECT_NE(message_of_set("deformation.levels", bad).find("each 1 to 64"), std::string::npos) << bad;
  }
  EXPECT_NE(message_of_set("seed", "-1").find("0 or more"), std::string::npos);
  EXPECT_NE(message_of_set("deformation.flip", "yes").find("true or false"), std::string::npos);
}

TEST_F(ConfigTest, BrokenTomlIsAUsageErrorWithItsLine) {
  EXPECT_EQ(message_of_toml("\n\n[schedule\n").find("my.toml line 3: not valid TOML"), 0u);
  EXPECT_NE(message_of_toml("scene.name = 1979-05-27").find("no dates"), std::string::npos);
  EXPECT_NE(message([&] { schema.apply_toml_file("/no/such.toml", presets); }).find("/no/such.toml"),
            std::string::npos);
  EXPECT_NE(message([&] { schema.apply_toml_file("/", presets); }).find("cannot read"), std::string::npos);
}

TEST_F(ConfigTest, TheDumpReadsBackToTheSameValues) {
  options.rate = 0.1f;
  options.factor = 1.0 / 3;
  options.name = "quote \" backslash \\ newline \n é";
  options.levels = {};
  const std::string text = schema.to_toml();
  Options other;
  ConfigSchema other_schema;
  other.bind(other_schema);
  other_schema.apply_toml(text, "dump", presets);
  EXPECT_EQ(other.rate, options.rate);
  EXPECT_EQ(other.factor, options.factor);
  EXPECT_EQ(other.name, options.name);
  EXPECT_EQ(other.levels, options.levels);
  EXPECT_EQ(other_schema.to_toml(), text);
}

TEST_F(ConfigTest, JsonAndMarkdownHoldEverySetting) {
  EXPECT_NE(schema.to_json().find("\"coarse_iterations\": 6000"), std::string::npos);
  EXPECT_NE(schema.to_markdown().find("| `scene.start` | `\"random\"` | one of random, points | start |"),
            std::string::npos);
}

TEST_F(ConfigTest, MistakesInTheDeclarationsAreFoundAtOnce) {
  int another = 3;
  EXPECT_THROW(schema.add("seed", another, {}, "twice"), std::logic_error);
  EXPECT_THROW(schema.add("another", another, {.min = 4}, "outside its own range"), std::logic_error);
}

TEST(Config, ATomlTextOfAnySettingsAsJson) {
  EXPECT_EQ(
      nlohmann::json::parse(settings_as_json("seed = 1\n[a]\nlist = [1, 2]\n[a.b]\nname = \"x\"\n", "here")),
      nlohmann::json::parse(R"({"seed": 1, "a": {"list": [1, 2], "b": {"name": "x"}}})"));
  EXPECT_ERROR(settings_as_json("= 3", "here"), "here line 1");
}

TEST(Config, SettingsThatAreNotUtf8BecomeJson) {
  std::string name = "non\xff";
  ConfigSchema schema;
  schema.add("name", name, "");
  EXPECT_EQ(nlohmann::json::parse(schema.to_json())["name"], "non\xef\xbf\xbd");
}

}  // namespace
}  // namespace eg4d
