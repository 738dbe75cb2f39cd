"""Counter-based random numbers: a creature is a pure function of its seed, on any device.

The mixing function is the two-round multiply-xorshift of Wellons ("lowbias32" family), in 64-bit integers masked to 32.
"""

import math

import torch

MASK = 0xFFFFFFFF
HELD_OUT = 10**9  # creatures from this seed on are never trained on


def _mix(x):
    x = x & MASK
    x = x ^ (x >> 16)
    x = (x * 0x7FEB352D) & MASK
    x = x ^ (x >> 15)
    x = (x * 0x846CA68B) & MASK
    return x ^ (x >> 16)


def uniforms(seeds, count, stream=0):
    """seeds: int64 [B] below 2^32 → [B, count] in (0,1); another `stream` gives independent numbers."""
    index = torch.arange(count, device=seeds.device, dtype=torch.int64)
    key = _mix(seeds[:, None] + 0x9E3779B9 * (stream + 1))
    bits = _mix(key ^ _mix(index[None] * 0x85EBCA6B + 0x165667B1 * (stream + 1)))
    return ((bits >> 8).to(torch.float32) + 0.5) / (1 << 24)


class Draws:
    """Hands out the numbers of a batch of seeds one after the other, each [B,1]."""

    def __init__(self, seeds, stream, capacity=160):
        self._numbers = uniforms(seeds, capacity, stream)
        self._next = 0

    def unit(self):
        self._next += 1
        return self._numbers[:, self._next - 1, None]

    def between(self, low, high):
        return low + (high - low) * self.unit()

    def choose(self, count):
        """An integer 0 … count-1 with equal odds."""
        return (self.unit() * count).long().clamp(max=count - 1)

    def chance(self, probability):
        """1.0 with this probability, else 0.0."""
        return (self.unit() < probability).float()

    def angle(self):
        return self.between(-math.pi, math.pi)
