#pragma once

#include "support/manifest.h"
#include "vision/lpips.h"
#include "vision/u2net.h"

namespace eg4d::bench {

// Names and shapes of the published networks that look at pictures.
test::Manifest lpips_backbone(Lpips::Network network);
test::Manifest lpips_heads(Lpips::Network network);
test::Manifest u2net(U2Net::Kind kind);

}  // namespace eg4d::bench
