// What a person can get wrong with files: one clear sentence, exit code 1, nothing written.
#include <gtest/gtest.h>

#include "support/expect_error.h"
#include "support/places.h"
#include "support/run_program.h"
#include "support/temporary_folder.h"

namespace eg4d::test {
namespace {

void expect_failure(const std::vector<std::string>& arguments, const std::string& part) {
  const ProgramResult result = run_program(arguments);
  EXPECT_EQ(result.exit_code, 1) << result.errors;
  EXPECT_EQ(result.output, "");
  EXPECT_EQ(result.errors.find("error: "), 0u) << result.errors;
  EXPECT_TRUE(contains(result.errors, part)) << result.errors;
}

class BadInput : public testing::Test {
 protected:
  const std::string dataset_ = examples() / "robot-192";
  TemporaryFolder folder_;
  const std::string run_ = folder_ / "run";
};

TEST_F(BadInput, MissingInputs) {
  expect_failure({"reconstruct", folder_ / "none", "-o", run_},
                 "there is no '" + (folder_ / "none").string());
  expect_failure({"render", folder_ / "none", "-o", folder_ / "a.mp4"}, "there is no '");
  expect_failure({"export", folder_ / "none", "-o", folder_ / "a.ply"}, "there is no '");
  expect_failure({"evaluate", folder_ / "none"}, "there is no '");
  expect_failure({"info", folder_ / "none"}, "there is no '");
  EXPECT_FALSE(std::filesystem::exists(run_));
}

TEST_F(BadInput, FoldersWithoutWhatIsNeeded) {
  const std::string empty = folder_ / "empty";
  std::filesystem::create_directory(empty);
  expect_failure({"reconstruct", empty, "-o", run_}, "transforms_train.json");
  expect_failure({"render", empty, "-o", folder_ / "a.mp4"}, "eg4d reconstruct DATASET");
  expect_failure({"info", empty}, "neither a dataset");
  EXPECT_FALSE(std::filesystem::exists(run_));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "a.mp4"));
}

TEST_F(BadInput, AFileWhereAFolderShouldBeAndTheOtherWayRound) {
  const std::string file = folder_ / "file";
  write_text(file, "text");
  expect_failure({"reconstruct", file, "-o", run_}, "file");
  expect_failure({"info", file}, "nothing that eg4d knows");
  expect_failure({"render", file, "-o", folder_ / "a.mp4"}, "'" + file + "' is no model: give a run folder");
  const std::string video = folder_ / "a.mp4", ply = folder_ / "a.ply";
  std::filesystem::create_directory(video);
  std::filesystem::create_directory(ply);
  expect_failure({"render", ".", "-o", video}, "is a folder");
  expect_failure({"export", ".", "-o", ply}, "is a folder");
}

TEST_F(BadInput, PlacesThatCannotBeWritten) {
  const std::string file = folder_ / "file";
  write_text(file, "text");
  expect_failure({"render", ".", "-o", folder_ / "no/such/a.mp4"}, "make it first");
  expect_failure({"render", ".", "-o", file + "/pictures"}, "is a file");
  expect_failure({"export", ".", "-o", file}, "is a file");
  expect_failure({"evaluate", ".", "--json", folder_ / "no/such.json"}, "make it first");
}

TEST_F(BadInput, ArgumentsThatDoNotFitTogether) {
  const auto expect_usage = [](const std::vector<std::string>& arguments, const std::string& part) {
    const ProgramResult result = run_program(arguments);
    EXPECT_EQ(result.exit_code, 2) << result.errors;
    EXPECT_TRUE(contains(result.errors, part)) << result.errors;
  };
  expect_usage({"render", "."}, "Add -o");
  expect_usage({"export", "."}, "Add -o");
  expect_usage({"render", ".", "-o", "a.gif"}, "ends in .mp4");
  expect_usage({"render", ".", "-o", "-"}, "'-' is no file and no folder");
  expect_usage({"export", ".", "-o", "/dev/null"}, "'/dev/null' is no file and no folder");
  expect_usage({"reconstruct", ".", "-o", "-"}, "'-' is no file and no folder");
  expect_usage({"export", ".", "-o", "folder", "--format", "python", "--up", "y"},
               "--up is for files of Gaussians");
  expect_usage({"export", ".", "-o", "a.xyz"}, "ends in .ply");
  expect_usage({"render", ".", "-o", "a.mp4", "--truth"}, "--truth needs --split");
  expect_usage({"render", ".", "-o", "a.mp4", "--split", "test", "--frames", "3"},
               "--frames does not go with --split");
  expect_usage({"render", ".", "-o", "a.mp4", "--split", "test", "--truth", "--depth"}, "has no depth");
  expect_usage({"render", ".", "-o", "a.mp4", "--azimuth", "1,2,3"}, "one number or two");
  expect_usage({"export", ".", "-o", "folder", "--time", "0.5"}, "ends in .ply");
  expect_usage({"export", ".", "-o", "a.ply", "--frames", "5"}, "a sequence");
  expect_usage({"render", ".", "-o", "a.mp4", "--device", "toaster"}, "toaster");
  expect_usage({"render", ".", "-o", "a.mp4", "--device", "cpu", "--precision", "bf16"},
               "--precision bf16 is for GPUs");
  expect_usage({"render", ".", "-o", "a.mp4", "--precision", "f16"}, "one of auto, f32, tf32, bf16");
  expect_usage({"render", ".", "-o", "a.mp4", "--memory", "much"},
               "--memory takes a size such as 12G or 8192M, not 'much'");
  expect_usage({"render", ".", "-o", "a.mp4", "--memory", "12"}, "not '12'");
  expect_usage({"render", ".", "-o", "a.mp4", "--device", "cpu", "--memory", "8G"},
               "--memory caps a GPU's memory");
  expect_usage({"export", ".", "-o", "a.ply", "--faces", "500"}, "add --mesh depth");
  expect_usage({"export", ".", "-o", "a.spz", "--mesh", "depth"}, "'a.spz' is no file of a mesh");
  expect_usage({"export", ".", "-o", "a.obj", "--frames", "5"}, "a sequence");
  expect_usage({"export", ".", "-o", "a.obj", "--up=-y"}, "a mesh has y or z up");
  expect_usage({"export", ".", "-o", "a.glb", "--mesh", "depth", "--up", "z"}, "glTF has y up");
  expect_usage({"export", ".", "-o", "a.glb", "--mesh", "depth", "--time", "1", "--fps", "9"}, "of all time");
  expect_usage({"export", ".", "-o", "a.glb", "--mesh", "depth", "--topology", "per-frame"},
               "--topology per-frame makes a file of each time");
  expect_usage({"export", ".", "-o", "a.glb", "--mesh", "paper", "--faces", "900"}, "has its own faces");
  expect_usage({"export", ".", "-o", "a.obj", "--mesh", "density", "--views", "9"},
               "--views is of --mesh depth");
  expect_usage({"export", ".", "-o", "a.obj", "--sh-degree", "0"}, "for files of Gaussians");
  expect_usage({"export", ".", "-o", "folder", "--mesh", "depth", "--format", "spz"},
               "--format obj, glb or ply");
  expect_usage({"export", ".", "-o", "a.html", "--time", "0.5"}, "a page shows all of the object");
  expect_usage({"view", ".", "--port", "70000"}, "0 to 65535");
}

}  // namespace
}  // namespace eg4d::test
