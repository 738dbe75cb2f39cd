#include <cstdio>

#include "backend/backend.h"
#include "core/version.h"
#include "pipeline/reconstruct.h"
#include "splat/model.h"

int main() {
  const auto backend = eg4d::make_backend("cpu");
  std::printf("eg4d %s on %s\n", eg4d::kVersion, backend->name().c_str());
  return 0;
}
