#include "core/progress.h"

namespace eg4d {

void Progress::begin(int64_t, const std::string&, int64_t) {}
void Progress::update(int64_t, std::initializer_list<Figure>) {}
void Progress::in_bytes() {}
void Progress::left_in_all(double) {}
void Progress::end() {}
void Progress::message(const std::string&) {}

}  // namespace eg4d
