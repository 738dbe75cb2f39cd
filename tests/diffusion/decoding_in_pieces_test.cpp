// A decoder on a device with little memory: what it takes, and that it gives what the whole does.

#include <gtest/gtest.h>

#include <cmath>

#include "backend/forwarding_backend.h"
#include "diffusion/vae.h"
#include "support/device_fixture.h"
#include "support/network_fixture.h"
#include "support/random_values.h"

namespace eg4d::test {
namespace {

// Says that so much can be allocated.
class RoomFor final : public ForwardingBackend {
 public:
  RoomFor(std::unique_ptr<Backend> inner, size_t available)
      : ForwardingBackend(std::move(inner)), available_(available) {}
  MemoryUse memory_use() const override { return {.available = available_}; }

 private:
  size_t available_;
};

// Which the decoder keeps free for what operations work in.
constexpr size_t kKeptFree = size_t{640} << 20;

struct Decoded {
  std::vector<float> pixels;
  size_t activations;
};

class DecodingInPieces : public OnEachDevice {
 protected:
  // As the fixture's temporal decoder, or as the plain one that is in it.
  static WeightMap weights_of(bool temporal) {
    const WeightMap all = golden_weights("svd_vae");
    WeightMap weights = all;
    if (!temporal)
      for (const auto& [name, item] : all.items())
        if (name.find("time_stack") != std::string::npos || name.find("mix_factor") != std::string::npos ||
            name.find("time_mix_conv") != std::string::npos)
          weights.remove(name);
    return weights;
  }
  static std::vector<float> latents() {
    Philox numbers(5);
    return uniform_values(numbers, element_count(kShape), -1.0f, 1.0f);
  }

  static Decoded decode(bool temporal, size_t room) {
    RoomFor backend(make_test_backend(), room == SIZE_MAX ? room : room + kKeptFree);
    AutoencoderDecoder decoder(backend, weights_of(temporal), "first_stage_model.");
    EXPECT_EQ(decoder.temporal(), temporal);
    const auto prepared = decoder.prepare(kShape);
    return {prepared->apply(latents()), decoder.activation_bytes()};
  }
  static Decoded decode_whole(bool temporal) {
    const auto backend = make_test_backend();
    AutoencoderDecoder decoder(*backend, weights_of(temporal), "first_stage_model.");
    const Tensor pictures =
        decoder.decode(Tensor::from_host<float>(*backend, kShape, latents()), kShape.front());
    return {pictures.to_host(), decoder.activation_bytes()};
  }

  static void expect_less_memory_for_the_same(bool temporal, double least) {
    const Decoded whole = decode_whole(temporal);
    size_t before = whole.activations;
    for (const double share : {1.2, 0.9, 0.7, 0.5, 0.3, 0.0}) {
      SCOPED_TRACE(share);
      const auto room = static_cast<size_t>(share * static_cast<double>(whole.activations));
      const Decoded pieces = decode(temporal, room);
      EXPECT_LE(pieces.activations, before);
      before = pieces.activations;
      if (share >= least) {
        EXPECT_LE(pieces.activations, room);
      }
      ASSERT_EQ(pieces.pixels.size(), whole.pixels.size());
      for (size_t i = 0; i < whole.pixels.size(); ++i)
        ASSERT_NEAR(pieces.pixels[i], whole.pixels[i], 2e-5 * std::max(1.0f, std::abs(whole.pixels[i]))) << i;
    }
    EXPECT_LT(static_cast<double>(before), least * static_cast<double>(whole.activations));
  }

  static inline const Shape kShape{7, 12, 8, 4};
};

EG4D_ON_EACH_DEVICE(DecodingInPieces);

TEST_P(DecodingInPieces, PicturesByThemselves) {
  expect_less_memory_for_the_same(false, 0.3);
}

TEST_P(DecodingInPieces, AVideo) {
  expect_less_memory_for_the_same(true, 0.7);
}

// With enough room it is the same calls.
TEST_P(DecodingInPieces, NothingChangesWhereThereIsRoom) {
  for (const bool temporal : {false, true})
    EXPECT_EQ(decode(temporal, SIZE_MAX).pixels, decode(temporal, size_t{1} << 30).pixels);
}

}  // namespace
}  // namespace eg4d::test
