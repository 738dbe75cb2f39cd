#include "io/safetensors.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <map>
#include <span>

#include "support/expect_error.h"
#include "support/full_disk.h"
#include "support/temporary_folder.h"

namespace eg4d {
namespace {

using test::TemporaryFolder;

std::string file_of(const std::string& header, size_t data_bytes) {
  const uint64_t length = header.size();
  std::string file(reinterpret_cast<const char*>(&length), 8);
  return file + header + std::string(data_bytes, '\1');
}

std::string error_for(const std::string& header, size_t data_bytes = 24) {
  const std::string file = file_of(header, data_bytes);
  return test::error_of([&] { SafetensorsFile(std::as_bytes(std::span(file)), "a.safetensors"); });
}

constexpr char kStart[] = "'a.safetensors' is not a valid safetensors file: ";

TEST(Safetensors, RoundTrip) {
  TemporaryFolder folder;
  const std::vector<float> a = {1, 2, 3, 4, 5, 6};
  const std::vector<int64_t> b = {-1};
  const std::vector<uint16_t> halves = {0x3c00, 0xc000}, brain = {0x3f80, 0xc000};
  const std::vector<double> doubles = {0.5};
  write_safetensors(folder / "a.safetensors",
                    {{"a", DType::f32, {2, 3}, a.data()},
                     {"b", DType::i64, {}, b.data()},
                     {"empty", DType::f32, {0, 7}, nullptr},
                     {"half", DType::f16, {2}, halves.data()},
                     {"brain", DType::bf16, {2}, brain.data()},
                     {"double", DType::f64, {1}, doubles.data()}},
                    {{"format", "1"}, {"name", "caf\xe9"}});
  const SafetensorsFile file(folder / "a.safetensors");
  EXPECT_EQ(file.entries().size(), 6u);
  EXPECT_EQ(file.at("a").shape, (Shape{2, 3}));
  EXPECT_EQ(file.floats("a"), a);
  EXPECT_EQ(file.floats("half"), (std::vector<float>{1, -2}));
  EXPECT_EQ(file.floats("brain"), (std::vector<float>{1, -2}));
  EXPECT_EQ(file.floats("double"), std::vector<float>{0.5f});
  EXPECT_TRUE(file.floats("empty").empty());
  EXPECT_EQ(file.at("b").shape, Shape{});
  EXPECT_EQ(file.metadata().at("format"), "1");
  EXPECT_ERROR(file.floats("b"), "tensor 'b' holds i64, not floating point");
  EXPECT_ERROR(file.at("c"), "has no tensor 'c'");
}

TEST(Safetensors, WritingChecksAndIsAtomic) {
  TemporaryFolder folder;
  const std::vector<float> a(1000);
  EXPECT_ERROR(
      write_safetensors(folder / "a", {{"a", DType::f32, {1}, a.data()}, {"a", DType::f32, {1}, a.data()}}),
      "the name 'a' occurs twice");
  {
    const test::FullDisk disk(500);
    EXPECT_ERROR(write_safetensors(folder / "a", {{"a", DType::f32, {1000}, a.data()}}), "cannot write");
  }
  EXPECT_EQ(folder.file_count(), 0u);
  EXPECT_ERROR(write_safetensors("/dev/full", {{"a", DType::f32, {1000}, a.data()}}),
               "No space left on device");
}

TEST(Safetensors, BadFilesAreNamed) {
  TemporaryFolder folder;
  EXPECT_ERROR(SafetensorsFile(folder / "missing"), "missing': No such file or directory");
  EXPECT_ERROR(SafetensorsFile(folder.path()), "it is a directory");
  test::write_text(folder / "empty", "");
  EXPECT_ERROR(SafetensorsFile(folder / "empty"),
               "empty' is not a valid safetensors file: it is shorter than 8 bytes");
}

TEST(Safetensors, OtherFilesAreNoSafetensors) {
  TemporaryFolder folder;
  for (const char* text : {"# Title\n\nSome text.", "\x89PNG\r\n\x1a\n and so on", "PK\x03\x04 and so on"}) {
    test::write_text(folder / "README.md", text);
    EXPECT_ERROR(SafetensorsFile(folder / "README.md"), "README.md' is no safetensors file");
  }
}

TEST(Safetensors, HeaderLengthLies) {
  std::string file = file_of("{}", 0);
  for (const uint64_t length : {uint64_t{3}, uint64_t{1} << 40, ~uint64_t{0}, ~uint64_t{0} - 7}) {
    std::memcpy(file.data(), &length, 8);
    EXPECT_ERROR(SafetensorsFile(std::as_bytes(std::span(file)), "a.safetensors"), "its header claims");
  }
}

TEST(Safetensors, OverlapsAndSizesAreChecked) {
  EXPECT_EQ(
      error_for(
          R"({"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"b":{"dtype":"F32","shape":[3],"data_offsets":[12,24]}})"),
      std::string(kStart) + "tensors 'a' and 'b' overlap");
  EXPECT_EQ(error_for(R"({"a":{"dtype":"F32","shape":[8],"data_offsets":[0,32]}})"),
            std::string(kStart) + "tensor 'a' lies outside the file (is it truncated?)");
  EXPECT_EQ(error_for(R"({"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,12]}})"),
            std::string(kStart) + "tensor 'a' has 12 bytes, which do not fit its shape [2,2] of F32");
  EXPECT_EQ(error_for(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[8,4]}})"),
            std::string(kStart) + "tensor 'a' lies outside the file (is it truncated?)");
  for (const char* shape :
       {"4611686018427387905", "16777216,16777216,16777216,16777216", "18446744073709551615"})
    EXPECT_EQ(
        error_for(R"({"a":{"dtype":"F32","shape":[)" + std::string(shape) + R"(],"data_offsets":[0,4]}})"),
        std::string(kStart) + "tensor 'a' has a bad shape");
}

TEST(Safetensors, OnlyTheFormatItselfIsAccepted) {
  EXPECT_EQ(error_for(R"({"a":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]}})"),
            std::string(kStart) + "tensor 'a' has the unknown dtype 'F8_E4M3'");
  EXPECT_EQ(error_for(R"({"a":{"dtype":7,"shape":[4],"data_offsets":[0,4]}})"),
            std::string(kStart) + "tensor 'a' has a bad dtype");
  EXPECT_EQ(error_for(R"({"a":{"dtype":"U8","shape":[-4],"data_offsets":[0,4]}})"),
            std::string(kStart) + "tensor 'a' has a bad shape");
  EXPECT_EQ(error_for(R"({"a":{"dtype":"U8","shape":[4.0],"data_offsets":[0,4]}})"),
            std::string(kStart) + "tensor 'a' has a bad shape");
  EXPECT_EQ(error_for(R"({"a":{"dtype":"U8","shape":[[4]],"data_offsets":[0,4]}})"),
            std::string(kStart) + "tensor 'a' has a bad shape");
  EXPECT_EQ(error_for(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4,4]}})"),
            std::string(kStart) + "tensor 'a' has a bad data_offsets");
  EXPECT_EQ(error_for(R"({"a":{"dtype":"U8","shape":[4]}})"),
            std::string(kStart) + "tensor 'a' lacks dtype, shape or data_offsets");
  EXPECT_EQ(error_for(R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{}})"),
            std::string(kStart) + "tensor 'a' is listed twice");
  EXPECT_EQ(error_for(R"({"a":5})"), std::string(kStart) + "tensor 'a' is not described by an object");
  EXPECT_EQ(error_for(R"({"__metadata__":{"a":5}})"),
            std::string(kStart) + "__metadata__ holds something other than text");
  for (const char* text : {"[]", "5", "null", "\"a\""})
    EXPECT_EQ(error_for(text), std::string(kStart) + "its header is not a JSON object");
  for (const char* text : {"", "{", "{} x", "{\"a\":", "{\"\xff\":{}}"})
    EXPECT_TRUE(error_for(text).starts_with(std::string(kStart) + "its header is no valid JSON at byte "))
        << text;
}

TEST(Safetensors, DeepNestingTakesNoMemory) {
  EXPECT_EQ(error_for("{\"a\":" + std::string(10'000'000, '[')),
            std::string(kStart) + "tensor 'a' is not described by an object");
}

TEST(Safetensors, EveryTruncationIsAnError) {
  TemporaryFolder folder;
  const std::vector<float> a = {1, 2, 3};
  write_safetensors(folder / "a", {{"a", DType::f32, {3}, a.data()}}, {{"k", "v"}});
  const std::string file = test::read_text(folder / "a");
  for (size_t size = 0; size < file.size(); ++size)
    EXPECT_ERROR(SafetensorsFile(std::as_bytes(std::span(file)).first(size), "cut"),
                 "'cut' is not a valid safetensors file: ");
}

// A file larger than memory, of holes only: opening it touches the header and nothing else.
TEST(Safetensors, SparseFilesLargerThanMemory) {
  TemporaryFolder folder;
  const uint64_t elements = uint64_t{1} << 36, bytes = elements * 4;
  const std::string header = "{\"big\":{\"dtype\":\"F32\",\"shape\":[" + std::to_string(elements) +
                             "],\"data_offsets\":[0," + std::to_string(bytes) +
                             "]},\"last\":{\"dtype\":\"F32\",\"shape\":[1]," + "\"data_offsets\":[" +
                             std::to_string(bytes) + "," + std::to_string(bytes + 4) + "]}}";
  test::write_text(folder / "a", file_of(header, 0));
  if (truncate((folder / "a").c_str(), static_cast<off_t>(8 + header.size() + bytes + 4)) != 0)
    GTEST_SKIP() << "no sparse files here";
  const SafetensorsFile file(folder / "a");
  EXPECT_EQ(file.at("big").shape, Shape{static_cast<int64_t>(elements)});
  EXPECT_EQ(file.floats("last"), std::vector<float>{0});
}

TEST(Safetensors, AChecksumNoticesEveryChangedByte) {
  const TemporaryFolder folder;
  const std::vector<float> a = {1, 2, 3, 4, 5};
  const std::map<std::string, std::string> metadata = {{"text", R"("crc32c":"00000000")"}};
  write_safetensors(folder / "a", {{"a", DType::f32, {5}, a.data()}}, metadata, Checksum::yes);
  const std::string whole = test::read_text(folder / "a");
  EXPECT_TRUE(SafetensorsFile(folder / "a").is_intact());
  int unnoticed = 0;
  for (size_t i = 0; i < whole.size(); ++i) {
    std::string changed = whole;
    changed[i] = static_cast<char>(changed[i] ^ 0x10);
    try {
      if (SafetensorsFile(std::as_bytes(std::span<const char>(changed)), "changed").is_intact()) ++unnoticed;
    } catch (const Error&) {
    }
  }
  EXPECT_LE(unnoticed, 10) << "but for those that are no checksum any more: the entry's name and punctuation";
  const std::string longer = whole + "x";
  EXPECT_FALSE(SafetensorsFile(std::as_bytes(std::span<const char>(longer)), "longer").is_intact());
  write_safetensors(folder / "b", {{"a", DType::f32, {5}, a.data()}}, metadata);
  EXPECT_TRUE(SafetensorsFile(folder / "b").is_intact());
}

}  // namespace
}  // namespace eg4d
