#include "io/json_file.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "support/expect_error.h"
#include "support/temporary_folder.h"

namespace eg4d {
namespace {

std::string nested(int depth) {
  const auto levels = static_cast<size_t>(depth);
  return std::string(levels, '[') + std::string(levels, ']');
}

TEST(JsonFile, ReadsWhatIsThere) {
  const test::TemporaryFolder folder;
  test::write_text(folder / "a.json", R"({"b": [1, 2], "a": "text"})");
  EXPECT_EQ(read_json(folder / "a.json")["b"][1], 2);
  EXPECT_EQ(read_json<nlohmann::ordered_json>(folder / "a.json").begin().key(), "b");
  EXPECT_EQ(read_json_if_there(folder / "a.json")["a"], "text");
  EXPECT_TRUE(read_json_if_there(folder / "none.json").is_null());
  EXPECT_TRUE(read_json_if_there(folder / "a.json/none.json").is_null());
}

TEST(JsonFile, SaysWhichFileIsDamaged) {
  const test::TemporaryFolder folder;
  for (const char* text : {"", "{", "xx", "{\"a\": }", "[1] 2"}) {
    test::write_text(folder / "a.json", text);
    EXPECT_ERROR(read_json(folder / "a.json"), "a.json' is not valid JSON");
    EXPECT_ERROR(read_json_if_there(folder / "a.json"), "a.json' is not valid JSON");
  }
  EXPECT_ERROR(read_json(folder / "none.json"), "none.json");
  EXPECT_ERROR(read_json(folder.path()), "is a directory");
  test::write_text(folder / "large.json", "");
  std::filesystem::resize_file(folder / "large.json", kMaxJsonBytes + 1);
  EXPECT_ERROR(read_json(folder / "large.json"), "larger than 256 MiB");
}

TEST(JsonFile, RefusesDeepNesting) {
  EXPECT_EQ(parse_json(nested(kMaxJsonDepth), "it").dump(), nested(kMaxJsonDepth));
  EXPECT_ERROR(parse_json(nested(kMaxJsonDepth + 1), "it"), "it nests lists and objects more than 64 deep");
  EXPECT_ERROR(parse_json(nested(1000000), "it"), "more than 64 deep");
  // Brackets in texts do not count, nor does an escaped quote end one.
  const std::string brackets = "[\"\\\"" + std::string(100, '{') + "\", \"\\\\\", 1]";
  EXPECT_EQ(parse_json(brackets, "it").size(), 3u);
}

}  // namespace
}  // namespace eg4d
