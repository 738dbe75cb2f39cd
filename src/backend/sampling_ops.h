#pragma once

// The arithmetic around a diffusion network while it samples. Pointers are device memory, as in neural_ops.h;
// latents and predictions are f32 whatever the network computes in.

#include <cstdint>

#include "backend/array.h"

namespace eg4d {

// A step of Euler's method with the preconditioning of Karras et al. (2022): a row of a table in device
// memory. Operations take a pointer, and what is recorded follows the row that stands there.
struct EulerCoefficients {
  float c_in = 1, c_out = 0, c_skip = 0, c_noise = 0;  // denoised = c_skip·x + c_out·network(c_in·x, c_noise)
  float sigma = 1, next = 0;                           // the deviation of the noise, and that after the step
};

// What a network for videos is given, for one or both halves of classifier-free guidance:
// y[r] = (c_in·latent[r mod frames], concat[r·concat_rows/rows]), the two side by side in the channels.
struct NetworkInput {
  int64_t rows = 0, frames = 0;         // rows: frames, or 2·frames
  int64_t positions = 0, channels = 0;  // of the latents
  const EulerCoefficients* now = nullptr;
  const float* latent = nullptr;  // [frames,positions,channels]
  int64_t concat_rows = 1;        // divides rows: each stands for as many rows as fit
  const float* concat = nullptr;  // [concat_rows,positions,channels]
  Array y = {};                   // [rows,positions,2·channels]
};

// The sinusoids of c_noise (core/sinusoids.h), the same in every row.
struct TimestepSinusoids {
  int64_t rows = 0, width = 0;
  const EulerCoefficients* now = nullptr;
  float* y = nullptr;  // [rows,width]
};

// One step of Euler's method without churn (Karras et al. 2022, Algorithm 1) in place, after guidance with a
// scale per frame: with u and c the denoised halves,
// d = u + scale·(c - u); latent += (latent - d)/sigma·(next - sigma).
struct EulerStep {
  int64_t frames = 0, elements = 0;  // numbers of a frame
  const EulerCoefficients* now = nullptr;
  const float* prediction = nullptr;  // [2·frames,elements], the unconditional half first
  const float* scales = nullptr;  // [frames], or null: prediction is the conditional half alone, and d is c
  float* latent = nullptr;        // [frames,elements]
};

// y = (latent_scale·latent + noise_scale·noise)/divisor in double, rounded once, as often as `copies`: what a
// network for pictures is given.
struct NoisyLatents {
  int64_t count = 0, copies = 1;
  const float* latent = nullptr;
  const float* noise = nullptr;  // or null
  double latent_scale = 1, noise_scale = 0, divisor = 1;
  Array y = {};  // [copies,count]
};

// y = scale·(mean + exp(clamp(log variance, -30, 20)/2)·noise): a sample of what an autoencoder's encoder
// makes of a picture (Kingma & Welling 2014).
struct SampleMoments {
  int64_t positions = 0, channels = 0;
  const float* moments = nullptr;  // [positions,2·channels]: mean, logarithm of the variance
  const float* noise = nullptr;    // [positions,channels], or null: the mean
  float scale = 1;
  float* y = nullptr;  // [positions,channels]
};

// y[i][j] = scale·x[min(i,height-1)][min(j,width-1)] + shift: the last row and column are repeated as far as
// they must, or cut off.
struct FitPicture {
  int64_t height = 0, width = 0, channels = 0;
  int64_t out_height = 0, out_width = 0;
  float scale = 1, shift = 0;
  const float* x = nullptr;  // [height,width,channels]
  float* y = nullptr;        // [out_height,out_width,channels]
};
// d_x += scale·Σ d_y
struct FitPictureBackward {
  FitPicture forward;  // x and y are not read
  const float* d_y = nullptr;
  float* d_x = nullptr;
};

}  // namespace eg4d
