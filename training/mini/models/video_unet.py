"""The spatio-temporal UNet of Stable Video Diffusion and SV3D, with the key names of their published files.

Blattmann et al. 2023 (SVD), Voleti et al. 2024 (SV3D). Only sizes are free: `VideoUNet.Sizes`.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from .layers import (GROUPS, CrossAttention, FeedForward, SelfAttention, frame_convolution, over_frames, sinusoids, to_picture,
                     to_tokens, zeroed)


class ResidualBranchOverFrames(nn.Module):
    def __init__(self, channels, embedding):
        super().__init__()
        self.in_layers = nn.Sequential(nn.GroupNorm(GROUPS, channels), nn.SiLU(), frame_convolution(channels, channels))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embedding, channels))
        self.out_layers = nn.Sequential(nn.GroupNorm(GROUPS, channels), nn.SiLU(), nn.Identity(),
                                        zeroed(frame_convolution(channels, channels)))

    def forward(self, x, embedding, frames):
        return over_frames(x, frames, self.in_layers[0], self.in_layers[2], self.out_layers[0], self.out_layers[3],
                           self.emb_layers(embedding))


class Mixer(nn.Module):
    """sigmoid(mix_factor)·spatial + the rest·temporal."""

    def __init__(self):
        super().__init__()
        self.mix_factor = nn.Parameter(torch.zeros(1))

    def forward(self, spatial, temporal):
        weight = torch.sigmoid(self.mix_factor)
        return weight * spatial + (1 - weight) * temporal


class ResidualBlock(nn.Module):
    def __init__(self, channels_in, channels_out, embedding):
        super().__init__()
        self.in_layers = nn.Sequential(nn.GroupNorm(GROUPS, channels_in), nn.SiLU(), nn.Conv2d(channels_in, channels_out, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embedding, channels_out))
        self.out_layers = nn.Sequential(nn.GroupNorm(GROUPS, channels_out), nn.SiLU(), nn.Identity(),
                                        zeroed(nn.Conv2d(channels_out, channels_out, 3, padding=1)))
        self.time_stack = ResidualBranchOverFrames(channels_out, embedding)
        self.time_mixer = Mixer()
        if channels_in != channels_out:
            self.skip_connection = nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x, embedding, frames):
        h = self.in_layers(x) + self.emb_layers(embedding)[..., None, None]
        skip = self.skip_connection(x) if hasattr(self, "skip_connection") else x
        y = skip + self.out_layers(h)
        return self.time_mixer(y, y + self.time_stack(y, embedding, frames))


class SpatialBlock(nn.Module):
    def __init__(self, channels, context, head, inner):
        super().__init__()
        self.attn1 = SelfAttention(channels, head)
        self.ff = FeedForward(channels, inner)
        self.attn2 = CrossAttention(channels, context, head)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(channels) for _ in range(3))

    def forward(self, x, context, injection=None):
        queries = self.norm1(x)
        keys = queries if injection is None else self.norm1(injection(x))
        x = x + self.attn1(queries, keys)
        x = x + self.attn2.of_one_word(context)
        return x + self.ff(self.norm3(x))


class TemporalBlock(nn.Module):
    def __init__(self, channels, context, head, inner):
        super().__init__()
        self.norm_in = nn.LayerNorm(channels)
        self.ff_in = FeedForward(channels, inner)
        self.attn1 = SelfAttention(channels, head)
        self.ff = FeedForward(channels, inner)
        self.norm2 = nn.LayerNorm(channels)
        self.attn2 = CrossAttention(channels, context, head)
        self.norm1, self.norm3 = nn.LayerNorm(channels), nn.LayerNorm(channels)

    def forward(self, x, context, frames):
        """x [videos·frames,tokens,C]; context: that of every video's first frame, [videos,context]."""
        bt, tokens, channels = x.shape
        videos = bt // frames
        x = x + self.ff_in(self.norm_in(x))
        turned = x.reshape(videos, frames, tokens, channels).transpose(1, 2).reshape(videos * tokens, frames, channels)
        turned = turned + self.attn1(self.norm1(turned))
        x = turned.reshape(videos, tokens, frames, channels).transpose(1, 2).reshape(bt, tokens, channels)
        x = x + self.attn2.of_one_word(context).repeat_interleave(frames, 0)
        return x + self.ff(self.norm3(x))


def _without_use(block):
    """Over one word of context, queries, keys and their norm have no influence; the published files have them."""
    for module in (block.attn2.to_q, block.attn2.to_k):
        zeroed(module)
    for module in (block.attn2.to_q, block.attn2.to_k, block.norm2):
        module.requires_grad_(False)
    return block


class VideoTransformer(nn.Module):
    def __init__(self, channels, context, head, ratio):
        super().__init__()
        inner = int(channels * ratio)
        self.norm = nn.GroupNorm(GROUPS, channels, eps=1e-6)
        self.proj_in = nn.Linear(channels, channels)
        self.transformer_blocks = nn.ModuleList([_without_use(SpatialBlock(channels, context, head, inner))])
        self.proj_out = zeroed(nn.Linear(channels, channels))
        self.time_stack = nn.ModuleList([_without_use(TemporalBlock(channels, context, head, inner))])
        self.time_pos_embed = nn.Sequential(nn.Linear(channels, inner), nn.SiLU(), nn.Linear(inner, channels))
        self.time_mixer = Mixer()
        self.channels = channels

    def forward(self, x, context, frames, injection=None):
        n, c, h, w = x.shape
        tokens = self.proj_in(to_tokens(self.norm(x)))
        numbers = torch.arange(frames, device=x.device)
        position = self.time_pos_embed(sinusoids(numbers, c)).repeat(n // frames, 1)[:, None]
        for spatial, temporal in zip(self.transformer_blocks, self.time_stack):
            tokens = spatial(tokens, context, injection)
            mixed = temporal(tokens + position, context[::frames], frames)
            tokens = self.time_mixer(tokens, mixed)
        return x + to_picture(self.proj_out(tokens), h, w)


class Halve(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x):
        return self.op(x)


class Double(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class VideoUNet(nn.Module):
    @dataclass
    class Sizes:
        vector: int  # width of the vector condition: 768 in SVD, 1280 in SV3D_p
        context: int = 64  # of the image embedding
        channels: int = 64
        factors: tuple = (1, 1.5)  # channels of each level
        blocks: int = 2  # residual blocks a level
        attention: tuple = (2,)  # reductions at which transformers follow them; the middle has one always
        head: int = 32  # channels of an attention head
        ratio: float = 2  # of the feed forwards' inner width
        embedding: int = 256
        latents: int = 4

    def __init__(self, sizes):
        super().__init__()
        self.sizes = s = sizes
        embedding = s.embedding
        self.time_embed = nn.Sequential(nn.Linear(s.channels, embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        self.label_emb = nn.Sequential(nn.Sequential(nn.Linear(s.vector, embedding), nn.SiLU(), nn.Linear(embedding, embedding)))
        transformer = lambda c: VideoTransformer(c, s.context, s.head, s.ratio)
        channels, reduction = s.channels, 1
        self.input_blocks = nn.ModuleList([nn.ModuleList([nn.Conv2d(2 * s.latents, channels, 3, padding=1)])])
        skips = [channels]
        for level, factor in enumerate(s.factors):
            for _ in range(s.blocks):
                wide = int(s.channels * factor)
                entry = [ResidualBlock(channels, wide, embedding)]
                channels = wide
                if reduction in s.attention:
                    entry.append(transformer(channels))
                self.input_blocks.append(nn.ModuleList(entry))
                skips.append(channels)
            if level + 1 < len(s.factors):
                self.input_blocks.append(nn.ModuleList([Halve(channels)]))
                skips.append(channels)
                reduction *= 2
        self.middle_block = nn.ModuleList([ResidualBlock(channels, channels, embedding), transformer(channels),
                                           ResidualBlock(channels, channels, embedding)])
        self.output_blocks = nn.ModuleList()
        for level, factor in reversed(list(enumerate(s.factors))):
            for i in range(s.blocks + 1):
                wide = int(s.channels * factor)
                entry = [ResidualBlock(channels + skips.pop(), wide, embedding)]
                channels = wide
                if reduction in s.attention:
                    entry.append(transformer(channels))
                if level > 0 and i == s.blocks:
                    entry.append(Double(channels))
                    reduction //= 2
                self.output_blocks.append(nn.ModuleList(entry))
        self.out = nn.Sequential(nn.GroupNorm(GROUPS, channels), nn.SiLU(), zeroed(nn.Conv2d(channels, s.latents, 3, padding=1)))

    def forward(self, x, steps, context, vector, frames, injection=None):
        """x [videos·frames,8,H,W] (scaled noisy latents, then the concatenated condition), steps [N] (c_noise), context
        [N,context], vector [N,vector] → [N,4,H,W]. injection(tokens): see diffusion.Injection."""
        embedding = self.time_embed(sinusoids(steps, self.sizes.channels)) + self.label_emb(vector)

        def run(entry, h):
            for layer in entry:
                if isinstance(layer, ResidualBlock):
                    h = layer(h, embedding, frames)
                elif isinstance(layer, VideoTransformer):
                    h = layer(h, context, frames, injection)
                else:
                    h = layer(h)
            return h

        h = x.contiguous(memory_format=torch.channels_last)
        skips = []
        for entry in self.input_blocks:
            h = run(entry, h)
            skips.append(h)
        h = run(self.middle_block, h)
        for entry in self.output_blocks:
            h = run(entry, torch.cat([h, skips.pop()], 1))
        return self.out(h)
