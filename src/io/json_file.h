#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace eg4d {

// JSON that comes from outside. Lists and objects nest at most so deep: what walks them later (copying,
// writing out again) recurses, and a short hostile text must not exhaust the stack there.
inline constexpr int kMaxJsonDepth = 64;
inline constexpr size_t kMaxJsonBytes = size_t{256} << 20;

// For Json = nlohmann::json or nlohmann::ordered_json. `what` begins the message: "'run/metrics.json'".
// Throws Error when the text is no valid JSON or nests too deep.
template <class Json = nlohmann::json>
Json parse_json(std::string_view text, const std::string& what);

// Throws Error that names the file when it cannot be read, is larger than kMaxJsonBytes, no valid JSON, or
// nests too deep.
template <class Json = nlohmann::json>
Json read_json(const std::filesystem::path& path);

// null where there is no such file; one that is there must be whole, as for read_json.
template <class Json = nlohmann::json>
Json read_json_if_there(const std::filesystem::path& path);

}  // namespace eg4d
