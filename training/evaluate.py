"""Figures on held-out creatures, as far as PyTorch can tell: python3 training/evaluate.py --state training/state --out out/evaluation

Reconstruction by the autoencoder; views of SV3D against the rendered truth, beside copying the input and the mean picture; temporal flicker
of generated orbits with and without attention injection; smoothness and identity of SVD's clips; what image to image mends. Grids as PNG.
The program's own figures come from bench/evaluate_mini over what make_heldout.py writes.
"""

import argparse
import itertools
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import torch

from mini import compat
from mini.compat import DEVICE, autocast, channels_last, say
from mini.config import config_for
from mini.files import load_part, picture_bytes, picture_values, write_grid
from mini.metrics import psnr, ssim
from mini.models import diffusion
from mini.models.sdxl_unet import SdxlUNet
from mini.models.text import TextEncoder
from mini.models.vae import SVD_SCALE, Autoencoder, moments_to_sample
from mini.models.video_unet import VideoUNet
from mini.models.vit import ImageTower
from mini.stages.sdxl import STEP, spoil, text_states
from mini.stages.video import sv3d_vector, svd_vector
from mini.tokenizer import Tokenizer
from mini.training import load_state
from mini.world.draws import HELD_OUT
from mini.world.takes import FRAMES, SIDE, USUAL_BUCKET, USUAL_FPS, VIEWS, make_clips, make_orbits, make_singles

unit = lambda pictures: pictures / 2 + 0.5  # [-1,1] → [0,1]


class Models:
    def __init__(self, folder, config):
        self.config, self.folder = config, folder
        vae, towers = load_state(folder, "vae"), load_state(folder, "towers")
        spatial = {k: v for k, v in vae[0].items() if not k.startswith("temporal.")}
        self.vae = channels_last(load_part(Autoencoder(config.vae), spatial)).eval()
        self.tower = load_part(ImageTower(config.tower), towers[0], "image.").to(DEVICE).eval()
        self.towers = towers[0]

    def video(self, kind):
        state = load_state(self.folder, kind)
        return state and channels_last(load_part(VideoUNet(self.config.video(kind)), state[0])).eval()

    def encode(self, pictures):
        return torch.cat([self.vae.encoder(p)[:, :4] for p in pictures.split(64)]) * SVD_SCALE

    def decode(self, latents):
        return torch.cat([self.vae.decoder(z / SVD_SCALE) for z in latents.split(64)]).clamp(-1, 1)


def seeds(count, first=0):
    return torch.arange(HELD_OUT + first, HELD_OUT + first + count, device=DEVICE)


def noise(count, frames):
    generator = torch.Generator().manual_seed(23)
    return torch.randn(count, frames, 4, SIDE // 8, SIDE // 8, generator=generator).to(DEVICE)


def schedule(arguments, steps):
    return diffusion.edm_sigmas(steps, arguments.sigma_min, arguments.sigma_max, arguments.rho)


def judge_vae(models, count, results):
    pictures = picture_values(make_singles(seeds(count))[0])
    ours = models.decode(models.encode(pictures))
    results["vae psnr"], results["vae ssim"] = (f(unit(ours), unit(pictures)).mean().item() for f in (psnr, ssim))


def turn(models, network, inputs, elevation, sigmas, guidance, injection=None, start=None):
    """Input pictures [N,3,H,W] of one elevation each → views [N,21,3,H,W]; as eg4d, the last one is the input itself."""
    vector = sv3d_vector(elevation)
    condition, context = models.encode(inputs), models.tower.embed(inputs)
    start = noise(len(inputs), VIEWS) if start is None else start
    latents = diffusion.sample(network, start, context, condition, vector, guidance, sigmas, injection)
    views = models.decode(latents.flatten(0, 1)).view(len(inputs), VIEWS, 3, SIDE, SIDE)
    views[:, -1] = inputs
    return views


def judge_sv3d(models, arguments, results, out):
    network = models.video("sv3d")
    if network is None:
        return
    count = arguments.count
    orbit = make_orbits(seeds(count))
    truth = picture_values(orbit.pictures)
    inputs = truth[:, -1]
    mean_picture = picture_values(make_orbits(torch.arange(900_000_000, 900_000_000 + 2 * count, device=DEVICE)).pictures).mean((0, 1))
    score = lambda name, views: results.update({f"sv3d {name} {f.__name__}": f(unit(views[:, :-1].flatten(0, 1)), unit(truth[:, :-1].flatten(0, 1))).mean().item()
                                                for f in (psnr, ssim)})
    score("copy input", inputs[:, None].expand_as(truth))
    score("mean picture", mean_picture.expand_as(truth))
    score("autoencoder only", models.decode(models.encode(truth.flatten(0, 1))).view_as(truth))
    shown = {}
    for steps, (low, high) in itertools.product(arguments.steps, ((1.0, 1.0), (1.0, arguments.guidance))):
        guidance = diffusion.triangle_guidance(VIEWS, low, high)
        name = f"{steps} steps guidance {high:g}"
        shown[name] = turn(models, network, inputs, orbit.elevation, schedule(arguments, steps), guidance)
        score(name, shown[name])
    columns = [20, 2, 5, 8, 11, 14, 17]
    best = max(shown, key=lambda k: results[f"sv3d {k} psnr"])
    rows = [x for i in range(min(count, 10)) for x in (truth[i, columns], shown[best][i, columns])]
    write_grid(out / "sv3d.png", picture_bytes(torch.stack(rows)))
    results["sv3d shown"] = best


def judge_flicker(models, arguments, results, out):
    """Generated orbits of consecutive frames: how much the views change from frame to frame beyond the truth's own change."""
    network = models.video("sv3d")
    if network is None:
        return
    figures = {"without": [], "with": []}
    scores = {"without": [], "with": []}
    guidance, sigmas = diffusion.triangle_guidance(VIEWS, 1.0, 1.0), schedule(arguments, arguments.steps[0])
    for k in range(arguments.clips):
        own = seeds(1, 1000 + k)
        moments = (torch.arange(FRAMES, device=DEVICE) / FRAMES)[None]
        orbit = make_orbits(own, moments=moments, strength=torch.ones(1, device=DEVICE))
        truth = picture_values(orbit.pictures[0])
        elevation = orbit.elevation.expand(FRAMES)
        for name, injection in (("without", None), ("with", diffusion.Injection)):
            views = turn(models, network, truth[:, -1], elevation, sigmas, guidance, injection)
            change = lambda x: x[1:, :-1] - x[:-1, :-1]
            figures[name].append((change(views) - change(truth)).abs().mean().item() / 2)
            scores[name].append(psnr(unit(views[:, :-1].flatten(0, 1)), unit(truth[:, :-1].flatten(0, 1))).mean().item())
            if k == 0:
                write_grid(out / f"flicker_{name}.png", picture_bytes(views[:, [20, 5, 10, 15]].transpose(0, 1)))
    for name in figures:
        results[f"flicker {name} injection"] = sum(figures[name]) / len(figures[name])
        results[f"psnr {name} injection"] = sum(scores[name]) / len(scores[name])


def judge_svd(models, arguments, results, out):
    network = models.video("svd")
    if network is None:
        return
    count = arguments.count
    clip = make_clips(seeds(count, 2000), fps=USUAL_FPS, bucket=USUAL_BUCKET)
    truth = picture_values(clip.pictures)
    inputs = truth[:, 0]
    vector = svd_vector(torch.full((1,), float(USUAL_FPS), device=DEVICE), torch.full((1,), float(USUAL_BUCKET), device=DEVICE)).expand(FRAMES, -1)
    start, condition, context = noise(count, FRAMES), models.encode(inputs), models.tower.embed(inputs)
    change = lambda x: (x[:, 1:] - x[:, :-1]).abs().mean().item() / 2
    bend = lambda x: (x[:, 2:] - 2 * x[:, 1:-1] + x[:, :-2]).abs().mean().item() / 2
    results["svd truth change"], results["svd truth second difference"] = change(truth), bend(truth)
    same = lambda x: torch.nn.functional.cosine_similarity(models.tower.embed(x.flatten(0, 1)), context.repeat_interleave(FRAMES, 0)).mean().item()
    results["svd truth identity"] = same(truth)
    still = inputs[:, None].expand_as(truth)
    results["svd still picture psnr"] = psnr(unit(still.flatten(0, 1)), unit(truth.flatten(0, 1))).mean().item()
    for steps, high in itertools.product(arguments.steps, (1.0, 1.5)):
        guidance = diffusion.linear_guidance(FRAMES, 1.0, high)
        latents = diffusion.sample(network, start.clone(), context, condition, vector, guidance, schedule(arguments, steps))
        videos = models.decode(latents.flatten(0, 1)).view_as(truth)
        name = f"svd {steps} steps guidance {high:g}"
        results[f"{name} psnr"] = psnr(unit(videos.flatten(0, 1)), unit(truth.flatten(0, 1))).mean().item()
        results[f"{name} change"], results[f"{name} second difference"], results[f"{name} identity"] = change(videos), bend(videos), same(videos)
    rows = [x for i in range(min(count, 8)) for x in (truth[i], videos[i])]
    write_grid(out / "svd.png", picture_bytes(torch.stack(rows)))


def judge_sdxl(models, arguments, results, out):
    state = load_state(models.folder, "sdxl")
    if state is None:
        return
    tokenizer = Tokenizer()
    network = channels_last(load_part(SdxlUNet(models.config.sdxl()), state[0])).eval()
    text1, text2 = (load_part(TextEncoder(models.config.text(len(tokenizer), second)), models.towers, f"text{1 + second}.").to(DEVICE).eval()
                    for second in (False, True))
    clean = picture_values(make_singles(seeds(arguments.count, 3000))[0])
    spoilt = spoil(clean)
    torch.manual_seed(5)
    ids = torch.tensor([[tokenizer.encode("a 3d model on a white background", p) for p in (tokenizer.end, 0)]], device=DEVICE).expand(len(clean), -1, -1)
    context, pooled = text_states(text1, text2, ids)
    moments = models.vae.encoder(spoilt)
    latents = moments_to_sample(moments, torch.randn_like(moments[:, :4])) * SVD_SCALE
    steps = torch.full((len(clean),), STEP, device=DEVICE)
    sigma = diffusion.sdxl_sigma(steps)[:, None, None, None]
    x = latents + sigma * torch.randn_like(latents)
    sizes = torch.tensor([[SIDE, SIDE, 0, 0, SIDE, SIDE]], device=DEVICE, dtype=torch.float32).expand(len(clean), -1)
    with autocast():
        predicted = network(x / torch.sqrt(sigma**2 + 1), steps.float(), context, pooled, sizes).float()
    ours = models.decode(x - sigma * predicted)
    results["sdxl spoilt psnr"] = psnr(unit(spoilt), unit(clean)).mean().item()
    results["sdxl autoencoder alone psnr"] = psnr(unit(models.decode(models.encode(spoilt))), unit(clean)).mean().item()
    results["sdxl mended psnr"] = psnr(unit(ours), unit(clean)).mean().item()
    write_grid(out / "sdxl.png", picture_bytes(torch.stack([clean[:12], spoilt[:12], ours[:12]])))


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", default="training/state")
    parser.add_argument("--out", default="out/evaluation")
    parser.add_argument("--count", type=int, default=32, help="creatures")
    parser.add_argument("--clips", type=int, default=4, help="clips whose flicker is measured")
    parser.add_argument("--steps", type=int, nargs="+", default=[8, 12], help="of the sampler; the first is used for flicker")
    parser.add_argument("--guidance", type=float, default=2.0, help="the other highest scale that is tried for SV3D, besides 1")
    parser.add_argument("--sigma-min", type=float, default=0.01)
    parser.add_argument("--sigma-max", type=float, default=100.0)
    parser.add_argument("--rho", type=float, default=5.0)
    parser.add_argument("--smoke", action="store_true")
    arguments = parser.parse_args()
    if arguments.smoke:
        arguments.count, arguments.clips, arguments.steps = 1, 1, [1]
    compat.set_up()
    out, results, begin = Path(arguments.out), {}, time.time()
    out.mkdir(parents=True, exist_ok=True)
    models = Models(arguments.state, config_for(arguments.smoke))
    judge_vae(models, 4 * arguments.count, results)
    for judge in (judge_sv3d, judge_flicker, judge_svd, judge_sdxl):
        try:
            judge(models, arguments, results, out)
        except Exception as error:  # the other tables are still worth having
            results[judge.__name__] = f"failed: {error!r}"
    for name, value in results.items():
        say(f"{name:44} {value:.4f}" if isinstance(value, float) else f"{name:44} {value}")
    (out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    say(f"{time.time() - begin:.0f} s")


if __name__ == "__main__":
    main()
