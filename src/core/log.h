#pragma once

#include <functional>
#include <string>

namespace eg4d {

// Something is not as it should be but work goes on: one sentence on stderr ("warning: …"), from any thread.
void warn(const std::string& sentence);

// Sends warnings elsewhere (the program clears its progress bar first); an empty sink restores stderr.
void set_warning_sink(std::function<void(const std::string&)> sink);

}  // namespace eg4d
