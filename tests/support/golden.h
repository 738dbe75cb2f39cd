#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "io/safetensors.h"

namespace eg4d::test {

// The folder of golden fixtures: $EG4D_GOLDEN_DIR, else tests/data/golden. Another set of the same form may
// have other sizes and case names or lack parts: read everything from the fixture, GTEST_SKIP() what is not
// there.
std::filesystem::path golden_folder();
bool golden_has(const std::string& relative);
nlohmann::json golden_json(const std::string& relative);

// ‖a-b‖ / ‖b‖ (‖a‖ when b is zero). Infinite when sizes differ or anything is not finite.
double relative_error(const std::vector<float>& a, const std::vector<float>& b);

// The fixtures' integer hash (golden/NOTES.md): tensor id k, scale s, `add` where given.
std::vector<float> hash_tensor(uint32_t k, size_t count, float s, float add = 0);

}  // namespace eg4d::test
