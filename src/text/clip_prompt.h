#pragma once

#include <string>
#include <string_view>

namespace eg4d {

// The two programs whose tokens a text encoder may have been trained with or is run with. They differ only
// for unusual texts: OpenCLIP repairs a text and replaces HTML's character references first, Hugging Face's
// (fast) tokenizer does neither; each knows another spelling of the start and end tokens.
enum class ClipFlavour { open_clip, hugging_face };

// A prompt as the tokenizer splits it: composed (NFC), in lower case; white space is left as it is.
std::u32string clean_prompt(std::u32string_view prompt, ClipFlavour flavour);

// What OpenCLIP gets from the text-repair library ftfy, as far as it goes here: text that was UTF-8 and has
// been read as Windows-1252 or Latin-1 as a whole, character references when there is no "<", controls of
// Windows-1252, Latin ligatures, full-width forms, curly quotes, line ends, control characters, NFC. Not
// here: other code pages, texts of which only a part was misread, ftfy's measure of how strange a text looks,
// terminal escapes.
std::u32string repair_text(std::u32string_view text);

}  // namespace eg4d
