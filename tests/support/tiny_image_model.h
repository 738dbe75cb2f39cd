#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace eg4d::test {

// Writes a folder in the diffusers layout with small networks of SDXL's kind: those of the golden fixture
// sdxl_img2img, with text encoders that know the whole vocabulary, so that any prompt can be given. Latents
// are a quarter of the pictures' size.
void write_tiny_image_model(const std::filesystem::path& folder);
// The same with a vocabulary of its own: `merges` is the content of tokenizer/merges.txt and of
// tokenizer_2's, `vocabulary` the number of rows of both encoders' tables.
void write_tiny_image_model(const std::filesystem::path& folder, const std::string& merges,
                            int64_t vocabulary);
// The same as a single file.
void write_tiny_image_file(const std::filesystem::path& file);

}  // namespace eg4d::test
