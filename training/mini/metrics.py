"""PSNR and SSIM of pictures in [0,1], [N,3,H,W]; one figure per picture."""

import torch
from torch.nn import functional as F


def psnr(ours, theirs):
    squared = (ours - theirs).pow(2).mean((1, 2, 3)).clamp(min=1e-10)
    return -10 * torch.log10(squared)


def ssim(ours, theirs):
    """Wang et al. 2004: Gaussian window of 11 pixels, deviation 1.5."""
    axis = torch.arange(11, device=ours.device, dtype=torch.float32) - 5
    line = torch.exp(-(axis**2) / (2 * 1.5**2))
    line = line / line.sum()
    window = (line[:, None] * line[None])[None, None].expand(3, 1, 11, 11)
    mean = lambda x: F.conv2d(x, window, padding=5, groups=3)
    a, b = mean(ours), mean(theirs)
    aa, bb, ab = mean(ours * ours) - a * a, mean(theirs * theirs) - b * b, mean(ours * theirs) - a * b
    c1, c2 = 0.01**2, 0.03**2
    return (((2 * a * b + c1) * (2 * ab + c2)) / ((a * a + b * b + c1) * (aa + bb + c2))).mean((1, 2, 3))
