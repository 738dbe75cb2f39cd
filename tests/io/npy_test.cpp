#include "io/npy.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "support/expect_error.h"
#include "support/npy.h"

namespace eg4d {
namespace {

NpyArray decode(const std::string& file) {
  return decode_npy(std::as_bytes(std::span(file)), "a.npy");
}

TEST(Npy, ReadsFloatsAndDoubles) {
  const NpyArray doubles = decode(test::npy_of({2, 3}, {1, 2, 3, 4, 5, 6.5}));
  EXPECT_EQ(doubles.shape, (Shape{2, 3}));
  EXPECT_EQ(doubles.values, (std::vector<double>{1, 2, 3, 4, 5, 6.5}));
  std::string floats = test::npy_of({1}, {0});
  floats.replace(floats.find("<f8"), 3, "<f4");
  floats.resize(floats.size() - 8);
  const float value = 0.25f;
  floats.append(reinterpret_cast<const char*>(&value), sizeof value);
  EXPECT_EQ(decode(floats).values, std::vector<double>{0.25});
  std::string second = test::npy_of({1}, {3});  // version 2 has a longer length
  second[6] = 2;
  second.insert(10, 2, '\0');
  EXPECT_EQ(decode(second).values, std::vector<double>{3});
}

TEST(Npy, SaysWhatIsWrong) {
  const std::string good = test::npy_of({2, 3}, {1, 2, 3, 4, 5, 6});
  const auto changed = [&](const std::string& from, const std::string& to) {
    std::string file = good;
    file.replace(file.find(from), from.size(), to);
    return file;
  };
  EXPECT_ERROR(decode(""), "no NumPy array");
  EXPECT_ERROR(decode("\x93NUMPY\x09\x00\x00\x00\x00\x00"), "no NumPy array");
  EXPECT_ERROR(decode(good.substr(0, 40)), "within its header");
  EXPECT_ERROR(decode(good.substr(0, good.size() - 1)), "before its last number");
  EXPECT_ERROR(decode(changed("<f8", "<i8")), "not f32 or f64");
  EXPECT_ERROR(decode(changed("<f8", ">f8")), "not f32 or f64");
  EXPECT_ERROR(decode(changed("False", "True ")), "fortran_order");
  EXPECT_ERROR(decode(changed("shape", "shope")), "no shape");
  EXPECT_ERROR(decode(changed("(2, 3)", "(999999999,99999999)")), "out of range");
  EXPECT_ERROR(decode(changed("(2, 3)", "(99999999999999999999999)")), "out of range");
  EXPECT_ERROR(decode(test::npy_of({1}, {std::nan("")})), "NaN");
  for (size_t length = 0; length < good.size(); ++length) {
    try {
      decode(good.substr(0, length));
      ADD_FAILURE() << length;
    } catch (const Error&) {
    }
  }
}

}  // namespace
}  // namespace eg4d
