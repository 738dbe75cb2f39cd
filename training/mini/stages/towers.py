"""Image tower and text encoders, trained to agree on pictures and sentences (CLIP, Radford et al. 2021).

The image embedding must also tell what the picture shows (plan, colours, pattern, view): heads that are thrown away afterwards.
"""

import random

import torch
from torch import nn
from torch.nn import functional as F

from ..compat import DEVICE, autocast, say
from ..files import load_part, picture_values
from ..models.text import TextEncoder
from ..models.vit import ImageTower
from ..tokenizer import Tokenizer
from ..training import Budget, Seeds, Trainer, load_state, save_state
from ..world.paint import COLOR_NAMES, PATTERNS
from ..world.plans import PLANS
from ..world.prompts import prompt_of
from ..world.takes import make_singles

WORDS = 32  # tokens of a sentence in this training; the encoders have places for 77
PARTS = ("image", "text1", "text2")


class Towers(nn.Module):
    def __init__(self, config, vocabulary):
        super().__init__()
        self.image = ImageTower(config.tower)
        self.text1 = TextEncoder(config.text(vocabulary, second=False))
        self.text2 = TextEncoder(config.text(vocabulary, second=True))
        out = config.tower.out
        self.head1 = nn.Linear(self.text1.sizes.width, out)
        self.scale = nn.Parameter(torch.tensor(2.6))
        self.classes = {"plan": len(PLANS), "color": len(COLOR_NAMES), "second": len(COLOR_NAMES), "pattern": len(PATTERNS)}
        self.guess = nn.ModuleDict({k: nn.Linear(out, n) for k, n in self.classes.items()})
        self.view = nn.Linear(out, 3)

    def forward(self, pictures, ids1, ids2):
        embedding = self.image.embed(pictures)
        unit = lambda x: F.normalize(x.float(), dim=-1)
        return embedding, unit(embedding), unit(self.head1(self.text1(ids1)[1])), unit(self.text2(ids2)[1])


def _agreement(scale, images, texts):
    scores = images @ texts.t() * scale
    target = torch.arange(len(scores), device=scores.device)
    return (F.cross_entropy(scores, target) + F.cross_entropy(scores.t(), target)) / 2


class _Pairs:
    """Pictures with what they show and how one might say it."""

    def __init__(self, size, chunk, seeds, tokenizer, side):
        self.seeds, self.tokenizer, self.side, self.chunk = seeds, tokenizer, side, chunk
        self.rows = []
        for _ in range(-(-size // chunk)):
            self.rows.append(self._make())

    def _make(self):
        own = self.seeds.take(self.chunk)
        pictures, attributes, yaw, elevation = make_singles(own, side=self.side)
        view = torch.stack([torch.sin(yaw), torch.cos(yaw), elevation / 40], 1)
        host = {k: v.cpu() for k, v in attributes.items()}
        ids = []
        for i, seed in enumerate(own.tolist()):
            text = prompt_of(host, i, random.Random(seed))
            ids.append([self.tokenizer.encode(text, self.tokenizer.end, WORDS), self.tokenizer.encode(text, 0, WORDS)])
        return pictures, attributes, view, torch.tensor(ids, device=DEVICE)

    def renew(self):
        self.rows.pop(0)
        self.rows.append(self._make())

    def batch(self, count):
        which = random.sample(range(len(self.rows)), min(len(self.rows), 6))
        take = -(-count // len(which))
        parts = []
        for k in which:
            pictures, attributes, view, ids = self.rows[k]
            i = torch.randperm(len(pictures), device=DEVICE)[:take]
            parts.append((pictures[i], {n: v[i] for n, v in attributes.items()}, view[i], ids[i]))
        attributes = {n: torch.cat([p[1][n] for p in parts])[:count] for n in parts[0][1]}
        return (torch.cat([p[0] for p in parts])[:count], attributes, torch.cat([p[2] for p in parts])[:count],
                torch.cat([p[3] for p in parts])[:count])


def run(config, out, state, seconds, metadata):
    side, tokenizer = config.tower.picture, Tokenizer()
    previous = load_state(state, "towers")
    seeds = Seeds(float(previous[1]["next_seed"]) if previous else 200_000_001)
    towers = Towers(config, len(tokenizer))
    if previous:
        for part in PARTS:
            load_part(getattr(towers, part), previous[0], part + ".")
    towers = towers.to(DEVICE)
    budget = Budget(seconds)
    pairs = _Pairs(config.chunk * 4 * (30 if not config.smoke else 1), config.chunk * 4, seeds, tokenizer, side)
    say(f"pairs in {budget.spent():.1f} s")
    trainer = Trainer("towers", towers, out, Budget(max(seconds - budget.spent(), 1)), config.tower_rate, columns=("loss", "hits", "plan", "color"))
    while not trainer.budget.over():
        if trainer.step % 100 == 99:
            pairs.renew()
        pictures, attributes, view, ids = pairs.batch(config.tower_batch)
        with autocast():
            embedding, image, text1, text2 = towers(picture_values(pictures), ids[:, 0], ids[:, 1])
        scale = towers.scale.exp().clamp(max=60)
        loss = _agreement(scale, image, text1) + _agreement(scale, image, text2)
        hits, embedding = {}, embedding.float()
        for name, guess in towers.guess.items():
            scores = guess(embedding)
            loss = loss + 0.5 * F.cross_entropy(scores, attributes[name])
            hits[name] = (scores.argmax(1) == attributes[name]).float().mean()
        loss = loss + 2 * F.mse_loss(towers.view(embedding), view)
        loss = loss + 1e-3 * embedding.pow(2).mean()
        found = ((image @ text2.t()).argmax(1) == torch.arange(len(image), device=DEVICE)).float().mean()
        trainer.go(loss, found, hits["plan"], hits["color"])
    trainer.finish()
    best = trainer.average.module
    metadata = dict(metadata, steps=trainer.step, seconds=f"{budget.spent():.0f}", loss=f"{trainer.last_loss:.4f}", next_seed=seeds.next, done="1")
    save_state(state, "towers", {part + ".": getattr(best, part) for part in PARTS}, metadata, previous and previous[1])
