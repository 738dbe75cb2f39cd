#include "formats/compression.h"

#include <fmt/format.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <limits>

#include "core/error.h"

namespace eg4d::splat {
namespace {

constexpr int kGzip = 16;  // added to the window's bits: zlib's header or gzip's

Error damaged(const std::string& name) {
  return Error(fmt::format("cannot read '{}': what is compressed in it is damaged or truncated", name));
}

class Inflater {
 public:
  Inflater() { started_ = inflateInit2(&stream, MAX_WBITS + kGzip) == Z_OK; }
  ~Inflater() {
    if (started_) inflateEnd(&stream);
  }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;
  z_stream stream{};

 private:
  bool started_ = false;
};

}  // namespace

std::string gzip(std::string_view data) {
  z_stream stream{};
  if (deflateInit2(&stream, Z_BEST_COMPRESSION, Z_DEFLATED, MAX_WBITS + kGzip, 9, Z_DEFAULT_STRATEGY) != Z_OK)
    throw Error("zlib cannot start");
  std::string packed;
  constexpr size_t kPiece = size_t{1} << 30;
  int state = Z_OK;
  for (size_t done = 0; state == Z_OK;) {
    const size_t piece = std::min(data.size() - done, kPiece);
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(data.data() + done));
    stream.avail_in = static_cast<uInt>(piece);
    done += piece;
    do {
      const size_t before = packed.size();
      packed.resize(before + (size_t{1} << 16));
      stream.next_out = reinterpret_cast<Bytef*>(packed.data() + before);
      stream.avail_out = 1u << 16;
      state = deflate(&stream, done == data.size() ? Z_FINISH : Z_NO_FLUSH);
      packed.resize(packed.size() - stream.avail_out);
    } while (state == Z_OK && stream.avail_out == 0);
    if (state == Z_BUF_ERROR && done < data.size()) state = Z_OK;
  }
  deflateEnd(&stream);
  if (state != Z_STREAM_END) throw Error("zlib failed to compress");
  return packed;
}

std::string gunzip(Bytes data, size_t most, bool& ended, const std::string& name) {
  Inflater inflater;
  z_stream& stream = inflater.stream;
  std::string text(most, '\0');
  size_t read = 0, written = 0;
  int state = Z_OK;
  ended = false;
  char beyond = 0;  // what comes after `most` bytes is looked for and not kept
  while (state == Z_OK) {
    constexpr size_t kPiece = size_t{1} << 30;
    const bool full = written == most;
    const size_t in = std::min(data.size() - read, kPiece), out = full ? 1 : std::min(most - written, kPiece);
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(data.data() + read));
    stream.avail_in = static_cast<uInt>(in);
    stream.next_out = reinterpret_cast<Bytef*>(full ? &beyond : text.data() + written);
    stream.avail_out = static_cast<uInt>(out);
    state = inflate(&stream, Z_NO_FLUSH);
    read += in - stream.avail_in;
    const size_t made = out - stream.avail_out;
    if (full && made > 0) return text;
    written += made;
  }
  if (state != Z_STREAM_END) throw damaged(name);
  ended = true;
  text.resize(written);
  return text;
}

std::string zstd(std::string_view data, int level) {
  std::string packed(ZSTD_compressBound(data.size()), '\0');
  const size_t size = ZSTD_compress(packed.data(), packed.size(), data.data(), data.size(), level);
  if (ZSTD_isError(size)) throw Error(fmt::format("zstd failed to compress: {}", ZSTD_getErrorName(size)));
  packed.resize(size);
  return packed;
}

std::string unzstd(Bytes data, size_t size, const std::string& name) {
  std::string text(size, '\0');
  const size_t made = ZSTD_decompress(text.data(), size, data.data(), data.size());
  if (ZSTD_isError(made) || made != size) throw damaged(name);
  return text;
}

}  // namespace eg4d::splat
