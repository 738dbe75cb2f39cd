#pragma once

#include "core/config.h"

namespace eg4d {

// The named settings of Stage II: paper, fast, mini, quality, turbo, ultra (docs/presets.md).
const PresetTexts& reconstruct_presets();

}  // namespace eg4d
