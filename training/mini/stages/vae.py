"""The autoencoder: encoder and decoder together, then the decoder alone on normalised latents, then SVD's temporal decoder."""

import time

import torch

from ..compat import COMPILE, CUDA, DEVICE, Layout, autocast, channels_last, compiled, say
from ..files import load_part, picture_bytes, picture_values, write_grid
from ..models.vae import SVD_SCALE, Autoencoder, Decoder, moments_to_sample
from ..training import Budget, Seeds, Trainer, load_state, save_state
from ..world.draws import HELD_OUT
from ..world.takes import make_clips, make_singles

KL_WEIGHT = 2e-4
WORTH_COMPILING = 150  # seconds of training
NOISE = 0.12  # largest deviation of the noise that the decoder learns to ignore, in units of the latents' own


class PicturePool:
    """Pictures on the GPU, the oldest replaced by new ones as training goes on."""

    def __init__(self, size, chunk, seeds, side):
        self.seeds, self.chunk, self.side = seeds, min(chunk, size), side
        self.pictures = torch.empty(size, side, side, 3, dtype=torch.uint8, device=DEVICE)
        self._at = 0
        for _ in range(-(-size // self.chunk)):
            self.renew()

    def renew(self):
        fresh = make_singles(self.seeds.take(self.chunk), side=self.side)[0]
        rows = (self._at + torch.arange(self.chunk, device=DEVICE)) % len(self.pictures)
        self.pictures[rows] = fresh
        self._at = (self._at + self.chunk) % len(self.pictures)

    def batch(self, count):
        rows = torch.randint(len(self.pictures), (count,), device=DEVICE)
        return picture_values(self.pictures[rows])


def picture_loss(ours, theirs):
    """Absolute and squared differences, and those of the differences between neighbours: edges count more than areas."""
    difference = (ours - theirs).float()
    edges = (difference[..., 1:] - difference[..., :-1]).abs().mean() + (difference[..., 1:, :] - difference[..., :-1, :]).abs().mean()
    squared = difference.pow(2).mean()
    return difference.abs().mean() * 0.5 + squared * 6 + edges * 0.3, squared


def psnr_of(squared):
    """From mean squared differences of pictures in [-1,1]."""
    return -10 * torch.log10(squared / 4)


def _choose_layout(model, pool, count):
    """Times a few steps in both memory orders and keeps the faster."""
    seconds = {}
    for layout in (torch.channels_last, torch.contiguous_format):
        Layout.pictures = layout
        channels_last(model, layout)
        for step in range(7):
            if step == 2:
                torch.cuda.synchronize()
                begin = time.time()
            pictures = pool.batch(count)
            with autocast():
                picture_loss(model.decoder(model.encoder(pictures)[:, :4]), pictures)[0].backward()
        torch.cuda.synchronize()
        seconds[layout] = (time.time() - begin) / 5
        model.zero_grad(set_to_none=True)
    Layout.pictures = min(seconds, key=seconds.get)
    channels_last(model, Layout.pictures)
    say("seconds a step of forward and backward:", {str(k): round(v, 4) for k, v in seconds.items()})


def _together(model, encode, decode, pool, config, out, seconds):
    trainer = Trainer("vae", model, out, Budget(seconds), config.vae_rate, columns=("loss", "psnr", "kl"))
    while not trainer.budget.over():
        if trainer.step % 100 == 99:
            pool.renew()
        pictures = pool.batch(config.vae_batch)
        with autocast():
            moments = encode(pictures).float()
            latents = moments_to_sample(moments, torch.randn_like(moments[:, :4]))
            loss, squared = picture_loss(decode(latents), pictures)
        mean, log_variance = moments.chunk(2, 1)
        log_variance = log_variance.clamp(-30, 20)
        kl = 0.5 * (mean.pow(2) + log_variance.exp() - 1 - log_variance).mean()
        trainer.go(loss + KL_WEIGHT * kl, psnr_of(squared), kl)
    trainer.finish()
    return trainer


@torch.no_grad()
def _normalise(model, pool, count):
    latents = []
    for _ in range(max(count // 256, 1)):
        with autocast():
            latents.append(model.encoder(pool.batch(min(256, count))).float()[:, :4])
    latents = torch.cat(latents)
    mean, deviation = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    say("latents: mean", mean.tolist(), "deviation", deviation.tolist())
    model.normalise(mean, deviation)


def _decoder_alone(model, decode, pool, config, out, seconds):
    model.encoder.requires_grad_(False)
    trainer = Trainer("vae_decoder", model.decoder, out, Budget(seconds), config.vae_rate * 0.5, columns=("loss", "psnr"))
    while not trainer.budget.over():
        if trainer.step % 100 == 99:
            pool.renew()
        pictures = pool.batch(config.vae_batch)
        with autocast():
            with torch.no_grad():
                latents = model.encoder(pictures).float()[:, :4]
                strength = (torch.rand(len(latents), 1, 1, 1, device=DEVICE) - 0.4).clamp(min=0) * (NOISE / 0.6 / SVD_SCALE)
                latents = latents + strength * torch.randn_like(latents)
            # A gradient that nobody wants: the compiled decoder is then the one that was trained before.
            loss, squared = picture_loss(decode(latents.requires_grad_()), pictures)
        trainer.go(loss, psnr_of(squared))
    trainer.finish()
    return trainer


def temporal_decoder(plain, sizes):
    """The temporal decoder that gives what the plain one gives."""
    decoder = Decoder(sizes, temporal=True)
    decoder.load_state_dict(plain.state_dict(), strict=False)
    return decoder


def _over_frames(model, config, out, seconds, seeds, side, start=None):
    decoder = channels_last(temporal_decoder(model.decoder, model.sizes), Layout.pictures)
    if start is not None:
        decoder.load_state_dict(start, strict=False)
        decoder.load_state_dict(model.decoder.state_dict(), strict=False)
    for name, parameter in decoder.named_parameters():
        parameter.requires_grad_(any(part in name for part in ("time_stack", "time_mix_conv", "mix_factor")))
    clips = make_clips(seeds.take(max(config.vae_pool // 40, 2)), side=side).pictures
    trainer = Trainer("vae_temporal", decoder, out, Budget(seconds), config.vae_rate * 0.3, columns=("loss", "psnr"))
    count = max(config.vae_batch // 8, 1)
    while not trainer.budget.over():
        rows = torch.randint(len(clips), (count,), device=DEVICE)
        pictures = picture_values(clips[rows].flatten(0, 1))
        frames = clips.shape[1] if trainer.step % 2 else 1  # eg4d decodes one frame at a time, or several
        with autocast():
            with torch.no_grad():
                latents = model.encoder(pictures).float()[:, :4]
                latents = latents + 0.3 * NOISE / SVD_SCALE * torch.randn_like(latents)
            loss, squared = picture_loss(decoder(latents, frames), pictures)
        trainer.go(loss, psnr_of(squared))
    trainer.finish()
    return trainer


@torch.no_grad()
def held_out_psnr(model, count, side):
    """Mean PSNR over held-out creatures, and pictures beside their reconstructions."""
    pictures = picture_values(make_singles(torch.arange(HELD_OUT, HELD_OUT + count, device=DEVICE), side=side)[0])
    ours = torch.cat([model.decoder(model.encoder(part)[:, :4]) for part in pictures.split(32)]).clamp(-1, 1)
    each = psnr_of((ours - pictures).pow(2).mean((1, 2, 3)))
    return each.mean().item(), torch.stack([picture_bytes(pictures[:16]), picture_bytes(ours[:16])])


def run(config, out, state, seconds, metadata):
    side = 128 if not config.smoke else 64
    previous = load_state(state, "vae")
    model, start = Autoencoder(config.vae), None
    seeds = Seeds(float(previous[1]["next_seed"]) if previous else 1)
    if previous:
        load_part(model, {k: v for k, v in previous[0].items() if not k.startswith("temporal.")})
        start = {k[len("temporal."):]: v.float() for k, v in previous[0].items() if k.startswith("temporal.")}
    model = channels_last(model)
    budget = Budget(seconds)
    pool = PicturePool(config.vae_pool, config.chunk * 4, seeds, side)
    say(f"{config.vae_pool} pictures in {budget.spent():.1f} s")
    encode, decode = model.encoder, model.decoder
    if COMPILE and seconds > WORTH_COMPILING:
        encode, decode = compiled(encode), compiled(decode)
    elif CUDA:
        _choose_layout(model, pool, config.vae_batch)
    steps = 0
    if not previous:  # afterwards the latents must stay what the other models have learned
        trainer = _together(model, encode, decode, pool, config, out, (seconds - budget.spent()) * 0.62)
        model.load_state_dict(trainer.average.module.state_dict())
        steps += trainer.step
        _normalise(model, pool, 4096 if not config.smoke else 4)
    left = seconds - budget.spent()
    trainer = _decoder_alone(model, decode, pool, config, out, left * 0.75)
    model.decoder.load_state_dict(trainer.average.module.state_dict())
    steps += trainer.step
    quality, grid = held_out_psnr(model, 64 if not config.smoke else 2, side)
    say(f"held-out PSNR {quality:.2f} dB")
    write_grid(f"{out}/grids/vae.png", grid)
    metadata = dict(metadata, psnr=f"{quality:.2f}", seconds=f"{budget.spent():.0f}", steps=steps, next_seed=seeds.next, done="1")
    save_state(state, "vae", {"": model, "temporal.": temporal_decoder(model.decoder, model.sizes)}, metadata, previous and previous[1])
    trainer = _over_frames(model, config, out, max(seconds - budget.spent(), 1), seeds, side, start)
    metadata.update(steps=steps + trainer.step, seconds=f"{budget.spent():.0f}", next_seed=seeds.next)
    save_state(state, "vae", {"": model, "temporal.": trainer.average.module}, metadata, previous and previous[1])
