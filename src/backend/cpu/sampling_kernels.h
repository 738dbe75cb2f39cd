#pragma once

// The CPU kernels of the operations of sampling, in sampling.cpp. They may touch "device" memory freely.

#include "backend/sampling_ops.h"

namespace eg4d::cpu {

void network_input(const NetworkInput&);
void timestep_sinusoids(const TimestepSinusoids&);
void euler_step(const EulerStep&);
void noisy_latents(const NoisyLatents&);
void sample_moments(const SampleMoments&);
void fit_picture(const FitPicture&);
void fit_picture_backward(const FitPictureBackward&);

}  // namespace eg4d::cpu
