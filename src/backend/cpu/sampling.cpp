// Plain loops: next to the network they take no time, and what they round is what the host rounded when it
// did them.

#include "backend/sampling_ops.h"

#include <algorithm>
#include <cmath>

#include "backend/cpu/sampling_kernels.h"
#include "core/sinusoids.h"
#include "core/threads.h"

namespace eg4d::cpu {
namespace {

constexpr int64_t kGrain = 1 << 16;  // floats per parallel chunk

int64_t rows_per_chunk(int64_t width) {
  return std::max<int64_t>(kGrain / std::max<int64_t>(width, 1), 1);
}

}  // namespace

void network_input(const NetworkInput& a) {
  const float c_in = a.now->c_in;
  const int64_t repeats = a.rows / std::max<int64_t>(a.concat_rows, 1);
  parallel_for(a.rows * a.positions, rows_per_chunk(2 * a.channels), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = i / a.positions, position = i % a.positions;
      const float* latent = a.latent + (row % a.frames * a.positions + position) * a.channels;
      const float* concat = a.concat + (row / repeats * a.positions + position) * a.channels;
      float* y = a.y.f32() + i * 2 * a.channels;
      for (int64_t c = 0; c < a.channels; ++c) y[c] = latent[c] * c_in;
      std::copy_n(concat, a.channels, y + a.channels);
    }
  });
}

void timestep_sinusoids(const TimestepSinusoids& a) {
  if (a.rows == 0 || a.width == 0) return;
  a.y[a.width - 1] = 0;
  write_sinusoids(a.now->c_noise, static_cast<int>(a.width), a.y);
  for (int64_t row = 1; row < a.rows; ++row) std::copy_n(a.y, a.width, a.y + row * a.width);
}

void euler_step(const EulerStep& a) {
  const EulerCoefficients now = *a.now;
  const int64_t count = a.frames * a.elements;
  const auto denoised = [&](int64_t at, float x) { return now.c_out * a.prediction[at] + now.c_skip * x; };
  parallel_for(count, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float x = a.latent[i];
      float d = denoised(i, x);
      if (a.scales) d = d + a.scales[i / a.elements] * (denoised(count + i, x) - d);
      const float derivative = (x - d) / now.sigma;
      a.latent[i] = x + derivative * (now.next - now.sigma);
    }
  });
}

void noisy_latents(const NoisyLatents& a) {
  parallel_for(a.count, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      double sum = a.latent_scale * static_cast<double>(a.latent[i]);
      if (a.noise) sum += a.noise_scale * static_cast<double>(a.noise[i]);
      const auto value = static_cast<float>(sum / a.divisor);
      for (int64_t copy = 0; copy < a.copies; ++copy) a.y.f32()[copy * a.count + i] = value;
    }
  });
}

void sample_moments(const SampleMoments& a) {
  parallel_for(a.positions, rows_per_chunk(2 * a.channels), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float* mean = a.moments + i * 2 * a.channels;
      const float* log_variance = mean + a.channels;
      for (int64_t c = 0; c < a.channels; ++c) {
        float value = mean[c];
        if (a.noise)
          value += std::exp(0.5f * std::clamp(log_variance[c], -30.0f, 20.0f)) * a.noise[i * a.channels + c];
        a.y[i * a.channels + c] = value * a.scale;
      }
    }
  });
}

void fit_picture(const FitPicture& a) {
  parallel_for(a.out_height, rows_per_chunk(a.out_width * a.channels), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float* from = a.x + std::min(i, a.height - 1) * a.width * a.channels;
      float* to = a.y + i * a.out_width * a.channels;
      for (int64_t j = 0; j < a.out_width; ++j)
        for (int64_t c = 0; c < a.channels; ++c)
          *to++ = a.scale * from[std::min(j, a.width - 1) * a.channels + c] + a.shift;
    }
  });
}

void fit_picture_backward(const FitPictureBackward& a) {
  const FitPicture& f = a.forward;
  // What the last one of an axis was repeated to.
  const auto end_of = [](int64_t at, int64_t size, int64_t out) {
    return at + 1 == size ? out : std::min(at + 1, out);
  };
  parallel_for(f.height, rows_per_chunk(f.width * f.channels), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      for (int64_t j = 0; j < f.width; ++j)
        for (int64_t c = 0; c < f.channels; ++c) {
          float sum = 0;
          for (int64_t y = i; y < end_of(i, f.height, f.out_height); ++y)
            for (int64_t x = j; x < end_of(j, f.width, f.out_width); ++x)
              sum += f.scale * a.d_y[(y * f.out_width + x) * f.channels + c];
          a.d_x[(i * f.width + j) * f.channels + c] += sum;
        }
  });
}

}  // namespace eg4d::cpu
