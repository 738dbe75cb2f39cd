"""Layers that the networks share. Pictures are [N,C,H,W] in channels-last memory, so that tokens [N,H·W,C] are views."""

import math

import torch
from torch import nn
from torch.nn import functional as F

from ..compat import attention

GROUPS = 32


def sinusoids(values, width):
    """[N] → [N,width]: cosines, then sines; frequencies 10000^(-i/half) (Vaswani et al. 2017, as in diffusion UNets)."""
    half = width // 2
    frequencies = torch.exp(torch.arange(half, device=values.device, dtype=torch.float32) * (-math.log(10000.0) / half))
    angles = values.float()[:, None] * frequencies
    return torch.cat([torch.cos(angles), torch.sin(angles)], -1)


def zeroed(module):
    """Starts as a layer that adds nothing."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


def to_tokens(x):
    n, c, h, w = x.shape
    return x.permute(0, 2, 3, 1).reshape(n, h * w, c)


def to_picture(tokens, height, width):
    n, _, c = tokens.shape
    return tokens.reshape(n, height, width, c).permute(0, 3, 1, 2)


def over_frames(x, frames, norm_first, convolution_first, norm_second, convolution_second, shift=None):
    """The 3×1×1 residual branch of [videos·frames,C,H,W]: norm, SiLU, convolution, shift, norm, SiLU, convolution."""
    bt, c, h, w = x.shape
    videos = bt // frames
    # [videos,C,frames,H·W] with channels last in memory: no copy.
    y = x.permute(0, 2, 3, 1).reshape(videos, frames, h * w, c).permute(0, 3, 1, 2)
    kernel = lambda layer: layer.weight.squeeze(-1)
    y = F.conv2d(F.silu(norm_first(y)), kernel(convolution_first), convolution_first.bias, padding=(1, 0))
    if shift is not None:
        y = y + shift.reshape(videos, frames, -1).transpose(1, 2)[..., None]
    y = F.conv2d(F.silu(norm_second(y)), kernel(convolution_second), convolution_second.bias, padding=(1, 0))
    return y.permute(0, 2, 3, 1).reshape(bt, h, w, -1).permute(0, 3, 1, 2)


def frame_convolution(channels_in, channels_out):
    return nn.Conv3d(channels_in, channels_out, (3, 1, 1), padding=(1, 0, 0))


class SelfAttention(nn.Module):
    def __init__(self, channels, head_channels):
        super().__init__()
        self.heads = channels // head_channels
        self.to_q = nn.Linear(channels, channels, bias=False)
        self.to_k = nn.Linear(channels, channels, bias=False)
        self.to_v = nn.Linear(channels, channels, bias=False)
        self.to_out = nn.Sequential(zeroed(nn.Linear(channels, channels)))

    def forward(self, queries, keys=None):
        keys = queries if keys is None else keys
        n, tokens, channels = queries.shape
        split = lambda x: x.reshape(n, -1, self.heads, channels // self.heads).transpose(1, 2)
        y = attention(split(self.to_q(queries)), split(self.to_k(keys)), split(self.to_v(keys)))
        return self.to_out(y.transpose(1, 2).reshape(n, tokens, channels))


class CrossAttention(nn.Module):
    def __init__(self, channels, context, head_channels):
        super().__init__()
        self.heads = channels // head_channels
        self.to_q = nn.Linear(channels, channels, bias=False)
        self.to_k = nn.Linear(context, channels, bias=False)
        self.to_v = nn.Linear(context, channels, bias=False)
        self.to_out = nn.Sequential(zeroed(nn.Linear(channels, channels)))

    def forward(self, x, context):
        """x [N,tokens,C], context [N,words,context]."""
        n, tokens, channels = x.shape
        split = lambda y: y.reshape(n, -1, self.heads, channels // self.heads).transpose(1, 2)
        y = attention(split(self.to_q(x)), split(self.to_k(context)), split(self.to_v(context)))
        return self.to_out(y.transpose(1, 2).reshape(n, tokens, channels))

    def of_one_word(self, context):
        """context [N,context] → [N,1,C]: over one word the softmax is 1 whatever the queries are."""
        return self.to_out(self.to_v(context))[:, None]


class _Gated(nn.Module):
    def __init__(self, channels, inner):
        super().__init__()
        self.proj = nn.Linear(channels, 2 * inner)

    def forward(self, x):
        value, gate = self.proj(x).chunk(2, -1)
        return value * F.gelu(gate)


class FeedForward(nn.Module):
    def __init__(self, channels, inner):
        super().__init__()
        self.net = nn.Sequential(_Gated(channels, inner), nn.Identity(), zeroed(nn.Linear(inner, channels)))

    def forward(self, x):
        return self.net(x)
