#include "diffusion/image_to_image.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>

#include "core/log.h"
#include "support/device_fixture.h"
#include "support/expect_error.h"
#include "support/golden.h"
#include "support/random_values.h"
#include "support/temporary_folder.h"
#include "support/tiny_image_model.h"

namespace eg4d::test {
namespace {

// One model for all tests: writing it takes a moment.
class ImageToImageTest : public OnEachDevice {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TemporaryFolder;
    write_tiny_image_model(folder_->path());
  }
  static void TearDownTestSuite() {
    delete folder_;
    folder_ = nullptr;
  }
  static std::vector<float> picture(int64_t height, int64_t width) {
    Philox random(5);
    return uniform_values(random, height * width * 3, 0.0f, 1.0f);
  }
  std::vector<float> refine(ImageToImage& refiner, int64_t height, int64_t width,
                            const ImageToImage::Options& options) {
    return refiner.refine(picture(height, width), height, width, options, *make_normal_stream("philox", 3));
  }

  static TemporaryFolder* folder_;
  std::unique_ptr<Backend> backend_ = make_test_backend();
};
TemporaryFolder* ImageToImageTest::folder_ = nullptr;

TEST_P(ImageToImageTest, AnySizeAnyNumberOfThreads) {
  const ImageCheckpoint checkpoint(folder_->path());
  ImageToImage refiner(*backend_, checkpoint);
  EXPECT_ERROR(refine(refiner, 32, 32, {}), "no prompt was set");
  refiner.set_prompt(embed_prompt(*backend_, checkpoint, "a toy"), embed_no_prompt(*backend_, checkpoint));
  EXPECT_EQ(refiner.size_multiple(), 16);
  for (const auto& [height, width] : {std::pair<int64_t, int64_t>{16, 32}, {37, 50}, {1, 1}}) {
    const std::vector<float> refined = refine(refiner, height, width, {});
    ASSERT_EQ(refined.size(), static_cast<size_t>(height * width * 3));
    for (const float value : refined) ASSERT_TRUE(value >= 0 && value <= 1);
  }
  EXPECT_TRUE(same_bits_for_any_thread_count([&] { return refine(refiner, 37, 50, {}); }));
  EXPECT_ERROR(refiner.refine(std::vector<float>(5), 1, 2, {}, *make_normal_stream("philox", 1)),
               "5 numbers");
  EXPECT_ERROR(refiner.refine({}, 0, 4, {}, *make_normal_stream("philox", 1)), "0×4");
  std::vector<float> broken = picture(16, 16);
  broken[7] = std::nanf("");
  EXPECT_EQ(refiner.refine(broken, 16, 16, {}, *make_normal_stream("philox", 1)).size(), broken.size());
}

TEST_P(ImageToImageTest, PromptStrengthAndGuidanceMatter) {
  const ImageCheckpoint checkpoint(folder_->path());
  ImageToImage refiner(*backend_, checkpoint);
  const PromptEmbedding nothing = embed_no_prompt(*backend_, checkpoint);
  refiner.set_prompt(embed_prompt(*backend_, checkpoint, "a toy"), nothing);
  const std::vector<float> plain = refine(refiner, 16, 16, {});
  EXPECT_EQ(refine(refiner, 16, 16, {.guidance = 1}), plain);
  EXPECT_NE(refine(refiner, 16, 16, {.guidance = 3}), plain);
  EXPECT_NE(refine(refiner, 16, 16, {.strength = 0.5}), plain);
  refiner.set_prompt(embed_prompt(*backend_, checkpoint, "a house"), nothing);
  EXPECT_NE(refine(refiner, 16, 16, {}), plain);
  EXPECT_ERROR(refine(refiner, 16, 16, {.strength = 0.05}), "leaves none of 10 denoising steps");
  EXPECT_ERROR(refine(refiner, 16, 16, {.strength = std::nan("")}), "strength of nan");
  EXPECT_ERROR(refine(refiner, 16, 16, {.steps = 0}), "0 denoising steps");
  EXPECT_ERROR(refine(refiner, 16, 16, {.steps = 1001}), "1001 denoising steps");
}

TEST_P(ImageToImageTest, PartsFitTogether) {
  const ImageCheckpoint checkpoint(folder_->path());
  ImageToImage refiner(*backend_, checkpoint);
  refiner.set_prompt(embed_prompt(*backend_, checkpoint, ""), embed_no_prompt(*backend_, checkpoint));
  const Tensor latents =
      refiner.encode(Tensor::from_host<float>(*backend_, {16, 32, 3}, picture(16, 32)), nullptr);
  EXPECT_EQ(latents.shape(), (Shape{1, 4, 8, 4}));
  EXPECT_EQ(refiner.decode(latents, 16, 32).shape(), (Shape{16, 32, 3}));
  EXPECT_EQ(refiner.predict_noise(latents, 500, 0).shape(), latents.shape());
  // u + g·(c - u) is linear in g.
  const auto at = [&](double guidance) { return refiner.predict_noise(latents, 500, guidance).to_host(); };
  const std::vector<float> two = at(2), three = at(3), four = at(4);
  for (size_t i = 0; i < two.size(); ++i) EXPECT_NEAR(three[i], (two[i] + four[i]) / 2, 1e-3);
}

TEST_P(ImageToImageTest, FileAndFolderGiveTheSame) {
  const TemporaryFolder other;
  write_tiny_image_file(other / "model.safetensors");
  const ImageCheckpoint as_folder(folder_->path()), as_file(other / "model.safetensors");
  std::vector<std::vector<float>> results;
  for (const ImageCheckpoint* checkpoint : {&as_folder, &as_file}) {
    ImageToImage refiner(*backend_, *checkpoint);
    refiner.set_prompt(embed_prompt(*backend_, *checkpoint, "a toy"),
                       embed_no_prompt(*backend_, *checkpoint));
    results.push_back(refine(refiner, 32, 32, {}));
  }
  EXPECT_EQ(results[0], results[1]);
}

TEST_P(ImageToImageTest, LongPromptsWarn) {
  std::string warning;
  const struct Sink {
    explicit Sink(std::string& to) {
      set_warning_sink([&to](const std::string& sentence) { to = sentence; });
    }
    ~Sink() { set_warning_sink({}); }  // also where the device has no networks, which ends the test
  } sink(warning);
  const ImageCheckpoint checkpoint(folder_->path());
  std::string prompt;
  for (int i = 0; i < 90; ++i) prompt += "toy ";
  embed_prompt(*backend_, checkpoint, prompt);
  EXPECT_TRUE(contains(warning, "90 tokens")) << warning;
  EXPECT_ERROR(embed_prompt(*backend_, checkpoint, "\xFF"), "not UTF-8");
}

TEST_P(ImageToImageTest, FoldersTokenizerIsUsed) {
  const TemporaryFolder own;
  write_tiny_image_model(own.path(), "#version: 0.2\nt o\nto y</w>\n", 516);
  const ImageCheckpoint checkpoint(own.path());
  ClipTokenizer::Row first{}, second{};
  first.fill(515);  // the first encoder's padding is the end token
  std::copy_n(std::array{514, 320, 513, 515}.begin(), 4, first.begin());
  std::copy_n(first.begin(), 4, second.begin());
  const PromptEmbedding prompt = embed_prompt(*backend_, checkpoint, "A toy"),
                        same = embed_tokens(*backend_, checkpoint, first, second);
  EXPECT_EQ(prompt.context, same.context);
  EXPECT_EQ(prompt.pooled, same.pooled);

  std::filesystem::remove(own / "tokenizer_2/merges.txt");
  EXPECT_ERROR(embed_prompt(*backend_, ImageCheckpoint(own.path()), "A toy"),
               "has no tokenizer_2/merges.txt; CLIP's own vocabulary has 49408 tokens, but the text "
               "encoder's table holds 516");
  write_text(own / "tokenizer/merges.txt", "t o\n");
  EXPECT_ERROR(ImageCheckpoint(own.path()), "tokenizer/merges.txt' makes 515 tokens");
}

// A text encoder of a tiny vocabulary cannot take real prompts.
TEST_P(ImageToImageTest, UnknownTokensAreRefused) {
  const ImageCheckpoint checkpoint(folder_->path());
  ClipTokenizer::Row row = ClipTokenizer::built_in().row({}, 0);
  row[5] = static_cast<int32_t>(ClipTokenizer::kVocabulary);
  EXPECT_ERROR(embed_tokens(*backend_, checkpoint, row, row), "there is none of number 49408");
}

TEST(EulerAncestral, LaterStepsAddNoise) {
  const ImageEulerSampler sampler({}, 4);
  EXPECT_EQ(sampler.timesteps(), (std::vector<float>{999, 749, 499, 249}));
  EXPECT_EQ(sampler.first_step(1), 0);
  EXPECT_EQ(sampler.first_step(0.5), 2);
  // With the exact prediction of the noise, what remains has the next sigma's deviation.
  const float from = sampler.sigmas()[1], to = sampler.sigmas()[2];
  const auto backend = make_cpu_backend({.guard_memory = true});
  const auto one = [&](float value) { return upload(*backend, {value}); };
  const auto advanced = [&](float noise) {
    const Tensor latent = one(from);  // the picture is 0, its noise 1
    sampler.advance(1, one(1), one(noise), latent);
    return latent.to_host()[0];
  };
  const float down = advanced(0);
  EXPECT_NEAR(std::hypot(down, advanced(1) - down), to, 1e-5);
}

// As PyTorch's scheduler does it, number by number and to the bit.
TEST(EulerAncestral, StepsArePlainArithmetic) {
  const auto backend = make_cpu_backend({.guard_memory = true});
  const std::vector<float> latent = hash_tensor(1, 70, 2), predicted = hash_tensor(2, 70, 2),
                           noise = hash_tensor(3, 70, 2);
  for (const EulerKind kind : {EulerKind::ancestral, EulerKind::plain}) {
    const ImageEulerSampler sampler({}, 4, kind);
    const Tensor x = upload(*backend, latent), input = Tensor::empty(*backend, x.shape());
    const double from = sampler.sigmas()[1], to = sampler.sigmas()[2];
    sampler.add_noise(1, upload(*backend, noise), x);
    std::vector<float> expected = latent;
    for (size_t i = 0; i < expected.size(); ++i) {
      const float change = sampler.sigmas()[1] * noise[i];
      expected[i] = expected[i] + change;
    }
    EXPECT_EQ(x.to_host(), expected);
    NoisyLatents scaled = sampler.network_input(1, x);
    scaled.y = input.array();
    backend->run(scaled);
    const float deviation = std::sqrt(sampler.sigmas()[1] * sampler.sigmas()[1] + 1);
    for (size_t i = 0; i < expected.size(); ++i) EXPECT_EQ(input.to_host()[i], expected[i] / deviation);

    const bool draws = kind == EulerKind::ancestral;
    const double up = draws ? std::sqrt(to * to * (from * from - to * to) / (from * from)) : 0;
    const auto change = static_cast<float>(std::sqrt(to * to - up * up) - from);
    sampler.advance(1, upload(*backend, predicted), draws ? upload(*backend, noise) : Tensor(), x);
    for (size_t i = 0; i < expected.size(); ++i) {
      const float drift = change * predicted[i], fresh = draws ? static_cast<float>(up) * noise[i] : 0;
      const float sum = drift + fresh;
      expected[i] = expected[i] + sum;
    }
    EXPECT_EQ(x.to_host(), expected);
  }
}

EG4D_ON_EACH_DEVICE(ImageToImageTest);

}  // namespace
}  // namespace eg4d::test
