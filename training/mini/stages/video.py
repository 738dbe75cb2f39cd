"""The two video networks on frozen latents: SVD (a picture moves) and SV3D_p (a picture is seen from all sides)."""

import torch

from ..compat import COMPILE, DEVICE, autocast, channels_last, compiled, say
from ..files import load_part, picture_values
from ..models.diffusion import v_scaling
from ..models.layers import sinusoids
from ..models.vae import SVD_SCALE, Encoder
from ..models.video_unet import VideoUNet
from ..models.vit import ImageTower
from ..training import Budget, Regularly, Seeds, Trainer, load_state, save_state, wait_for
from ..world.takes import SIDE, VIEWS, FRAMES, make_clips, make_orbits, orbit_azimuths

# Noise levels in training: ln(sigma) ~ N(mean, deviation²) (Karras et al. 2022, here for small latents).
NOISE = {"sv3d": (0.5, 1.7), "svd": (0.5, 1.7)}
DROP = {"sv3d": 0.08, "svd": 0.12}  # how often the condition is left out, for guidance
CONDITION_NOISE = 0.1  # largest deviation of noise on the condition's latents: real inputs are decoded frames
COND_AUG = {"sv3d": 1e-5, "svd": 0.02}
FIRST_SEED = {"sv3d": 400_000_001, "svd": 600_000_001}


def svd_vector(fps, bucket, cond_aug=COND_AUG["svd"]):
    """[B] each → [B,768]."""
    return torch.cat([sinusoids(fps, 256), sinusoids(bucket, 256), sinusoids(torch.full_like(fps, cond_aug), 256)], 1)


def sv3d_vector(elevation, views=VIEWS, cond_aug=COND_AUG["sv3d"]):
    """elevation [B] in degrees → [B,views,1280]."""
    batch = len(elevation)
    polar = torch.deg2rad(90 - elevation)
    row = lambda x: x[:, None].expand(batch, views, x.shape[-1])
    azimuth = sinusoids(orbit_azimuths(views, elevation.device), 512)[None].expand(batch, -1, -1)
    return torch.cat([row(sinusoids(torch.full_like(polar, cond_aug), 256)), row(sinusoids(polar, 512)), azimuth], -1)


class Bank:
    """Latents and conditions of orbits or clips, on the GPU. The input is the orbit's last view, the clip's first frame."""

    def __init__(self, kind, size, chunk, seeds, encoder, tower):
        self.kind, self.chunk, self.seeds, self.encoder, self.tower = kind, min(chunk, size), seeds, encoder, tower
        frames = VIEWS if kind == "sv3d" else FRAMES
        self.latents = torch.zeros(size, frames, 4, SIDE // 8, SIDE // 8, dtype=torch.float16, device=DEVICE)
        self.context = torch.zeros(size, tower.sizes.out, device=DEVICE)
        self.numbers = torch.zeros(size, 2, device=DEVICE)  # elevation, or fps and bucket
        self.filled, self._at = 0, 0

    @torch.no_grad()
    def add_chunk(self):
        seeds = self.seeds.take(self.chunk)
        if self.kind == "sv3d":
            take = make_orbits(seeds)
            first, numbers = take.pictures[:, -1], torch.stack([take.elevation, take.elevation], 1)
        else:
            take = make_clips(seeds)
            first, numbers = take.pictures[:, 0], torch.stack([take.fps, take.bucket], 1)
        rows = (self._at + torch.arange(self.chunk, device=DEVICE)) % len(self.latents)
        flat = take.pictures.flatten(0, 1)
        with autocast():
            latents = torch.cat([self.encoder(picture_values(part))[:, :4] for part in flat.split(256)]) * SVD_SCALE
            self.context[rows] = self.tower.embed(picture_values(first)).float()
        self.latents[rows] = latents.view(self.chunk, -1, *latents.shape[1:]).to(torch.float16)
        self.numbers[rows] = numbers
        self._at = (self._at + self.chunk) % len(self.latents)
        self.filled = min(self.filled + self.chunk, len(self.latents))

    def batch(self, count):
        """latents [count,frames,4,h,w], context [count,width], vector [count,frames,width]."""
        rows = torch.randint(self.filled, (count,), device=DEVICE)
        latents, numbers = self.latents[rows].float(), self.numbers[rows]
        if self.kind == "sv3d":
            vector = sv3d_vector(numbers[:, 0])
        else:
            vector = svd_vector(numbers[:, 0], numbers[:, 1])[:, None].expand(-1, latents.shape[1], -1)
        return latents, self.context[rows], vector


def video_loss(network, kind, latents, context, vector):
    """Mean squared error of the network's v; that of the clean latents is this times sigma²/(sigma²+1)."""
    count, frames = latents.shape[:2]
    condition = latents[:, -1] if kind == "sv3d" else latents[:, 0]
    noisy = (torch.rand(count, 1, 1, 1, device=DEVICE) - 0.5).clamp(min=0) * (2 * CONDITION_NOISE)
    condition = condition + noisy * torch.randn_like(condition)
    keep = (torch.rand(count, device=DEVICE) >= DROP[kind]).float()
    context, condition = context * keep[:, None], condition * keep[:, None, None, None]
    mean, deviation = NOISE[kind]
    sigma = torch.exp(mean + deviation * torch.randn(count, device=DEVICE)).repeat_interleave(frames)
    c_skip, c_out, c_in, c_noise = v_scaling(sigma)
    column = lambda x: x[:, None, None, None]
    clean = latents.flatten(0, 1)
    noisy = clean + column(sigma) * torch.randn_like(clean)
    target = (clean - column(c_skip) * noisy) / column(c_out)
    x = torch.cat([noisy * column(c_in), condition.repeat_interleave(frames, 0)], 1)
    with autocast():
        v = network(x, c_noise, context.repeat_interleave(frames, 0), vector.flatten(0, 1), frames)
    return (v.float() - target).pow(2).mean()


def _warm_up(network, config, kind, sizes):
    """Steps on random numbers, so that the code is compiled while other processes still make what this one waits for: the
    second one records CUDA graphs, the third one runs them."""
    frames, count = (VIEWS if kind == "sv3d" else FRAMES), config.sv3d_batch if kind == "sv3d" else config.svd_batch
    for _ in range(3 if COMPILE else 1):
        latents = torch.randn(count, frames, 4, SIDE // 8, SIDE // 8, device=DEVICE)
        loss = video_loss(network, kind, latents, torch.randn(count, sizes.context, device=DEVICE), torch.randn(count, frames, sizes.vector, device=DEVICE))
        loss.backward()
        network.zero_grad(set_to_none=True)


def _ready(network, config, kind, sizes):
    """The network compiled, with CUDA graphs where they work: thousands of small kernels a step otherwise wait for the processor."""
    try:
        fast = compiled(network, mode="reduce-overhead")
        _warm_up(fast, config, kind, sizes)
    except RuntimeError as error:
        say(f"{kind}: without CUDA graphs: {error}")
        network.zero_grad(set_to_none=True)
        fast = compiled(network)
        _warm_up(fast, config, kind, sizes)
    return fast


def run(kind, config, out, state, deadline, metadata):
    """deadline: seconds from now in all, waiting for the autoencoder and the towers included."""
    clock = Budget(deadline)
    sizes = config.video(kind)
    previous = load_state(state, kind)
    network = VideoUNet(sizes)
    if previous:
        load_part(network, previous[0])
    network = channels_last(network)
    fast = _ready(network, config, kind, sizes)
    say(f"{kind}: warmed up after {clock.spent():.0f} s")
    vae, towers = (wait_for(state, name, deadline) for name in ("vae", "towers"))
    encoder = channels_last(load_part(Encoder(config.vae), vae[0], "encoder.")).eval()
    tower = load_part(ImageTower(config.tower), towers[0], "image.").to(DEVICE).eval()
    seeds = Seeds(float(previous[1]["next_seed"]) if previous else FIRST_SEED[kind])
    bank = Bank(kind, config.sv3d_bank if kind == "sv3d" else config.svd_bank, config.chunk, seeds, compiled(encoder), tower)
    filling = Budget(max((deadline - clock.spent()) * 0.08, 1))
    while bank.filled < len(bank.latents) and not (filling.over() and bank.filled):
        bank.add_chunk()
    say(f"{kind}: {bank.filled} takes in {filling.spent():.1f} s")
    # A fresh chunk every so often, so that about a seventh of the time goes into new creatures.
    per_chunk = filling.spent() / max(bank.filled / bank.chunk, 1)
    training = Budget(max(deadline - clock.spent(), 1))
    rate = config.video_rate * (0.6 if previous else 1)
    trainer = Trainer(kind, network, out, training, rate, decay=0.9995, columns=("loss",))
    renewing = 0.0

    def save(**more):
        about = dict(metadata, steps=trainer.step, seconds=f"{training.spent():.0f}", loss=f"{trainer.last_loss:.4f}", next_seed=seeds.next, **more)
        save_state(state, kind, {"": trainer.average.module}, about, previous and previous[1])

    regularly = Regularly(100)
    while not training.over():
        if regularly.due():
            save()
        if renewing < 0.15 * training.spent() and trainer.step % 10 == 9:
            bank.add_chunk()
            renewing += per_chunk
        trainer.go(video_loss(fast, kind, *bank.batch(config.sv3d_batch if kind == "sv3d" else config.svd_batch)))
    trainer.finish()
    save(done="1")
