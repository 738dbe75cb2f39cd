#include "io/ply.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "support/expect_error.h"
#include "support/full_disk.h"
#include "support/temporary_folder.h"

namespace eg4d {
namespace {

using test::TemporaryFolder;

Bytes bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

GaussianCloud numbered_cloud(int64_t count) {
  GaussianCloud cloud(count);
  float next = 0.25f;
  for (auto* array : {&cloud.positions, &cloud.sh_dc, &cloud.sh_rest, &cloud.opacity_logits,
                      &cloud.log_scales, &cloud.quaternions})
    for (float& value : *array) value = next += 0.5f;
  return cloud;
}

void expect_equal(const GaussianCloud& a, const GaussianCloud& b) {
  EXPECT_EQ(a.positions, b.positions);
  EXPECT_EQ(a.sh_dc, b.sh_dc);
  EXPECT_EQ(a.sh_rest, b.sh_rest);
  EXPECT_EQ(a.opacity_logits, b.opacity_logits);
  EXPECT_EQ(a.log_scales, b.log_scales);
  EXPECT_EQ(a.quaternions, b.quaternions);
}

const char* const kPlainProperties[] = {"x",      "y",       "z",       "f_dc_0",  "f_dc_1",
                                        "f_dc_2", "opacity", "scale_0", "scale_1", "scale_2",
                                        "rot_0",  "rot_1",   "rot_2",   "rot_3"};

// An ASCII Gaussian of degree 0 in the usual order; values 0, 1, 2, …
std::string ascii_gaussian(const std::string& without = "", const std::string& x = "0") {
  std::string header = "ply\nformat ascii 1.0\ncomment made by hand\nelement vertex 1\n", row;
  int value = 0;
  for (const char* name : kPlainProperties) {
    if (name != without) {
      header += std::string("property float ") + name + "\n";
      row += value == 0 ? x : " " + std::to_string(value);
    }
    ++value;
  }
  return header + "end_header\n" + row + "\n";
}

TEST(GaussianPly, RoundTrip) {
  TemporaryFolder folder;
  for (int64_t count : {0, 1, 17}) {
    const GaussianCloud cloud = numbered_cloud(count);
    write_gaussian_ply(folder / "a.ply", cloud);
    const GaussianCloud read = read_gaussian_ply(folder / "a.ply");
    EXPECT_EQ(read.count(), count);
    expect_equal(read, cloud);
  }
}

TEST(GaussianPly, TheLayoutIsThatOf3dgs) {
  TemporaryFolder folder;
  const GaussianCloud cloud = numbered_cloud(2);
  write_gaussian_ply(folder / "a.ply", cloud);
  const std::string file = test::read_text(folder / "a.ply");
  const std::string start = "ply\nformat binary_little_endian 1.0\nelement vertex 2\nproperty float x\n";
  EXPECT_EQ(file.substr(0, start.size()), start);
  const size_t body = file.find("end_header\n") + 11;
  ASSERT_EQ(file.size() - body, 2 * 62 * sizeof(float));
  float second[62];
  std::memcpy(second, file.data() + body + sizeof second, sizeof second);
  EXPECT_EQ(second[0], cloud.positions[3]);
  EXPECT_EQ(second[3], 0);  // normal
  EXPECT_EQ(second[6], cloud.sh_dc[3]);
  // f_rest_[channel·15 + coefficient], ours [coefficient][channel]
  EXPECT_EQ(second[9 + 15 * 2 + 4], cloud.sh_rest[45 + 4 * 3 + 2]);
  EXPECT_EQ(second[54], cloud.opacity_logits[1]);
  EXPECT_EQ(second[55], cloud.log_scales[3]);
  EXPECT_EQ(second[61], cloud.quaternions[7]);
}

TEST(GaussianPly, AsciiIsRead) {
  const std::string text = ascii_gaussian("", "-1.5e-3");
  const GaussianCloud cloud = decode_gaussian_ply(bytes_of(text), "a.ply");
  ASSERT_EQ(cloud.count(), 1);
  EXPECT_EQ(cloud.positions, (std::vector<float>{-1.5e-3f, 1, 2}));
  EXPECT_EQ(cloud.sh_dc, (std::vector<float>{3, 4, 5}));
  EXPECT_EQ(cloud.sh_rest, std::vector<float>(45));
  EXPECT_EQ(cloud.opacity_logits, std::vector<float>{6});
  EXPECT_EQ(cloud.log_scales, (std::vector<float>{7, 8, 9}));
  EXPECT_EQ(cloud.quaternions, (std::vector<float>{10, 11, 12, 13}));
}

TEST(GaussianPly, AnyOrderAndTypesAndForeignElements) {
  std::string text =
      "ply\r\nformat binary_little_endian 1.0\r\nelement camera 1\r\nproperty list uchar short "
      "ids\r\nproperty double f\r\n"
      "element vertex 1\r\n";
  for (size_t i = std::size(kPlainProperties); i-- > 0;)
    text += std::string("property ") + (i % 2 ? "double " : "uchar ") + kPlainProperties[i] + "\r\n";
  text +=
      "property list uchar float skipped\r\nelement face 9\r\nproperty list uchar int "
      "vertex_indices\r\nend_header\r\n";
  text += std::string("\2\1\0\2\0", 5) + std::string(8, '\0');
  for (int i = static_cast<int>(std::size(kPlainProperties)); i-- > 0;) {
    const double value = i;
    if (i % 2)
      text.append(reinterpret_cast<const char*>(&value), 8);
    else
      text.push_back(static_cast<char>(i));
  }
  text += std::string("\1\0\0\0\0", 5);
  const GaussianCloud cloud = decode_gaussian_ply(bytes_of(text), "a.ply");
  EXPECT_EQ(cloud.positions, (std::vector<float>{0, 1, 2}));
  EXPECT_EQ(cloud.quaternions, (std::vector<float>{10, 11, 12, 13}));
  EXPECT_ERROR(decode_gaussian_ply(bytes_of(text).first(text.size() - 3), "a.ply"),
               "it ends or breaks off at vertex 0 of 1");
}

TEST(GaussianPly, LowerDegreesFillUpWithZeros) {
  std::string text = ascii_gaussian();
  std::string names, values;
  for (int i = 0; i < 9; ++i) {
    names += "property float f_rest_" + std::to_string(i) + "\n";
    values += " " + std::to_string(100 + i);
  }
  text.insert(text.find("end_header"), names);
  text.insert(text.size() - 1, values);
  const GaussianCloud cloud = decode_gaussian_ply(bytes_of(text), "a.ply");
  EXPECT_EQ(std::vector<float>(cloud.sh_rest.begin(), cloud.sh_rest.begin() + 12),
            (std::vector<float>{100, 103, 106, 101, 104, 107, 102, 105, 108, 0, 0, 0}));
  text.insert(text.find("end_header"), "property float f_rest_9\n");
  EXPECT_ERROR(decode_gaussian_ply(bytes_of(text), "a.ply"),
               "10 properties f_rest_* fit no spherical harmonics degree");
}

TEST(GaussianPly, MissingPropertiesAreNamed) {
  for (const char* name : kPlainProperties) {
    const std::string text = ascii_gaussian(name);
    EXPECT_ERROR(decode_gaussian_ply(bytes_of(text), "a.ply"),
                 std::string("cannot read 'a.ply': its vertices have no property '") + name + "'");
  }
}

TEST(GaussianPly, NotFiniteValuesAreNamed) {
  for (const char* value : {"nan", "-nan", "inf", "1e39", "1e999"}) {
    const std::string text = ascii_gaussian("", value);
    EXPECT_ERROR(decode_gaussian_ply(bytes_of(text), "a.ply"),
                 "vertex 0 has a 'x' that is not a finite number");
  }
  TemporaryFolder folder;
  GaussianCloud cloud = numbered_cloud(5);
  cloud.log_scales[3 * 3 + 1] = NAN;
  write_gaussian_ply(folder / "a.ply", cloud);
  EXPECT_ERROR(read_gaussian_ply(folder / "a.ply"),
               "a.ply': vertex 3 has a 'scale_1' that is not a finite number");
}

TEST(GaussianPly, EveryTruncationIsAnError) {
  TemporaryFolder folder;
  write_gaussian_ply(folder / "a.ply", numbered_cloud(2));
  const std::string binary = test::read_text(folder / "a.ply");
  for (size_t size = 0; size < binary.size(); size += 13)
    EXPECT_ERROR(decode_gaussian_ply(bytes_of(binary).first(size), "cut.ply"), "cannot read 'cut.ply': ");
  const std::string text = ascii_gaussian();
  for (size_t size = 0; size + 3 < text.size(); ++size)
    EXPECT_ERROR(decode_gaussian_ply(bytes_of(text).first(size), "cut.ply"), "cannot read 'cut.ply': ");
}

TEST(GaussianPly, LyingHeadersTakeNoMemory) {
  const std::string binary =
      "ply\nformat binary_little_endian 1.0\nelement vertex 999999999999\nproperty float x\nend_header\n";
  EXPECT_ERROR(decode_gaussian_ply(bytes_of(binary), "a.ply"), "promises 999999999999 rows of 'vertex'");
  std::string text = ascii_gaussian();
  text.replace(text.find("vertex 1"), 8, "vertex 9223372036854775807");
  EXPECT_ERROR(decode_gaussian_ply(bytes_of(text), "a.ply"), "it is truncated");
  text = ascii_gaussian();
  text.replace(text.find("vertex 1"), 8, "vertex -1");
  EXPECT_ERROR(decode_gaussian_ply(bytes_of(text), "a.ply"), "gives element 'vertex' a bad count");
  const std::string empty_rows =
      "ply\nformat ascii 1.0\nelement nothing 9223372036854775807\nelement vertex 5\nend_header\n";
  EXPECT_ERROR(decode_gaussian_ply(bytes_of(empty_rows), "a.ply"), "its vertices have no properties");
}

TEST(GaussianPly, BadHeadersAreNamed) {
  auto error = [](const std::string& text) {
    return test::error_of([&] { decode_gaussian_ply(bytes_of(text), "a.ply"); });
  };
  EXPECT_EQ(error(""), "cannot read 'a.ply': it is not a PLY file");
  EXPECT_EQ(error("plyx\n"), "cannot read 'a.ply': it is not a PLY file");
  EXPECT_EQ(error("ply\nend_header\n"), "cannot read 'a.ply': its PLY header names no format");
  EXPECT_EQ(error("ply\nformat ascii 1.0\nend_header\n"), "cannot read 'a.ply': it has no element 'vertex'");
  EXPECT_TRUE(test::contains(error("ply\nformat binary_big_endian 1.0\n"), "'binary_big_endian'"));
  EXPECT_TRUE(test::contains(error("ply\nformat ascii 1.0\nproperty float x\n"), "before any element"));
  EXPECT_TRUE(test::contains(error("ply\nformat ascii 1.0\nelement vertex 1\nproperty quad x\n"),
                             "unknown type 'quad'"));
  EXPECT_TRUE(test::contains(
      error("ply\nformat ascii 1.0\nelement vertex 0\nproperty float x\nproperty int x\nend_header\n"),
      "lists property 'x' twice"));
}

TEST(GaussianPly, WritingChecksAndIsAtomic) {
  TemporaryFolder folder;
  GaussianCloud cloud = numbered_cloud(3);
  {
    const test::FullDisk disk(300);
    EXPECT_ERROR(write_gaussian_ply(folder / "a.ply", cloud), "cannot write");
  }
  EXPECT_ERROR(write_gaussian_ply("/dev/full", cloud), "No space left on device");
  cloud.sh_dc.pop_back();
  EXPECT_ERROR(write_gaussian_ply(folder / "a.ply", cloud),
               "the constant colours hold 8 numbers instead of 9");
  EXPECT_EQ(folder.file_count(), 0u);
  EXPECT_ERROR(read_gaussian_ply(folder.path()), "it is a directory");
}

TEST(PointPly, RoundTrip) {
  TemporaryFolder folder;
  const PointCloud cloud{{1, 2, 3, -4, 5.5f, 6}, {0, 1, 0.2f, 0.4f, 0.6f, 0.8f}};
  write_point_ply(folder / "a.ply", cloud);
  const PointCloud read = read_point_ply(folder / "a.ply");
  EXPECT_EQ(read.count(), 2);
  EXPECT_EQ(read.positions, cloud.positions);
  for (size_t i = 0; i < 6; ++i) EXPECT_NEAR(read.colors[i], cloud.colors[i], 1e-6);
}

TEST(PointPly, FloatColoursAndNone) {
  const std::string coloured =
      "ply\nformat ascii 1.0\nelement vertex 1\nproperty float blue\nproperty float green\nproperty float "
      "red\n"
      "property double x\nproperty double y\nproperty double z\nend_header\n0.25 0.5 1 7 8 9";
  const PointCloud cloud = decode_point_ply(bytes_of(coloured), "a.ply");
  EXPECT_EQ(cloud.positions, (std::vector<float>{7, 8, 9}));
  EXPECT_EQ(cloud.colors, (std::vector<float>{1, 0.5f, 0.25f}));
  const std::string plain =
      "ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\nproperty float "
      "z\nend_header\n1 2 3\n";
  EXPECT_EQ(decode_point_ply(bytes_of(plain), "a.ply").colors, (std::vector<float>{0.5f, 0.5f, 0.5f}));
}

}  // namespace
}  // namespace eg4d
