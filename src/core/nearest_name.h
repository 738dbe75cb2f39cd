#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace eg4d {

// The candidate nearest to `word` by edit distance; empty when none is near (a third of the letters differ).
std::string nearest_name(std::string_view word, const std::vector<std::string>& candidates);

// "; did you mean 'width'?", or nothing.
std::string did_you_mean(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace eg4d
