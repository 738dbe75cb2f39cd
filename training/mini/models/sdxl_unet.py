"""The UNet of SDXL (Podell et al. 2023) with the key names of its diffusers folder."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from .layers import GROUPS, CrossAttention, FeedForward, SelfAttention, sinusoids, to_picture, to_tokens, zeroed


class _Resnet(nn.Module):
    def __init__(self, channels_in, channels_out, embedding):
        super().__init__()
        self.norm1 = nn.GroupNorm(GROUPS, channels_in, eps=1e-5)
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.time_emb_proj = nn.Linear(embedding, channels_out)
        self.norm2 = nn.GroupNorm(GROUPS, channels_out, eps=1e-5)
        self.conv2 = zeroed(nn.Conv2d(channels_out, channels_out, 3, padding=1))
        if channels_in != channels_out:
            self.conv_shortcut = nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x, embedding):
        h = self.conv1(F.silu(self.norm1(x))) + self.time_emb_proj(F.silu(embedding))[..., None, None]
        h = self.conv2(F.silu(self.norm2(h)))
        return h + (self.conv_shortcut(x) if hasattr(self, "conv_shortcut") else x)


class _Block(nn.Module):
    def __init__(self, channels, context, head, inner):
        super().__init__()
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(channels) for _ in range(3))
        self.attn1 = SelfAttention(channels, head)
        self.attn2 = CrossAttention(channels, context, head)
        self.ff = FeedForward(channels, inner)

    def forward(self, x, context):
        x = x + self.attn1(self.norm1(x))
        x = x + self.attn2(self.norm2(x), context)
        return x + self.ff(self.norm3(x))


class _Transformer(nn.Module):
    def __init__(self, channels, context, head, depth):
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, channels, eps=1e-6)
        self.proj_in = nn.Linear(channels, channels)
        self.transformer_blocks = nn.ModuleList([_Block(channels, context, head, 4 * channels) for _ in range(depth)])
        self.proj_out = zeroed(nn.Linear(channels, channels))

    def forward(self, x, context):
        h, w = x.shape[2:]
        tokens = self.proj_in(to_tokens(self.norm(x)))
        for block in self.transformer_blocks:
            tokens = block(tokens, context)
        return x + to_picture(self.proj_out(tokens), h, w)


class _Embedding(nn.Module):
    def __init__(self, width, out):
        super().__init__()
        self.linear_1, self.linear_2 = nn.Linear(width, out), nn.Linear(out, out)

    def forward(self, x):
        return self.linear_2(F.silu(self.linear_1(x)))


class _Resample(nn.Module):
    def __init__(self, channels, stride):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=stride, padding=1)


class _Stage(nn.Module):
    """resnets, attentions where there are any, and a resampler."""


class SdxlUNet(nn.Module):
    @dataclass
    class Sizes:
        context: int  # of the text: both encoders' widths
        pooled: int  # of the second encoder's pooled output
        channels: tuple = (64, 96, 128)
        blocks: int = 1
        depth: tuple = (0, 1, 1)  # transformer blocks of a level's attentions; 0: the level has none
        head: int = 32
        time_width: int = 32  # of the sinusoids of each of the six sizes
        latents: int = 4

    def __init__(self, sizes):
        super().__init__()
        self.sizes = s = sizes
        first, embedding = s.channels[0], 4 * s.channels[0]
        transformer = lambda level: _Transformer(s.channels[level], s.context, s.head, s.depth[level])
        self.conv_in = nn.Conv2d(s.latents, first, 3, padding=1)
        self.time_embedding = _Embedding(first, embedding)
        self.add_embedding = _Embedding(s.pooled + 6 * s.time_width, embedding)
        self.down_blocks = nn.ModuleList()
        channels, skips = first, [first]
        for level, wide in enumerate(s.channels):
            stage = _Stage()
            stage.resnets = nn.ModuleList()
            if s.depth[level]:
                stage.attentions = nn.ModuleList()
            for _ in range(s.blocks):
                stage.resnets.append(_Resnet(channels, wide, embedding))
                channels = wide
                if s.depth[level]:
                    stage.attentions.append(transformer(level))
                skips.append(channels)
            if level + 1 < len(s.channels):
                stage.downsamplers = nn.ModuleList([_Resample(channels, 2)])
                skips.append(channels)
            self.down_blocks.append(stage)
        self.mid_block = _Stage()
        self.mid_block.resnets = nn.ModuleList([_Resnet(channels, channels, embedding) for _ in range(2)])
        self.mid_block.attentions = nn.ModuleList([_Transformer(channels, s.context, s.head, max(s.depth[-1], 1))])
        self.up_blocks = nn.ModuleList()
        for level in reversed(range(len(s.channels))):
            stage, wide = _Stage(), s.channels[level]
            stage.resnets = nn.ModuleList()
            if s.depth[level]:
                stage.attentions = nn.ModuleList()
            for _ in range(s.blocks + 1):
                stage.resnets.append(_Resnet(channels + skips.pop(), wide, embedding))
                channels = wide
                if s.depth[level]:
                    stage.attentions.append(transformer(level))
            if level > 0:
                stage.upsamplers = nn.ModuleList([_Resample(channels, 1)])
            self.up_blocks.append(stage)
        self.conv_norm_out = nn.GroupNorm(GROUPS, channels, eps=1e-5)
        self.conv_out = zeroed(nn.Conv2d(channels, s.latents, 3, padding=1))

    def forward(self, x, steps, context, pooled, sizes):
        """x [N,4,h,w], steps [N], context [N,words,context], pooled [N,pooled], sizes [N,6] → predicted noise."""
        s, n = self.sizes, len(x)
        extra = torch.cat([pooled, sinusoids(sizes.reshape(-1), s.time_width).reshape(n, -1)], 1)
        embedding = self.time_embedding(sinusoids(steps, s.channels[0])) + self.add_embedding(extra)

        def step(stage, i, h):
            h = stage.resnets[i](h, embedding)
            return stage.attentions[i](h, context) if hasattr(stage, "attentions") else h

        h = self.conv_in(x.contiguous(memory_format=torch.channels_last))
        skips = [h]
        for stage in self.down_blocks:
            for i in range(s.blocks):
                h = step(stage, i, h)
                skips.append(h)
            if hasattr(stage, "downsamplers"):
                h = stage.downsamplers[0].conv(h)
                skips.append(h)
        h = self.mid_block.resnets[0](h, embedding)
        h = self.mid_block.resnets[1](self.mid_block.attentions[0](h, context), embedding)
        for stage in self.up_blocks:
            for i in range(s.blocks + 1):
                h = step(stage, i, torch.cat([h, skips.pop()], 1))
            if hasattr(stage, "upsamplers"):
                h = stage.upsamplers[0].conv(F.interpolate(h, scale_factor=2.0, mode="nearest"))
        return self.conv_out(F.silu(self.conv_norm_out(h)))
