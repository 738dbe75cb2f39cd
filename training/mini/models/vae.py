"""The KL autoencoder of Stable Diffusion (Rombach et al. 2022) and SVD's temporal decoder, with their key names."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from ..compat import Layout, attention
from .layers import GROUPS, frame_convolution, over_frames, to_picture, to_tokens, zeroed

EPSILON = 1e-6
SVD_SCALE, SDXL_SCALE = 0.18215, 0.13025  # constants of the samplers: latents times this have unit deviation


class BranchOverFrames(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.in_layers = nn.Sequential(nn.GroupNorm(GROUPS, channels), nn.SiLU(), frame_convolution(channels, channels))
        self.out_layers = nn.Sequential(nn.GroupNorm(GROUPS, channels), nn.SiLU(), nn.Identity(),
                                        zeroed(frame_convolution(channels, channels)))


class Block(nn.Module):
    def __init__(self, channels_in, channels_out, temporal=False):
        super().__init__()
        self.norm1 = nn.GroupNorm(GROUPS, channels_in, eps=EPSILON)
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.norm2 = nn.GroupNorm(GROUPS, channels_out, eps=EPSILON)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1)
        if channels_in != channels_out:
            self.nin_shortcut = nn.Conv2d(channels_in, channels_out, 1)
        if temporal:
            self.time_stack = BranchOverFrames(channels_out)
            self.mix_factor = nn.Parameter(torch.zeros(1))

    def forward(self, x, frames=1):
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        y = h + (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x)
        if not hasattr(self, "time_stack"):
            return y
        t = self.time_stack
        change = over_frames(y, frames, t.in_layers[0], t.in_layers[2], t.out_layers[0], t.out_layers[3])
        # sigmoid(mix_factor)·(y + change) + the rest·y: the other way round than in the UNet.
        return y + torch.sigmoid(self.mix_factor) * change


class Attention(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, channels, eps=EPSILON)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(channels, channels, 1) for _ in range(4))

    def forward(self, x):
        n, c, h, w = x.shape
        normed = self.norm(x)
        q, k, v = (to_tokens(layer(normed))[:, None] for layer in (self.q, self.k, self.v))
        return x + self.proj_out(to_picture(attention(q, k, v)[:, 0], h, w))


class Middle(nn.Module):
    def __init__(self, channels, temporal=False):
        super().__init__()
        self.block_1 = Block(channels, channels, temporal)
        self.attn_1 = Attention(channels)
        self.block_2 = Block(channels, channels, temporal)

    def forward(self, x, frames=1):
        return self.block_2(self.attn_1(self.block_1(x, frames)), frames)


class _Level(nn.Module):
    pass


class _Resample(nn.Module):
    def __init__(self, channels, stride):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=stride, padding=1 if stride == 1 else 0)


@dataclass
class Sizes:
    channels: int = 32
    factors: tuple = (1, 1, 2, 3)
    blocks: int = 1  # a level of the encoder; the decoder has one more
    latents: int = 4


class Encoder(nn.Module):
    def __init__(self, sizes):
        super().__init__()
        channels = sizes.channels
        self.conv_in = nn.Conv2d(3, channels, 3, padding=1)
        self.down = nn.ModuleList()
        for i, factor in enumerate(sizes.factors):
            level, wide = _Level(), sizes.channels * factor
            level.block = nn.ModuleList()
            for _ in range(sizes.blocks):
                level.block.append(Block(channels, wide))
                channels = wide
            if i + 1 < len(sizes.factors):
                level.downsample = _Resample(channels, 2)
            self.down.append(level)
        self.mid = Middle(channels)
        self.norm_out = nn.GroupNorm(GROUPS, channels, eps=EPSILON)
        self.conv_out = nn.Conv2d(channels, 2 * sizes.latents, 3, padding=1)

    def forward(self, pictures):
        """[N,3,H,W] in [-1,1] → moments [N,8,H/8,W/8]."""
        h = self.conv_in(pictures.contiguous(memory_format=Layout.pictures))
        for level in self.down:
            for block in level.block:
                h = block(h)
            if hasattr(level, "downsample"):
                h = level.downsample.conv(F.pad(h, (0, 1, 0, 1)))
        return self.conv_out(F.silu(self.norm_out(self.mid(h))))


class OutputOverFrames(nn.Conv2d):
    """The last convolution of the temporal decoder, followed by one over the frames."""

    def __init__(self, channels):
        super().__init__(channels, 3, 3, padding=1)
        self.time_mix_conv = frame_convolution(3, 3)
        nn.init.zeros_(self.time_mix_conv.bias)
        with torch.no_grad():
            self.time_mix_conv.weight.zero_()
            self.time_mix_conv.weight[range(3), range(3), 1] = 1

    def forward(self, x, frames):
        y = super().forward(x)
        bt, c, h, w = y.shape
        y = y.reshape(bt // frames, frames, c, h * w).transpose(1, 2)
        y = F.conv2d(y, self.time_mix_conv.weight.squeeze(-1), self.time_mix_conv.bias, padding=(1, 0))
        return y.transpose(1, 2).reshape(bt, c, h, w)


class Decoder(nn.Module):
    def __init__(self, sizes, temporal=False):
        super().__init__()
        channels = sizes.channels * sizes.factors[-1]
        self.temporal = temporal
        self.conv_in = nn.Conv2d(sizes.latents, channels, 3, padding=1)
        self.mid = Middle(channels, temporal)
        levels = []
        for i in reversed(range(len(sizes.factors))):
            level, wide = _Level(), sizes.channels * sizes.factors[i]
            level.block = nn.ModuleList()
            for _ in range(sizes.blocks + 1):
                level.block.append(Block(channels, wide, temporal))
                channels = wide
            if i > 0:
                level.upsample = _Resample(channels, 1)
            levels.insert(0, level)
        self.up = nn.ModuleList(levels)
        self.norm_out = nn.GroupNorm(GROUPS, channels, eps=EPSILON)
        self.conv_out = OutputOverFrames(channels) if temporal else nn.Conv2d(channels, 3, 3, padding=1)

    def forward(self, latents, frames=1):
        """Unscaled latents [N,4,h,w] → [N,3,8h,8w]; frames: of one video, which the temporal layers mix."""
        h = self.conv_in(latents.contiguous(memory_format=Layout.pictures))
        h = self.mid(h, frames)
        for level in reversed(self.up):
            for block in level.block:
                h = block(h, frames)
            if hasattr(level, "upsample"):
                h = level.upsample.conv(F.interpolate(h, scale_factor=2.0, mode="nearest"))
        h = F.silu(self.norm_out(h))
        return self.conv_out(h, frames) if self.temporal else self.conv_out(h)


class Autoencoder(nn.Module):
    """Encoder and plain decoder. Latents are those of SVD: times SVD_SCALE they have unit deviation after `normalise`."""

    def __init__(self, sizes=None):
        super().__init__()
        self.sizes = sizes or Sizes()
        self.encoder = Encoder(self.sizes)
        self.decoder = Decoder(self.sizes)

    def normalise(self, mean, deviation):
        """Folds (z - mean)/(deviation·SVD_SCALE) into the encoder's last convolution and its inverse into the decoder's first one,
        exact but for the border pixels of the latter (its zero padding), which further training mends. mean, deviation [4]."""
        scale, count = 1 / (deviation * SVD_SCALE), len(mean)
        with torch.no_grad():
            out, into = self.encoder.conv_out, self.decoder.conv_in
            into.bias += (into.weight * mean[None, :, None, None]).sum((1, 2, 3))
            into.weight /= scale[None, :, None, None]
            out.weight[:count] *= scale[:, None, None, None]
            out.bias[:count] = (out.bias[:count] - mean) * scale
            out.bias[count:] += 2 * torch.log(scale)


def moments_to_sample(moments, noise):
    mean, log_variance = moments.chunk(2, 1)
    return mean + torch.exp(0.5 * log_variance.clamp(-30, 20)) * noise
