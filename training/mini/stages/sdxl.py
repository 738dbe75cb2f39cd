"""The image-to-image network: one step at strength 0.11 turns a slightly spoilt picture into the clean one.

x = spoilt latents + sigma·noise; the network predicts (x - clean)/sigma, so that the sampler's x - sigma·prediction is clean.
"""

import random

import torch
from torch.nn import functional as F

from ..compat import DEVICE, autocast, channels_last, compiled, say
from ..files import load_part, picture_values
from ..models.diffusion import sdxl_sigma
from ..models.sdxl_unet import SdxlUNet
from ..models.text import TextEncoder
from ..models.vae import SVD_SCALE, Encoder, moments_to_sample
from ..tokenizer import Tokenizer
from ..training import Budget, Regularly, Seeds, Trainer, load_state, save_state, wait_for
from ..world.prompts import GENERIC, prompt_of
from ..world.takes import SIDE, make_singles

WORTH_COMPILING = 240  # seconds of training
STEP = 99  # the sampler's one time step: the last of ten, trailing spacing


def _blur(pictures, deviation):
    """Separable Gaussian blur, another deviation [N] for each picture."""
    n, c, h, w = pictures.shape
    offsets = torch.arange(-4, 5, device=pictures.device, dtype=torch.float32)
    kernel = torch.exp(-(offsets**2) / (2 * deviation.clamp(min=0.05)[:, None] ** 2))
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(c, 0)
    x = pictures.reshape(1, n * c, h, w)
    x = F.conv2d(F.pad(x, (4, 4, 0, 0), mode="replicate"), kernel[:, None, None, :], groups=n * c)
    x = F.conv2d(F.pad(x, (0, 0, 4, 4), mode="replicate"), kernel[:, None, :, None], groups=n * c)
    return x.reshape(n, c, h, w)


def _splats(pictures, count=14):
    """Stray translucent Gaussians, long and thin ones too, in colours of the picture."""
    n, _, h, w = pictures.shape
    device = pictures.device
    axis = torch.linspace(-1, 1, h, device=device)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    for _ in range(count):
        rows = torch.randint(h, (n, 2), device=device)
        color = pictures[torch.arange(n, device=device), :, rows[:, 0], rows[:, 1]] + 0.15 * torch.randn(n, 3, device=device)
        center, angle = torch.randn(n, 2, device=device) * 0.4, torch.rand(n, device=device) * 3.1416
        size = 0.015 + 0.1 * torch.rand(n, 2, device=device) ** 3
        dx, dy = x[None] - center[:, 0, None, None], y[None] - center[:, 1, None, None]
        c, s = torch.cos(angle)[:, None, None], torch.sin(angle)[:, None, None]
        u, v = (c * dx + s * dy) / size[:, 0, None, None], (c * dy - s * dx) / size[:, 1, None, None]
        alpha = torch.exp(-(u * u + v * v) / 2) * (0.6 * torch.rand(n, 1, 1, device=device) * (torch.rand(n, 1, 1, device=device) < 0.5))
        pictures = pictures * (1 - alpha[:, None]) + color[:, :, None, None] * alpha[:, None]
    return pictures


def spoil(pictures):
    """What renders of Gaussians suffer from: blur, stray splats, ghosts, grain. [N,3,H,W] in [-1,1]; a fifth stays clean."""
    n, device = len(pictures), pictures.device
    chance = lambda p: (torch.rand(n, 1, 1, 1, device=device) < p).float()
    keep = chance(0.2)
    shift = random.choice([(1, 0), (0, 1), (2, 1), (-1, 1), (-2, 0), (0, -2)])
    x = pictures + chance(0.35) * 0.4 * torch.rand(n, 1, 1, 1, device=device) * (torch.roll(pictures, shift, (2, 3)) - pictures)
    x = _blur(x, torch.rand(n, device=device) * 1.3)
    spotted = chance(0.5)
    x = x + spotted * (_splats(x) - x)
    x = x + chance(0.4) * 0.06 * torch.rand(n, 1, 1, 1, device=device) * torch.randn_like(x)
    return (keep * pictures + (1 - keep) * x).clamp(-1, 1)


class _Pairs:
    """Moments of clean and spoilt pictures (in units of unit deviation) and sentences about them."""

    def __init__(self, size, chunk, seeds, encoder, tokenizer):
        self.chunk, self.seeds, self.encoder, self.tokenizer = min(chunk, size), seeds, encoder, tokenizer
        place = SIDE // 8
        self.clean = torch.zeros(size, 4, place, place, device=DEVICE, dtype=torch.float16)
        self.spoilt = torch.zeros(size, 8, place, place, device=DEVICE, dtype=torch.float16)
        self.ids = torch.zeros(size, 2, 77, dtype=torch.long, device=DEVICE)
        self.filled, self._at = 0, 0

    @torch.no_grad()
    def add_chunk(self):
        own = self.seeds.take(self.chunk)
        bytes_, attributes, _, _ = make_singles(own)
        pictures = picture_values(bytes_)
        rows = (self._at + torch.arange(self.chunk, device=DEVICE)) % len(self.clean)
        with autocast():
            clean, spoilt = self.encoder(pictures).float(), self.encoder(spoil(pictures)).float()
        shift = torch.tensor([2 * torch.log(torch.tensor(SVD_SCALE))] * 4, device=DEVICE)[:, None, None]
        self.clean[rows] = (clean[:, :4] * SVD_SCALE).half()
        self.spoilt[rows] = torch.cat([spoilt[:, :4] * SVD_SCALE, (spoilt[:, 4:] + shift).clamp(-20, 5)], 1).half()
        host = {k: v.cpu() for k, v in attributes.items()}
        ids = []
        for i, seed in enumerate(own.tolist()):
            dice = random.Random(seed)
            text = dice.choice(GENERIC) if dice.random() < 0.4 else prompt_of(host, i, dice)
            ids.append([self.tokenizer.encode(text, self.tokenizer.end), self.tokenizer.encode(text, 0)])
        self.ids[rows] = torch.tensor(ids, device=DEVICE)
        self._at = (self._at + self.chunk) % len(self.clean)
        self.filled = min(self.filled + self.chunk, len(self.clean))

    def batch(self, count):
        rows = torch.randint(self.filled, (count,), device=DEVICE)
        return self.clean[rows].float(), self.spoilt[rows].float(), self.ids[rows]


def text_states(text1, text2, ids):
    """ids [N,2,77] → context [N,77,both widths], pooled [N,width]."""
    first, (second, pooled, _) = text1(ids[:, 0])[0], text2(ids[:, 1])
    return torch.cat([first, second], -1), pooled


def _steps(count):
    """Mostly around the one that is used."""
    near = torch.randint(40, 180, (count,), device=DEVICE)
    exact = torch.full_like(near, STEP)
    dice = torch.rand(count, device=DEVICE)
    return torch.where(dice < 0.6, exact, torch.where(dice < 0.95, near, torch.randint(0, 1000, (count,), device=DEVICE)))


def run(config, out, state, deadline, metadata):
    clock = Budget(deadline)
    vae, towers = (wait_for(state, name, deadline) for name in ("vae", "towers"))
    tokenizer, previous = Tokenizer(), load_state(state, "sdxl")
    encoder = channels_last(load_part(Encoder(config.vae), vae[0], "encoder.")).eval()
    text1, text2 = (load_part(TextEncoder(config.text(len(tokenizer), second)), towers[0], f"text{1 + second}.").to(DEVICE).eval()
                    for second in (False, True))
    network = SdxlUNet(config.sdxl())
    if previous:
        load_part(network, previous[0])
    network = channels_last(network)
    fast = compiled(network) if deadline > WORTH_COMPILING else network
    seeds = Seeds(float(previous[1]["next_seed"]) if previous else 800_000_001)
    pairs = _Pairs(config.sdxl_bank, config.chunk * 2, seeds, encoder, tokenizer)
    filling = Budget(max((deadline - clock.spent()) * 0.25, 1))
    while pairs.filled < len(pairs.clean) and not (filling.over() and pairs.filled):
        pairs.add_chunk()
    say(f"sdxl: {pairs.filled} pairs in {filling.spent():.1f} s")
    training = Budget(max(deadline - clock.spent(), 1))
    trainer = Trainer("sdxl", network, out, training, config.sdxl_rate * (0.6 if previous else 1), columns=("loss", "error", "before"))
    sizes = torch.tensor([[SIDE, SIDE, 0, 0, SIDE, SIDE]], device=DEVICE, dtype=torch.float32).expand(config.sdxl_batch, -1)

    def save(**more):
        about = dict(metadata, steps=trainer.step, seconds=f"{training.spent():.0f}", loss=f"{trainer.last_loss:.4f}", next_seed=seeds.next, **more)
        save_state(state, "sdxl", {"": trainer.average.module}, about, previous and previous[1])

    regularly = Regularly(100)
    while not training.over():
        if regularly.due():
            save()
        clean, spoilt, ids = pairs.batch(config.sdxl_batch)
        steps = _steps(len(clean))
        sigma = sdxl_sigma(steps)[:, None, None, None]
        with torch.no_grad():
            context, pooled = text_states(text1, text2, ids)
        start = moments_to_sample(spoilt, torch.randn_like(clean))
        x = start + sigma * torch.randn_like(clean)
        with autocast():
            noise = fast(x / torch.sqrt(sigma**2 + 1), steps.float(), context, pooled, sizes).float()
        error = x - sigma * noise - clean
        # Differences of the clean latents, weighted as if all levels were that of the sampler's step or above.
        loss = (error / sigma.clamp(min=0.3)).pow(2).mean()
        trainer.go(loss, error.pow(2).mean(), (start - clean).pow(2).mean())
    trainer.finish()
    save(done="1")
