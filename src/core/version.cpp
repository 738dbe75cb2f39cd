#include "core/version.h"

namespace eg4d {

const char* const kVersion = EG4D_VERSION;

}  // namespace eg4d
