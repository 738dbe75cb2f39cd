// Large PNGs, deflated in strips on all threads (the way of pigz): libpng takes seconds for ten million
// pixels. PNG: ISO/IEC 15948, chapters 9 (filters) and 10 (compression).

#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "core/error.h"
#include "core/threads.h"
#include "io/image_codecs.h"

namespace eg4d {
namespace {

constexpr size_t kStripBytes = size_t{1} << 20;  // of pixels; what a strip cannot refer to costs nothing then
constexpr int kFilters = 5;

void append_number(std::vector<uint8_t>& to, uint32_t number) {
  for (const int shift : {24, 16, 8, 0}) to.push_back(static_cast<uint8_t>(number >> shift));
}

void append_chunk(std::vector<uint8_t>& file, std::string_view type, const std::vector<uint8_t>& data) {
  append_number(file, static_cast<uint32_t>(data.size()));
  const size_t begin = file.size();
  file.insert(file.end(), type.begin(), type.end());
  file.insert(file.end(), data.begin(), data.end());
  append_number(file,
                static_cast<uint32_t>(crc32(0, file.data() + begin, static_cast<uInt>(file.size() - begin))));
}

uint8_t paeth(int left, int above, int corner) {
  const int estimate = left + above - corner;
  const int to_left = std::abs(estimate - left), to_above = std::abs(estimate - above),
            to_corner = std::abs(estimate - corner);
  if (to_left <= to_above && to_left <= to_corner) return static_cast<uint8_t>(left);
  return static_cast<uint8_t>(to_above <= to_corner ? above : corner);
}

uint8_t predicted(int filter, uint8_t left, uint8_t above, uint8_t corner) {
  switch (filter) {
    case 1:
      return left;
    case 2:
      return above;
    case 3:
      return static_cast<uint8_t>((left + above) / 2);
    case 4:
      return paeth(left, above, corner);
    default:
      return 0;
  }
}

// Appends the row by the filter whose differences are the smallest (chapter 12.8's rule). `above` may be all
// zero.
void append_filtered(std::vector<uint8_t>& to, const uint8_t* row, const uint8_t* above, size_t bytes,
                     size_t pixel) {
  std::vector<uint8_t> best, tried(bytes + 1);
  uint64_t smallest = UINT64_MAX;
  for (int filter = 0; filter < kFilters; ++filter) {
    tried[0] = static_cast<uint8_t>(filter);
    uint64_t sum = 0;
    for (size_t i = 0; i < bytes; ++i) {
      const bool first = i < pixel;
      const auto difference = static_cast<uint8_t>(
          row[i] - predicted(filter, first ? 0 : row[i - pixel], above[i], first ? 0 : above[i - pixel]));
      tried[i + 1] = difference;
      sum += static_cast<uint64_t>(std::abs(static_cast<int8_t>(difference)));
    }
    if (sum >= smallest) continue;
    smallest = sum;
    best = tried;
  }
  to.insert(to.end(), best.begin(), best.end());
}

struct Strip {
  std::vector<uint8_t> deflated;  // whole bytes of one stream of all strips
  uLong checksum = 0;             // Adler-32 of the filtered bytes
  size_t bytes = 0;               // so many
};

Strip deflated(const std::vector<uint8_t>& filtered, bool last) {
  z_stream stream = {};
  if (deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -MAX_WBITS, 8, Z_FILTERED) != Z_OK)
    throw Error("cannot encode a PNG: out of memory");
  Strip strip;
  strip.bytes = filtered.size();
  strip.checksum = adler32(adler32(0, nullptr, 0), filtered.data(), static_cast<uInt>(filtered.size()));
  constexpr size_t kMarker = 16;  // of Z_SYNC_FLUSH
  strip.deflated.resize(deflateBound(&stream, static_cast<uLong>(filtered.size())) + kMarker);
  stream.next_in = const_cast<uint8_t*>(filtered.data());
  stream.avail_in = static_cast<uInt>(filtered.size());
  stream.next_out = strip.deflated.data();
  stream.avail_out = static_cast<uInt>(strip.deflated.size());
  const int result = deflate(&stream, last ? Z_FINISH : Z_SYNC_FLUSH);
  const bool done = result == (last ? Z_STREAM_END : Z_OK) && stream.avail_in == 0 && stream.avail_out > 0;
  strip.deflated.resize(strip.deflated.size() - stream.avail_out);
  deflateEnd(&stream);
  if (!done) throw Error("cannot encode a PNG: zlib did not finish");
  return strip;
}

Strip strip_of(const Picture& picture, int begin, int end) {
  const auto pixel = static_cast<size_t>(picture.channels);
  const size_t bytes = static_cast<size_t>(picture.width) * pixel;
  const std::vector<uint8_t> nothing(begin == 0 ? bytes : 0);
  std::vector<uint8_t> filtered;
  filtered.reserve((bytes + 1) * static_cast<size_t>(end - begin));
  for (int y = begin; y < end; ++y) {
    const uint8_t* row = picture.data.data() + bytes * static_cast<size_t>(y);
    append_filtered(filtered, row, y == 0 ? nothing.data() : row - bytes, bytes, pixel);
  }
  return deflated(filtered, end == picture.height);
}

}  // namespace

std::vector<uint8_t> codecs::encode_png_in_strips(const Picture& picture) {
  const size_t row = static_cast<size_t>(picture.width) * static_cast<size_t>(picture.channels);
  const auto rows = static_cast<int64_t>(std::max<size_t>(kStripBytes / std::max<size_t>(row, 1), 1));
  std::vector<Strip> strips(static_cast<size_t>((picture.height + rows - 1) / rows));
  parallel_for(picture.height, rows, [&](int64_t begin, int64_t end) {
    strips[static_cast<size_t>(begin / rows)] =
        strip_of(picture, static_cast<int>(begin), static_cast<int>(end));
  });

  std::vector<uint8_t> file = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'}, header;
  append_number(header, static_cast<uint32_t>(picture.width));
  append_number(header, static_cast<uint32_t>(picture.height));
  constexpr uint8_t kColourTypes[] = {0, 4, 2, 6};
  header.insert(header.end(), {8, kColourTypes[picture.channels - 1], 0, 0, 0});
  append_chunk(file, "IHDR", header);
  uLong checksum = adler32(0, nullptr, 0);
  for (size_t i = 0; i < strips.size(); ++i) {
    std::vector<uint8_t> data;
    if (i == 0) data = {0x78, 0x9c};  // zlib: a window of 32 KiB, the usual level
    data.insert(data.end(), strips[i].deflated.begin(), strips[i].deflated.end());
    checksum = adler32_combine(checksum, strips[i].checksum, static_cast<z_off_t>(strips[i].bytes));
    if (i + 1 == strips.size()) append_number(data, static_cast<uint32_t>(checksum));
    append_chunk(file, "IDAT", data);
    strips[i] = {};
  }
  append_chunk(file, "IEND", {});
  return file;
}

}  // namespace eg4d
