"""Denoising with v-prediction in the EDM formulation (Karras et al. 2022), and SDXL's one-step image to image."""

import math

import torch

from ..compat import autocast


def v_scaling(sigma):
    """c_skip, c_out, c_in, c_noise for data of unit deviation."""
    root = torch.sqrt(sigma**2 + 1)
    return 1 / root**2, -sigma / root, 1 / root, 0.25 * torch.log(sigma)


def edm_sigmas(steps, sigma_min=0.002, sigma_max=700.0, rho=7.0):
    """[steps+1], falling; the last is 0."""
    ramp = torch.linspace(0, 1, steps)
    low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    return torch.cat([(high + ramp * (low - high)) ** rho, torch.zeros(1)])


def linear_guidance(frames, low, high):
    return torch.linspace(low, high, frames)


def triangle_guidance(frames, low, high):
    ramp = torch.linspace(0, 1, frames)
    return 2 * (ramp - torch.floor(ramp + 0.5)).abs() * (high - low) + low


class Injection:
    """EG4D's attention injection between consecutive pictures of a video, for one denoising step."""

    def __init__(self, strength=0.5, ema=True):
        self.strength, self.ema, self._kept, self._layer, self._first = strength, ema, [], 0, True

    def next_video(self, first):
        self._layer, self._first = 0, first

    def __call__(self, tokens):
        if self._first:
            self._kept.append(tokens)
            return tokens
        reference = self._kept[self._layer]
        mixed = reference * self.strength + tokens * (1 - self.strength)
        if self.ema:
            self._kept[self._layer] = mixed
        self._layer += 1
        return mixed


def denoise(network, x, sigma, context, concat, vector, frames, injection=None):
    """x, concat [videos·frames,4,h,w], sigma [videos·frames] → the clean latents that the network expects."""
    c_skip, c_out, c_in, c_noise = (c[:, None, None, None] if i < 3 else c for i, c in enumerate(v_scaling(sigma)))
    prediction = network(torch.cat([x * c_in, concat], 1), c_noise, context, vector, frames, injection)
    return c_skip * x + c_out * prediction.float()


@torch.no_grad()
def sample(network, noise, context, concat, vector, guidance, sigmas, injection=None):
    """Euler's method, one denoising step of all videos before the next (as eg4d does it). noise [videos,frames,4,h,w]; context
    [videos,context]; concat [videos,4,h,w]; vector [frames,width] or [videos,frames,width]; guidance [frames]; injection(): makes an Injection, or None: the
    videos are then independent of each other and run in one batch."""
    device = noise.device
    videos, frames = noise.shape[:2]
    guidance, sigmas = guidance.to(device), sigmas.to(device)
    guided = not bool((guidance == 1).all())
    vector = vector.expand(videos, -1, -1)
    x = noise * torch.sqrt(1 + sigmas[0] ** 2)

    def clean(rows, sigma, hook):
        count = len(rows)
        c, z = context[rows].repeat_interleave(frames, 0), concat[rows].repeat_interleave(frames, 0)
        both, at = x[rows].flatten(0, 1), vector[rows].flatten(0, 1)
        if guided:
            c, z = torch.cat([torch.zeros_like(c), c]), torch.cat([torch.zeros_like(z), z])
            both, at = torch.cat([both, both]), torch.cat([at, at])
        with autocast():
            y = denoise(network, both, sigma.expand(len(both)), c, z, at, frames, hook)
        if guided:
            u, y = y.reshape(2, count, frames, *y.shape[1:])
            return u + guidance[None, :, None, None, None] * (y - u)
        return y.reshape(count, frames, *y.shape[1:])

    groups = [torch.arange(videos, device=device)] if injection is None else [torch.tensor([i], device=device) for i in range(videos)]
    for i in range(len(sigmas) - 1):
        hook = injection() if injection else None
        for k, rows in enumerate(groups):
            if hook:
                hook.next_video(k == 0)
            y = clean(rows, sigmas[i], hook)
            x[rows] = x[rows] + (x[rows] - y) * ((sigmas[i + 1] - sigmas[i]) / sigmas[i])
    return x


def sdxl_sigma(step, beta_start=0.00085, beta_end=0.012, count=1000):
    """Noise level of the integer time steps `step` in SDXL's scaled-linear schedule."""
    betas = torch.linspace(math.sqrt(beta_start), math.sqrt(beta_end), count, dtype=torch.float64) ** 2
    kept = torch.cumprod(1 - betas, 0)
    return torch.sqrt((1 - kept) / kept).float().to(step.device)[step]
