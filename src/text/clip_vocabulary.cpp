#include "text/clip_vocabulary.h"

#include <zlib.h>

#include <cstddef>

#include "core/error.h"

// The assembler copies the file into the program.
__asm__(
    ".section .rodata\n"
    ".global eg4d_clip_merges_begin\n"
    ".global eg4d_clip_merges_end\n"
    "eg4d_clip_merges_begin:\n"
    ".incbin \"" EG4D_CLIP_MERGES
    "\"\n"
    "eg4d_clip_merges_end:\n"
    ".previous\n");

extern "C" {
extern const unsigned char eg4d_clip_merges_begin[];
extern const unsigned char eg4d_clip_merges_end[];
}

namespace eg4d {

std::string clip_merges() {
  z_stream stream{};
  stream.next_in = const_cast<unsigned char*>(eg4d_clip_merges_begin);
  stream.avail_in = static_cast<unsigned>(eg4d_clip_merges_end - eg4d_clip_merges_begin);
  constexpr int kGzip = 16 + MAX_WBITS;
  if (inflateInit2(&stream, kGzip) != Z_OK) throw Error("zlib cannot be started");
  std::string text;
  char piece[1 << 16];
  int state = Z_OK;
  while (state == Z_OK) {
    stream.next_out = reinterpret_cast<unsigned char*>(piece);
    stream.avail_out = sizeof piece;
    state = inflate(&stream, Z_NO_FLUSH);
    text.append(piece, sizeof piece - stream.avail_out);
  }
  inflateEnd(&stream);
  if (state != Z_STREAM_END) throw Error("the vocabulary inside the program is damaged");
  return text;
}

}  // namespace eg4d
