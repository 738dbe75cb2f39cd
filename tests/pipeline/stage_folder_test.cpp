#include "pipeline/stage_folder.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "io/folder.h"
#include "pipeline/recorded_path.h"
#include "support/expect_error.h"
#include "support/temporary_folder.h"

namespace eg4d {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

struct Settings {
  int steps = 4;
  float scale = 0.5f;
  std::vector<int> levels = {1, 2};
  std::string name = "a";
  void bind(ConfigSchema& s) {
    s.add("steps", steps, {0, 100}, "");
    s.add("shape.scale", scale, {0, 1}, "");
    s.add("shape.levels", levels, {0, 9}, "");
    s.add("name", name, "");
    s.add("checkpoint.seconds", seconds, {0, 1000}, "");
  }
  float seconds = 60;
};

StageFolder::Manifest manifest(const Settings& settings = {}, const std::string& input = "picture") {
  return {"stage", settings_of(settings), input, "weights"};
}

class StageFolders : public testing::Test {
 protected:
  // As a stage that made something.
  void begin(const StageFolder::Manifest& of, bool finish = false) {
    StageFolder stage(path_, of, false);
    test::write_text(path_ / "result", "made");
    if (finish) stage.finish();
  }
  json stored() const { return json::parse(test::read_text(path_ / "manifest.json")); }
  void store(const json& changed) { test::write_text(path_ / "manifest.json", changed.dump()); }

  const test::TemporaryFolder folder_;
  const fs::path path_ = folder_ / "stage";
};

TEST_F(StageFolders, NamesTheFirstSettingThatDiffers) {
  begin(manifest());
  Settings other;
  other.levels = {1, 2, 3};
  EXPECT_ERROR(StageFolder(path_, manifest(other), false), "(shape.levels is [1,2,3], it was [1,2])");
  EXPECT_ERROR(StageFolder(path_, manifest({}, "another"), false), R"(input is "another", it was "picture")");
  EXPECT_FALSE(StageFolder(path_, manifest(), false).finished());
}

TEST_F(StageFolders, WhenToSaveIsNoDifference) {
  begin(manifest());
  Settings other;
  other.seconds = 7;
  EXPECT_NO_THROW(StageFolder(path_, manifest(other), false));
}

TEST_F(StageFolders, ASettingThatIsNewMustHaveItsDefault) {
  begin(manifest());
  json older = stored();
  older["options"]["shape"].erase("scale");
  store(older);
  EXPECT_NO_THROW(StageFolder(path_, manifest(), false));
  Settings other;
  other.scale = 0.25f;
  EXPECT_ERROR(StageFolder(path_, manifest(other), false), "shape.scale is 0.25, it was 0.5");
}

TEST_F(StageFolders, ASettingThatIsGoneIsNamed) {
  begin(manifest());
  json older = stored();
  older["options"]["shape"]["colour"] = "red";
  store(older);
  EXPECT_ERROR(StageFolder(path_, manifest(), false),
               R"(shape.colour was "red", and this version has no such setting)");
}

TEST_F(StageFolders, ADamagedManifestIsAnError) {
  begin(manifest());
  for (const char* damage :
       {"", "xx\n", "[]", "{}", R"({"version": 1})", R"({"version": "one"})",
        R"({"stage": "stage", "version": 1, "options": "= 3", "input": "", "model": ""})"}) {
    test::write_text(path_ / "manifest.json", damage);
    EXPECT_ERROR(StageFolder(path_, manifest(), false), "start this stage anew with --overwrite");
  }
  EXPECT_NO_THROW(StageFolder(path_, manifest(), true));
  EXPECT_FALSE(fs::exists(path_)) << "nothing was made";
}

TEST_F(StageFolders, ALaterVersionsManifestIsLeftAlone) {
  begin(manifest());
  json later = stored();
  later["version"] = 2;
  store(later);
  EXPECT_ERROR(StageFolder(path_, manifest(), false), "written by a later version");
}

TEST_F(StageFolders, AFailedStageLeavesNothingAndBlocksNothing) {
  { const StageFolder failed(path_, manifest(), false); }
  EXPECT_FALSE(fs::exists(path_));
  // A process that was killed there leaves a manifest, beside which there is nothing to lose.
  begin(manifest());
  fs::remove(path_ / "result");
  Settings other;
  other.steps = 5;
  StageFolder taken_over(path_, manifest(other), false);
  EXPECT_EQ(stored()["options"]["steps"], 5);
}

TEST_F(StageFolders, OverwriteRemovesEverythingOrIsAnError) {
  begin(manifest(), true);
  {
    StageFolder anew(path_, manifest(), true);
    EXPECT_FALSE(anew.finished());
    EXPECT_FALSE(fs::exists(path_ / "result"));
    test::write_text(path_ / "result", "made again");
  }
}

TEST(EmptyFolder, WhatCannotBeRemovedIsAnError) {
  const test::TemporaryFolder folder;
  fs::create_directories(folder / "a/b");
  test::write_text(folder / "kept", "");
  test::write_text(folder / "file", "");
  empty_folder(folder.path(), folder / "kept");
  EXPECT_EQ(folder.file_count(), 1u);
  EXPECT_ERROR(empty_folder("/proc/self/fdinfo"), "cannot remove '/proc/self/fdinfo/");
}

TEST_F(StageFolders, TheFingerprintIsThatOfTheRun) {
  std::string first;
  {
    StageFolder stage(path_, manifest(), false);
    test::write_text(path_ / "result", "made");
    first = stage.fingerprint();
    stage.finish();
    EXPECT_EQ(stage.fingerprint(), first);
  }
  EXPECT_EQ(StageFolder(path_, manifest(), false).fingerprint(), first);
  EXPECT_TRUE(StageFolder(path_, manifest(), false).finished());
  Settings other;
  other.steps = 5;
  EXPECT_NE(StageFolder(path_, manifest(other), true).fingerprint(), first);
}

TEST_F(StageFolders, CheckingMakesNothing) {
  StageFolder::check(path_, manifest());
  EXPECT_FALSE(fs::exists(path_));
  begin(manifest());
  StageFolder::check(path_, manifest());
  Settings other;
  other.steps = 5;
  EXPECT_ERROR(StageFolder::check(path_, manifest(other)), "steps is 5, it was 4");
  EXPECT_ERROR(StageFolder::check(path_, manifest({}, "another")), "input is");
  EXPECT_NO_THROW(StageFolder::check(path_, manifest({}, ""))) << "not known yet";
  test::write_text(path_ / "manifest.json", "xx");
  EXPECT_ERROR(StageFolder::check(path_, manifest()), "is damaged");
}

TEST_F(StageFolders, OnlyWhatIsOfOtherSettingsCanBeOverwritten) {
  begin(manifest());
  { const StageFolder same(path_, manifest(), false, true); }
  EXPECT_TRUE(fs::exists(path_ / "result"));
  Settings other;
  other.steps = 5;
  { const StageFolder anew(path_, manifest(other), false, true); }
  EXPECT_FALSE(fs::exists(path_));
  begin(manifest());
  test::write_text(path_ / "manifest.json", "xx");
  { const StageFolder anew(path_, manifest(), false, true); }
  EXPECT_FALSE(fs::exists(path_));
}

TEST_F(StageFolders, OneProcessAtATime) {
  const StageFolder first(path_, manifest(), false);
  EXPECT_ERROR(StageFolder(path_, manifest(), true), "stage' is in use by another process (pid");
}

TEST_F(StageFolders, WhatKilledProcessesLeftIsRemoved) {
  const pid_t child = fork();
  if (child == 0) _exit(0);
  waitpid(child, nullptr, 0);
  fs::create_directories(path_ / "targets");
  const std::string dead = ".tmp" + std::to_string(child) + "-0",
                    alive = ".tmp" + std::to_string(getpid()) + "-0";
  for (const std::string& name : {"a" + dead, "targets/1.png" + dead, "b" + alive,
                                  "c.tmp" + std::to_string(child), std::string("d.tmp1-x")})
    test::write_text(path_ / name, "half");
  const StageFolder stage(path_, manifest(), false);
  EXPECT_FALSE(fs::exists(path_ / ("a" + dead)));
  EXPECT_FALSE(fs::exists(path_ / ("targets/1.png" + dead)));
  EXPECT_TRUE(fs::exists(path_ / ("b" + alive)));
  EXPECT_TRUE(fs::exists(path_ / ("c.tmp" + std::to_string(child))));
  EXPECT_TRUE(fs::exists(path_ / "d.tmp1-x"));
}

TEST_F(StageFolders, NamesNeedNotBeUtf8) {
  Settings odd;
  odd.name = "non\xff";
  StageFolder::Manifest of = manifest(odd, "in\xfe");
  of.model = "weights\xfd";
  begin(of);
  EXPECT_NO_THROW(StageFolder(path_, of, false));
}

TEST(RecordedPath, AnyBytesComeBack) {
  const fs::path plain = "/data/größe", odd = "/data/non\xff/ds";
  EXPECT_EQ(recorded(plain).text, plain.string());
  EXPECT_EQ(recorded(plain).bytes, "");
  EXPECT_EQ(path_of(recorded(plain)), plain);
  EXPECT_EQ(recorded(odd).text, "/data/non\xef\xbf\xbd/ds");
  EXPECT_EQ(path_of(recorded(odd)), odd);
  EXPECT_EQ(path_of({"shown", "no hexadecimal"}), "shown");
}

}  // namespace
}  // namespace eg4d
