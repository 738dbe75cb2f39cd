#include "backend/cuda/check.h"
#include "backend/cuda/networks/network_kernels.h"
#include "backend/cuda/networks/typed_arrays.cuh"

namespace eg4d::cuda {
namespace {

__global__ void network_input_kernel(NetworkInput a) {
  const int64_t at = thread_number();
  if (at >= a.rows * a.positions * 2 * a.channels) return;
  const int64_t channel = at % (2 * a.channels), pixel = at / (2 * a.channels),
                position = pixel % a.positions, row = pixel / a.positions;
  float value;
  if (channel < a.channels)
    value = a.latent[(row % a.frames * a.positions + position) * a.channels + channel] * a.now->c_in;
  else
    value = a.concat[(row / (a.rows / a.concat_rows) * a.positions + position) * a.channels + channel -
                     a.channels];
  store(a.y, at, value);
}

__global__ void timestep_sinusoids_kernel(TimestepSinusoids a) {
  const int64_t at = thread_number();
  if (at >= a.rows * a.width) return;
  const int64_t half = a.width / 2, i = at % a.width;
  float value = 0;
  if (i < 2 * half) {
    const float exponent = -9.210340371976184f * static_cast<float>(i % half) / static_cast<float>(half);
    const float angle = a.now->c_noise * expf(exponent);
    value = i < half ? cosf(angle) : sinf(angle);
  }
  a.y[at] = value;
}

__global__ void euler_step_kernel(EulerStep a) {
  const int64_t at = thread_number(), count = a.frames * a.elements;
  if (at >= count) return;
  const EulerCoefficients now = *a.now;
  const float x = a.latent[at];
  float d = now.c_out * a.prediction[at] + now.c_skip * x;
  if (a.scales) {
    const float conditional = now.c_out * a.prediction[count + at] + now.c_skip * x;
    d = d + a.scales[at / a.elements] * (conditional - d);
  }
  a.latent[at] = x + (x - d) / now.sigma * (now.next - now.sigma);
}

__global__ void noisy_latents_kernel(NoisyLatents a) {
  const int64_t at = thread_number();
  if (at >= a.count) return;
  double sum = a.latent_scale * static_cast<double>(a.latent[at]);
  if (a.noise) sum += a.noise_scale * static_cast<double>(a.noise[at]);
  const auto value = static_cast<float>(sum / a.divisor);
  for (int64_t copy = 0; copy < a.copies; ++copy) store(a.y, copy * a.count + at, value);
}

__global__ void sample_moments_kernel(SampleMoments a) {
  const int64_t at = thread_number();
  if (at >= a.positions * a.channels) return;
  const float* const mean = a.moments + at / a.channels * 2 * a.channels + at % a.channels;
  float value = *mean;
  if (a.noise) value += expf(0.5f * fminf(fmaxf(mean[a.channels], -30.0f), 20.0f)) * a.noise[at];
  a.y[at] = value * a.scale;
}

__global__ void fit_picture_kernel(FitPicture a) {
  const int64_t at = thread_number();
  if (at >= a.out_height * a.out_width * a.channels) return;
  const int64_t channel = at % a.channels, column = min(at / a.channels % a.out_width, a.width - 1),
                row = min(at / a.channels / a.out_width, a.height - 1);
  a.y[at] = a.scale * a.x[(row * a.width + column) * a.channels + channel] + a.shift;
}

__global__ void fit_picture_backward_kernel(FitPictureBackward b) {
  const FitPicture& a = b.forward;
  const int64_t at = thread_number();
  if (at >= a.height * a.width * a.channels) return;
  const int64_t channel = at % a.channels, column = at / a.channels % a.width,
                row = at / a.channels / a.width;
  // What the last one of an axis was repeated to.
  const int64_t rows_end = row + 1 == a.height ? a.out_height : min(row + 1, a.out_height);
  const int64_t columns_end = column + 1 == a.width ? a.out_width : min(column + 1, a.out_width);
  float sum = 0;
  for (int64_t y = row; y < rows_end; ++y)
    for (int64_t x = column; x < columns_end; ++x)
      sum += a.scale * b.d_y[(y * a.out_width + x) * a.channels + channel];
  b.d_x[at] += sum;
}

}  // namespace

void network_input(const NetworkInput& a, cudaStream_t stream) {
  const int64_t count = a.rows * a.positions * 2 * a.channels;
  if (count == 0) return;
  network_input_kernel<<<blocks_for(count), kThreads, 0, stream>>>(a);
  check_launch("preparing a network's input");
}

void timestep_sinusoids(const TimestepSinusoids& a, cudaStream_t stream) {
  if (a.rows * a.width == 0) return;
  timestep_sinusoids_kernel<<<blocks_for(a.rows * a.width), kThreads, 0, stream>>>(a);
  check_launch("preparing a time step");
}

void euler_step(const EulerStep& a, cudaStream_t stream) {
  if (a.frames * a.elements == 0) return;
  euler_step_kernel<<<blocks_for(a.frames * a.elements), kThreads, 0, stream>>>(a);
  check_launch("making a step");
}

void noisy_latents(const NoisyLatents& a, cudaStream_t stream) {
  if (a.count == 0) return;
  noisy_latents_kernel<<<blocks_for(a.count), kThreads, 0, stream>>>(a);
  check_launch("adding noise");
}

void sample_moments(const SampleMoments& a, cudaStream_t stream) {
  if (a.positions * a.channels == 0) return;
  sample_moments_kernel<<<blocks_for(a.positions * a.channels), kThreads, 0, stream>>>(a);
  check_launch("drawing latents");
}

void fit_picture(const FitPicture& a, cudaStream_t stream) {
  const int64_t count = a.out_height * a.out_width * a.channels;
  if (count == 0) return;
  fit_picture_kernel<<<blocks_for(count), kThreads, 0, stream>>>(a);
  check_launch("fitting a picture");
}

void fit_picture_backward(const FitPictureBackward& a, cudaStream_t stream) {
  const FitPicture& f = a.forward;
  const int64_t count = f.height * f.width * f.channels;
  if (count == 0) return;
  fit_picture_backward_kernel<<<blocks_for(count), kThreads, 0, stream>>>(a);
  check_launch("fitting a picture backwards");
}

}  // namespace eg4d::cuda
