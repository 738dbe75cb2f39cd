#pragma once

#include <string>

namespace eg4d {

// The 48894 merges of CLIP's byte-pair encoding in the order of their making, one "left right" a line
// (OpenAI, MIT licence; data/clip_bpe_merges.md). They are part of the program.
std::string clip_merges();

}  // namespace eg4d
