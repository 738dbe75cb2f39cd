#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "io/safetensors.h"

namespace eg4d::test {

// The folder of golden fixtures: $EG4D_GOLDEN_DIR, else tests/data/golden, which is whole. Another set of the
// same form may have other sizes and case names, and lack parts: read everything from the fixture.
std::filesystem::path golden_folder();
bool golden_set_is_named();                    // by $EG4D_GOLDEN_DIR
bool golden_has(const std::string& relative);  // or the same packed: <relative>.gz

// For the start of a test, with the file that it reads: false when it is not there. Then the test fails,
// except that a named set may lack whole fixtures (their folders) and optional parts: GTEST_SKIP().
enum class GoldenPart { needed, optional };
bool golden_has_fixture(const std::string& relative, GoldenPart part = GoldenPart::needed);
// Within a fixture: a case that is not in the file. Fails or skips the running test likewise.
void golden_absent(const std::string& what);

// A golden test that ends without having compared anything fails. relative_error counts by itself.
void count_golden_comparison();
size_t golden_comparisons();  // since the program's start

// Of a file, or of the same packed as <path>.gz.
std::string stored_text(const std::filesystem::path& path);
nlohmann::json golden_json(const std::string& relative);
// <name>.safetensors, or the same packed as <name>.safetensors.gz.
SafetensorsFile golden_tensors(const std::string& relative);
SafetensorsFile stored_tensors(const std::filesystem::path& path);

// ‖a-b‖ / ‖b‖ (‖a‖ when b is zero). Infinite when sizes differ or anything is not finite.
double relative_error(const std::vector<float>& a, const std::vector<float>& b);

// The fixtures' integer hash (golden/NOTES.md): tensor id k, scale s, `add` where given.
std::vector<float> hash_tensor(uint32_t k, size_t count, float s, float add = 0);

}  // namespace eg4d::test
