"""CLIP's text encoders as SDXL has them, with Hugging Face's key names."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F


class _SelfAttention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.k_proj, self.v_proj, self.q_proj, self.out_proj = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x, mask):
        n, tokens, width = x.shape
        split = lambda y: y.reshape(n, tokens, self.heads, width // self.heads).transpose(1, 2)
        q, k, v = split(self.q_proj(x)), split(self.k_proj(x)), split(self.v_proj(x))
        weight = torch.softmax((q @ k.transpose(-1, -2)).float() * (width // self.heads) ** -0.5 + mask, -1).to(v.dtype)
        return self.out_proj((weight @ v).transpose(1, 2).reshape(n, tokens, width))


class _Mlp(nn.Module):
    def __init__(self, width, inner, quick):
        super().__init__()
        self.fc1, self.fc2, self.quick = nn.Linear(width, inner), nn.Linear(inner, width), quick

    def forward(self, x):
        h = self.fc1(x)
        return self.fc2(h * torch.sigmoid(1.702 * h) if self.quick else F.gelu(h))


class _Layer(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.self_attn, self.layer_norm1 = _SelfAttention(s.width, s.heads), nn.LayerNorm(s.width)
        self.mlp, self.layer_norm2 = _Mlp(s.width, s.inner, s.quick), nn.LayerNorm(s.width)

    def forward(self, x, mask):
        x = x + self.self_attn(self.layer_norm1(x), mask)
        return x + self.mlp(self.layer_norm2(x))


class _Tower(nn.Module):
    pass


class TextEncoder(nn.Module):
    @dataclass
    class Sizes:
        vocabulary: int
        width: int = 64
        layers: int = 3
        heads: int = 2
        inner: int = 128
        length: int = 77
        quick: bool = True  # quick-GELU, as in the first encoder
        projection: int = 0  # width of the pooled output; 0: none

    def __init__(self, sizes):
        super().__init__()
        self.sizes = s = sizes
        tower = self.text_model = _Tower()
        tower.embeddings, tower.encoder = _Tower(), _Tower()
        tower.embeddings.token_embedding = nn.Embedding(s.vocabulary, s.width)
        tower.embeddings.position_embedding = nn.Embedding(s.length, s.width)
        for table in (tower.embeddings.token_embedding, tower.embeddings.position_embedding):
            nn.init.normal_(table.weight, std=0.05)
        tower.encoder.layers = nn.ModuleList([_Layer(s) for _ in range(s.layers)])
        tower.final_layer_norm = nn.LayerNorm(s.width)
        if s.projection:
            self.text_projection = nn.Linear(s.width, s.projection, bias=False)

    def forward(self, ids):
        """ids [N,L] → the states before the last layer [N,L,width] and the pooled output [N,projection or width]: the normed
        state at the first end token, which has the highest id."""
        tower = self.text_model
        n, length = ids.shape
        positions = torch.arange(length, device=ids.device)
        x = tower.embeddings.token_embedding(ids) + tower.embeddings.position_embedding(positions)
        mask = torch.full((length, length), float("-inf"), device=ids.device).triu(1)
        before = x
        for layer in tower.encoder.layers:
            before = x
            x = layer(x, mask)
        last = tower.final_layer_norm(x)
        pooled = last[torch.arange(n, device=ids.device), ids.argmax(-1)]
        return before, self.text_projection(pooled) if self.sizes.projection else pooled, last
