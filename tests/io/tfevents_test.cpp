#include "io/tfevents.h"

#include <gtest/gtest.h>

#include "io/crc32c.h"
#include "io/tfevents_format.h"
#include "support/expect_error.h"
#include "support/full_disk.h"
#include "support/temporary_folder.h"

namespace eg4d {
namespace {

using test::TemporaryFolder;

// RFC 3720, appendix B.4.
TEST(Crc32c, KnownAnswers) {
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aau);
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62a8ab43u);
  EXPECT_EQ(crc32c("123456789"), 0xe3069283u);
  EXPECT_EQ(crc32c(""), 0u);
  // In pieces, at any alignment.
  std::string text;
  for (int i = 0; i < 100; ++i) text += static_cast<char>(i * i);
  for (size_t cut = 0; cut <= text.size(); ++cut)
    EXPECT_EQ(crc32c(std::string_view(text).substr(cut), crc32c(std::string_view(text).substr(0, cut))),
              crc32c(text));
}

// The first event that any TensorBoard file begins with, its time set to zero: length 24, then the fields.
TEST(EventWriter, FramingIsThatOfTfRecords) {
  std::string event;
  tfevents::put_double(event, 1, 0);
  tfevents::put_bytes(event, 3, "brain.Event:2");
  const std::string record = tfevents::framed(event);
  ASSERT_EQ(record.size(), 8u + 4 + 24 + 4);
  EXPECT_EQ(record.substr(0, 12), std::string("\x18\0\0\0\0\0\0\0\xa3\x7f\x4b\x22", 12));
  EXPECT_EQ(record.substr(12, 11), std::string("\x09\0\0\0\0\0\0\0\0\x1a\x0d", 11));
}

TEST(EventWriter, ScalarsAndPicturesAreReadBack) {
  TemporaryFolder folder;
  EventWriter writer(folder / "logs/train");
  writer.add_scalar("loss", 0.25, 1);
  writer.add_scalar("psnr/novel", 31.5, 100000);
  Picture picture(5, 3, 3);
  picture.data[7] = 200;
  writer.add_picture("view", picture, 7);
  writer.flush();
  const auto events = read_events(writer.path());
  ASSERT_EQ(events.size(), 4u);
  EXPECT_EQ(events[0].file_version, "brain.Event:2");
  EXPECT_GT(events[1].wall_time, 1.5e9);
  EXPECT_EQ(events[1].step, 1);
  EXPECT_EQ(events[1].scalars.at(0).tag, "loss");
  EXPECT_EQ(events[1].scalars.at(0).value, 0.25f);
  EXPECT_EQ(events[2].step, 100000);
  EXPECT_EQ(events[2].scalars.at(0).value, 31.5f);
  const Event::Image& image = events[3].images.at(0);
  EXPECT_EQ(image.tag, "view");
  EXPECT_EQ(image.width, 5);
  EXPECT_EQ(image.height, 3);
  EXPECT_EQ(decode_picture(std::as_bytes(std::span(image.png)), "view").data, picture.data);
}

std::vector<int64_t> steps_in(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> files(std::filesystem::directory_iterator(folder), {});
  std::sort(files.begin(), files.end());
  std::vector<int64_t> steps;
  for (const auto& file : files)
    for (const Event& event : read_events(file))
      if (event.file_version.empty()) steps.push_back(event.step);
  return steps;
}

TEST(EventWriter, AContinuedRunDrawsEachCurveOnce) {
  TemporaryFolder folder;
  for (const int64_t start : {0, 3, 5}) {
    EventWriter writer(folder.path(), start - 1);
    for (int64_t step = start; step < start + 5; ++step) writer.add_scalar("loss", 1, step);
  }
  EXPECT_EQ(steps_in(folder.path()), (std::vector<int64_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
  EXPECT_EQ(folder.file_count(), 3u);
  test::write_text(folder / "events.out.tfevents.1.other", "not ours");
  EventWriter writer(folder.path());
  writer.add_scalar("loss", 1, 0);
  writer.flush();
  EXPECT_EQ(folder.file_count(), 2u);
  EXPECT_EQ(test::read_text(folder / "events.out.tfevents.1.other"), "not ours");
}

TEST(EventWriter, ARecordCutOffByAKillIsDropped) {
  TemporaryFolder folder;
  std::filesystem::path path;
  {
    EventWriter writer(folder.path());
    path = writer.path();
    for (int64_t step = 0; step < 3; ++step) writer.add_scalar("loss", 1, step);
  }
  const std::string file = test::read_text(path);
  for (size_t cut = 1; cut < 30; ++cut) {
    test::write_text(path, file.substr(0, file.size() - cut));
    EXPECT_EQ(read_events(path).size(), 3u);
  }
  EventWriter writer(folder.path(), 10);
  EXPECT_EQ(steps_in(folder.path()), (std::vector<int64_t>{0, 1}));
  EXPECT_LT(std::filesystem::file_size(path), file.size() - 30);
}

TEST(EventWriter, DamageAndFullDisksAreErrors) {
  TemporaryFolder folder;
  EventWriter writer(folder.path());
  writer.add_scalar("loss", 1, 0);
  writer.flush();
  std::string file = test::read_text(writer.path());
  file[20] ^= 1;
  test::write_text(folder / "damaged", file);
  EXPECT_ERROR(read_events(folder / "damaged"), "damaged': record 0 is damaged");
  const auto ours = folder / "events.out.tfevents.0000000001.eg4d";
  test::write_text(ours, file);
  EventWriter(folder.path(), 10);
  EXPECT_FALSE(std::filesystem::exists(ours));
  test::write_text(folder / "file", "");
  EXPECT_ERROR(EventWriter(folder / "file"), "cannot make the folder");
  const test::FullDisk disk(std::filesystem::file_size(writer.path()));
  writer.add_scalar("loss", 1, 1);
  EXPECT_ERROR(writer.flush(), "cannot write");
}

}  // namespace
}  // namespace eg4d
