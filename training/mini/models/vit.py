"""The image tower of OpenCLIP (Radford et al. 2021; Dosovitskiy et al. 2021) with its key names."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from ..compat import attention

MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)


class _Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.randn(3 * width, width) * width**-0.5)
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x):
        n, tokens, width = x.shape
        split = lambda y: y.reshape(n, tokens, self.heads, width // self.heads).transpose(1, 2)
        q, k, v = (split(y) for y in F.linear(x, self.in_proj_weight, self.in_proj_bias).chunk(3, -1))
        return self.out_proj(attention(q, k, v).transpose(1, 2).reshape(n, tokens, width))


class _Mlp(nn.Module):
    def __init__(self, width, inner):
        super().__init__()
        self.c_fc, self.c_proj = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x):
        return self.c_proj(F.gelu(self.c_fc(x)))


class _Block(nn.Module):
    def __init__(self, width, heads, inner):
        super().__init__()
        self.ln_1, self.attn = nn.LayerNorm(width), _Attention(width, heads)
        self.ln_2, self.mlp = nn.LayerNorm(width), _Mlp(width, inner)

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class _Transformer(nn.Module):
    def __init__(self, blocks):
        super().__init__()
        self.resblocks = nn.ModuleList(blocks)


class ImageTower(nn.Module):
    @dataclass
    class Sizes:
        picture: int = 128
        patch: int = 16
        width: int = 128
        layers: int = 4
        head: int = 32
        inner: int = 256
        out: int = 64

    def __init__(self, sizes=None):
        super().__init__()
        self.sizes = s = sizes or ImageTower.Sizes()
        tokens = (s.picture // s.patch) ** 2 + 1
        self.class_embedding = nn.Parameter(torch.randn(s.width) * s.width**-0.5)
        self.positional_embedding = nn.Parameter(torch.randn(tokens, s.width) * s.width**-0.5)
        self.proj = nn.Parameter(torch.randn(s.width, s.out) * s.width**-0.5)
        self.conv1 = nn.Conv2d(3, s.width, s.patch, stride=s.patch, bias=False)
        self.ln_pre, self.ln_post = nn.LayerNorm(s.width), nn.LayerNorm(s.width)
        self.transformer = _Transformer([_Block(s.width, s.width // s.head, s.inner) for _ in range(s.layers)])

    def forward(self, pictures):
        """Prepared pictures [N,3,picture,picture] → [N,out]."""
        x = self.conv1(pictures).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_embedding.to(x.dtype).expand(len(x), 1, -1), x], 1) + self.positional_embedding
        x = self.ln_pre(x)
        for block in self.transformer.resblocks:
            x = block(x)
        return self.ln_post(x[:, 0]) @ self.proj

    def embed(self, pictures):
        """Pictures [N,3,H,W] in [-1,1] of the tower's own size: nothing is resized."""
        return self(prepare(pictures))


def prepare(pictures):
    """[-1,1] → the mean and deviation of CLIP's training pictures."""
    numbers = lambda x: torch.tensor(x, device=pictures.device, dtype=pictures.dtype)[:, None, None]
    return ((pictures + 1) / 2 - numbers(MEAN)) / numbers(DEVIATION)
