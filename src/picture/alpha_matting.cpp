#include "picture/alpha_matting.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/threads.h"
#include "picture/closed_form_system.h"

namespace eg4d {
namespace {

constexpr int64_t kRowsPerChunk = 8;

// Erosion of `set` by a square of side `size`, whose centre is the pixel right of and below the middle when
// the side is even; `outside` is the value beyond the border. Rows, then columns.
std::vector<uint8_t> eroded(std::vector<uint8_t> set, int width, int height, int size, bool outside) {
  if (size < 2) return set;
  const int before = size / 2, after = size - 1 - before;
  std::vector<uint8_t> result(set.size());
  const auto along = [&](int lines, int length, size_t line_step, size_t step) {
    for (int line = 0; line < lines; ++line) {
      const uint8_t* from = set.data() + static_cast<size_t>(line) * line_step;
      uint8_t* to = result.data() + static_cast<size_t>(line) * line_step;
      std::vector<int> holes(static_cast<size_t>(length) + 1);  // zeros before each place
      for (int i = 0; i < length; ++i)
        holes[static_cast<size_t>(i) + 1] =
            holes[static_cast<size_t>(i)] + !from[static_cast<size_t>(i) * step];
      for (int i = 0; i < length; ++i) {
        const int first = std::max(i - before, 0), last = std::min(i + after, length - 1);
        const bool inside = i >= before && i + after < length;
        to[static_cast<size_t>(i) * step] =
            (inside || outside) && holes[static_cast<size_t>(last) + 1] == holes[static_cast<size_t>(first)];
      }
    }
  };
  along(height, width, static_cast<size_t>(width), 1);
  set = result;
  along(width, height, 1, static_cast<size_t>(width));
  return result;
}

// ---------------------------------------------------------------- pyramid

struct Level {
  int width = 0, height = 0;
  std::vector<double> rgb;  // in [0,1]
  std::vector<Trimap> trimap;
};

Level halved(const Level& level) {
  Level half;
  half.width = (level.width + 1) / 2;
  half.height = (level.height + 1) / 2;
  const size_t pixels = static_cast<size_t>(half.width) * static_cast<size_t>(half.height);
  half.rgb.resize(3 * pixels);
  half.trimap.resize(pixels);
  for (int y = 0; y < half.height; ++y)
    for (int x = 0; x < half.width; ++x) {
      const size_t to = static_cast<size_t>(y) * static_cast<size_t>(half.width) + static_cast<size_t>(x);
      Trimap agreed = Trimap::unknown;
      for (int i = 0; i < 4; ++i) {
        const int from_x = std::min(2 * x + i % 2, level.width - 1),
                  from_y = std::min(2 * y + i / 2, level.height - 1);
        const size_t from =
            static_cast<size_t>(from_y) * static_cast<size_t>(level.width) + static_cast<size_t>(from_x);
        for (size_t c = 0; c < 3; ++c) half.rgb[3 * to + c] += level.rgb[3 * from + c] / 4;
        agreed = i == 0 || agreed == level.trimap[from] ? level.trimap[from] : Trimap::unknown;
      }
      half.trimap[to] = agreed;
    }
  return half;
}

std::vector<double> doubled(const std::vector<double>& alpha, const Level& half, const Level& level) {
  std::vector<double> result(level.trimap.size());
  for (int y = 0; y < level.height; ++y)
    for (int x = 0; x < level.width; ++x)
      result[static_cast<size_t>(y) * static_cast<size_t>(level.width) + static_cast<size_t>(x)] =
          alpha[static_cast<size_t>(y / 2) * static_cast<size_t>(half.width) + static_cast<size_t>(x / 2)];
  return result;
}

constexpr int kSmallestLevel = 32;

std::vector<double> solve(const Level& level, double tolerance) {
  constexpr double kGuessTolerance = 1e-4;
  std::vector<double> guess;
  if (std::min(level.width, level.height) > kSmallestLevel) {
    const Level half = halved(level);
    guess = doubled(solve(half, std::max(tolerance, kGuessTolerance)), half, level);
  } else {
    guess.assign(level.trimap.size(), 0.5);
  }
  for (size_t i = 0; i < guess.size(); ++i)
    if (level.trimap[i] != Trimap::unknown) guess[i] = level.trimap[i] == Trimap::foreground;
  return solve_closed_form(level.width, level.height, level.rgb, level.trimap, std::move(guess), tolerance);
}

void require_size(const Picture& picture, int channels, size_t pixels) {
  if (picture.channels != channels || picture.width < 1 || picture.height < 1 ||
      picture.data.size() != pixels * static_cast<size_t>(channels))
    throw Error("matting needs an RGB picture and a matte of the same size");
}

}  // namespace

std::vector<Trimap> make_trimap(const Picture& matte, const TrimapOptions& options) {
  require_size(matte, 1, static_cast<size_t>(matte.width) * static_cast<size_t>(matte.height));
  std::vector<uint8_t> object(matte.data.size()), background(matte.data.size());
  for (size_t i = 0; i < matte.data.size(); ++i) {
    object[i] = matte.data[i] > options.foreground_threshold;
    background[i] = matte.data[i] < options.background_threshold;
  }
  object = eroded(std::move(object), matte.width, matte.height, options.erode_size, false);
  background = eroded(std::move(background), matte.width, matte.height, options.erode_size, true);
  std::vector<Trimap> trimap(matte.data.size(), Trimap::unknown);
  for (size_t i = 0; i < trimap.size(); ++i)
    if (object[i] || background[i]) trimap[i] = background[i] ? Trimap::background : Trimap::foreground;
  return trimap;
}

std::vector<float> closed_form_alpha(const Picture& rgb, const std::vector<Trimap>& trimap) {
  require_size(rgb, 3, trimap.size());
  constexpr double kTolerance = 1e-7;
  Level level{rgb.width, rgb.height, {}, trimap};
  level.rgb.reserve(rgb.data.size());
  for (const uint8_t byte : rgb.data) level.rgb.push_back(byte / 255.0);
  const std::vector<double> alpha = solve(level, kTolerance);
  std::vector<float> result(alpha.size());
  for (size_t i = 0; i < alpha.size(); ++i)
    result[i] = static_cast<float>(alpha[i] > 0 ? std::min(alpha[i], 1.0) : 0);  // NaN becomes 0
  return result;
}

// ---------------------------------------------------------------- foreground

namespace {

constexpr float kSmoothness =
    1e-5f;  // of both colours everywhere; where alpha changes, as much as it does more

struct Colors {
  int width = 0, height = 0;
  std::vector<float> object, background;  // [height,width,3]
};

int scaled(int index, int from, int to) {
  return static_cast<int>(int64_t{index} * to / from);
}

// One Jacobi step: every pixel is solved for its two colours with the neighbours held.
void smooth(const Colors& from, Colors& to, const std::vector<float>& rgb, const std::vector<float>& alpha) {
  const int width = from.width, height = from.height;
  parallel_for(height, kRowsPerChunk, [&](int64_t begin, int64_t end) {
    for (int y = static_cast<int>(begin); y < end; ++y)
      for (int x = 0; x < width; ++x) {
        const size_t i = static_cast<size_t>(y) * static_cast<size_t>(width) + static_cast<size_t>(x);
        const float a = alpha[i], b = 1 - a;
        float weights = 0, object[3], background[3];
        for (size_t c = 0; c < 3; ++c) {
          object[c] = a * rgb[3 * i + c];
          background[c] = b * rgb[3 * i + c];
        }
        const int neighbours[4][2] = {{x - 1, y}, {x + 1, y}, {x, y - 1}, {x, y + 1}};
        for (const auto& [column, row] : neighbours) {
          const size_t j = static_cast<size_t>(std::clamp(row, 0, height - 1)) * static_cast<size_t>(width) +
                           static_cast<size_t>(std::clamp(column, 0, width - 1));
          const float weight = kSmoothness + std::abs(a - alpha[j]);
          weights += weight;
          for (size_t c = 0; c < 3; ++c) {
            object[c] += weight * from.object[3 * j + c];
            background[c] += weight * from.background[3 * j + c];
          }
        }
        const float p = a * a + weights, q = a * b, r = b * b + weights, scale = 1 / (p * r - q * q);
        for (size_t c = 0; c < 3; ++c) {
          to.object[3 * i + c] = std::clamp((r * object[c] - q * background[c]) * scale, 0.0f, 1.0f);
          to.background[3 * i + c] = std::clamp((p * background[c] - q * object[c]) * scale, 0.0f, 1.0f);
        }
      }
  });
}

}  // namespace

Picture estimate_foreground(const Picture& rgb, const std::vector<float>& alpha) {
  require_size(rgb, 3, alpha.size());
  constexpr int kSmallSide = 32, kSmallSteps = 10, kLargeSteps = 2;
  const int levels = std::max(1, static_cast<int>(std::ceil(std::log2(std::max(rgb.width, rgb.height)))));
  Colors colors;
  for (int level = 0; level <= levels; ++level) {
    const double share = static_cast<double>(level) / levels;
    const auto side = [&](int full) { return static_cast<int>(std::lround(std::pow(full, share))); };
    Colors next;
    next.width = side(rgb.width);
    next.height = side(rgb.height);
    const size_t pixels = static_cast<size_t>(next.width) * static_cast<size_t>(next.height);
    std::vector<float> small_rgb(3 * pixels), small_alpha(pixels);
    next.object.resize(3 * pixels);
    next.background.resize(3 * pixels);
    for (int y = 0; y < next.height; ++y)
      for (int x = 0; x < next.width; ++x) {
        const size_t i = static_cast<size_t>(y) * static_cast<size_t>(next.width) + static_cast<size_t>(x);
        const size_t full =
            static_cast<size_t>(scaled(y, next.height, rgb.height)) * static_cast<size_t>(rgb.width) +
            static_cast<size_t>(scaled(x, next.width, rgb.width));
        small_alpha[i] = alpha[full];
        const size_t coarse = level == 0 ? 0
                                         : static_cast<size_t>(scaled(y, next.height, colors.height)) *
                                                   static_cast<size_t>(colors.width) +
                                               static_cast<size_t>(scaled(x, next.width, colors.width));
        for (size_t c = 0; c < 3; ++c) {
          small_rgb[3 * i + c] = static_cast<float>(rgb.data[3 * full + c]) / 255;
          next.object[3 * i + c] = level == 0 ? small_rgb[3 * i + c] : colors.object[3 * coarse + c];
          next.background[3 * i + c] = level == 0 ? small_rgb[3 * i + c] : colors.background[3 * coarse + c];
        }
      }
    const bool small = std::max(next.width, next.height) <= kSmallSide;
    colors = next;
    for (int step = 0; step < (small ? kSmallSteps : kLargeSteps); ++step) {
      smooth(colors, next, small_rgb, small_alpha);
      std::swap(colors, next);
    }
  }
  Picture result(rgb.width, rgb.height, 3);
  for (size_t i = 0; i < result.data.size(); ++i)
    result.data[i] = static_cast<uint8_t>(std::lround(colors.object[i] * 255));
  return result;
}

Picture cut_out(const Picture& rgb, const Picture& matte, bool alpha_matting, const TrimapOptions& options) {
  require_size(rgb, 3, static_cast<size_t>(matte.width) * static_cast<size_t>(matte.height));
  require_size(matte, 1, static_cast<size_t>(rgb.width) * static_cast<size_t>(rgb.height));
  Picture colors = rgb;
  std::vector<uint8_t> opacity = matte.data;
  if (alpha_matting) {
    const std::vector<float> alpha = closed_form_alpha(rgb, make_trimap(matte, options));
    colors = estimate_foreground(rgb, alpha);
    std::transform(alpha.begin(), alpha.end(), opacity.begin(),
                   [](float a) { return static_cast<uint8_t>(std::lround(a * 255)); });
  }
  Picture result(rgb.width, rgb.height, 4);
  for (size_t i = 0; i < opacity.size(); ++i) {
    std::copy_n(&colors.data[3 * i], 3, &result.data[4 * i]);
    result.data[4 * i + 3] = opacity[i];
  }
  return result;
}

}  // namespace eg4d
