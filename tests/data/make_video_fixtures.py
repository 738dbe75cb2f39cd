#!/usr/bin/env python3
"""Writes golden/{svd_unet,svd_sampling,sv3d_injection,svd_vae,openclip_vit}: weights by the integer hash, what PyTorch computes with them.

    python3 tests/data/make_video_fixtures.py [SET]       # needs PyTorch and NumPy; Debian's python3-torch will do

SET is a set of golden fixtures with the same architectures (default: the ones that are there). The networks (training/mini/models) must first give
its tensors out of its weights: with the set that the reference implementation computed they stand for it from then on. Inputs are random f16 numbers.
"""
import sys
from pathlib import Path

import torch
from torch.nn import functional as F

from fixture_files import (GOLDEN, largest_error, provenance, read_config, read_tensors, read_weights, require_influence, rule_of,
                           weights_by, write_json, write_packed, write_rule)
from mini.files import load_part
from mini.models import diffusion
from mini.models.vae import Decoder, Encoder, Sizes, moments_to_sample
from mini.models.video_unet import VideoUNet
from mini.models.vit import DEVIATION, MEAN, ImageTower

UNET, TOWER, FIRST, CONDITION = ("model.diffusion_model.", "conditioner.embedders.0.open_clip.model.visual.", "first_stage_model.",
                                 "conditioner.embedders.3.encoder.")
TEMPORAL = ("time_stack", "time_mix_conv", "mix_factor")
ONE_WORD = ("attn2.to_q", "attn2.to_k", "transformer_blocks.0.norm2", "time_stack.0.norm2")  # no influence over one word of context
CHECKS = []  # what require_influence takes, done last: that takes minutes
NETWORKS = "our own networks (training/mini/models)"


def half(*shape):
    """Normal numbers that f16 holds, which compress well."""
    return torch.randn(*shape).half().float()


def pictures(count, height, width):
    """[count,3,height,width] in [-1,1], patches and grain, of bytes."""
    patches = F.interpolate(torch.rand(count, 3, height // 8, width // 8), (height, width), mode="nearest")
    return (patches * 0.75 + torch.rand(count, 3, height, width) * 0.25).mul(255).round() / 255 * 2 - 1


def observe(module, names):
    """The named submodules' outputs of the next call: a dictionary that fills itself."""
    seen = {}

    def keep(name):
        return lambda _module, _inputs, output: seen.__setitem__(name, output.clone())

    for name in names:
        part = module.get_submodule(name)
        part = part[-1] if isinstance(part, torch.nn.ModuleList) else part
        part.register_forward_hook(keep(name))
    return seen


def video_unet(config, weights):
    c = config["network_config"]
    inner = weights[UNET + "middle_block.1.transformer_blocks.0.ff.net.2.weight"].shape
    sizes = VideoUNet.Sizes(vector=c["adm_in_channels"], context=c["context_dim"], channels=c["model_channels"], factors=tuple(c["channel_mult"]),
                            blocks=c["num_res_blocks"], attention=tuple(c["attention_resolutions"]), head=c["num_head_channels"],
                            ratio=inner[1] / inner[0], embedding=4 * c["model_channels"])
    return load_part(VideoUNet(sizes), weights, UNET).eval()


def unet_call(config, weights, io):
    network = video_unet(config, weights)
    blocks = [f"{side}_blocks.{i}" for side in ("input", "output") for i in range(len(network.get_submodule(f"{side}_blocks")))]
    middle = [f"middle_block.{part}" for part in ("0", "0.in_layers", "0.emb_layers", "1", "1.norm", "1.proj_in", "1.transformer_blocks.0", "1.time_stack.0",
                                                  "1.time_mixer")]
    seen = observe(network, ["time_embed", "label_emb", "middle_block", *blocks, *middle])
    output = network(io["x"], io["timesteps"], io["context"][:, 0], io["y"], config["num_video_frames"])
    return {"output": output, **{("inter.detail." if name in middle else "inter.") + name: value for name, value in seen.items()}}


def unet_inputs(config, videos, height, width):
    c, rows = config["network_config"], videos * config["num_video_frames"]
    return {"x": half(rows, 8, height, width), "timesteps": (torch.rand(rows) * 3 - 1.5).half().float(), "context": half(rows, 1, c["context_dim"]),
            "y": half(rows, c["adm_in_channels"])}


def guided_sampling(config, network, videos, injection=None):
    """Yields (step, video, halves of the denoised doubled batch, guided, latent) in the program's order. videos: dictionaries of inputs."""
    frames, guide = config["num_frames"], config["guider"]
    ramp = diffusion.linear_guidance if guide["type"].startswith("Linear") else diffusion.triangle_guidance
    scale = ramp(frames, guide["min_scale"], guide["max_scale"])[:, None, None, None]
    sigmas = diffusion.edm_sigmas(config["steps"], config["sigma_min"], config["sigma_max"], config["rho"])
    latents = [video["noise"] * torch.sqrt(1 + sigmas[0] ** 2) for video in videos]
    for step in range(config["steps"]):
        hook = injection() if injection else None
        for k, video in enumerate(videos):
            if hook:
                hook.next_video(k == 0)
            both = lambda name: torch.cat([video[f"uc.{name}"], video[f"c.{name}"]])
            denoised = diffusion.denoise(network, torch.cat([latents[k]] * 2), sigmas[step].expand(2 * frames), both("crossattn")[:, 0], both("concat"),
                                         both("vector"), frames, hook)
            bare, conditional = denoised.chunk(2)
            guided = bare + scale * (conditional - bare)
            latents[k] = latents[k] + (latents[k] - guided) * ((sigmas[step + 1] - sigmas[step]) / sigmas[step])
            yield step, k, hook, denoised, guided, latents[k]


def sampling_inputs(config, height, width, vectors=None):
    c, frames = config["network_config"], config["num_frames"]
    one = lambda *shape: half(1, *shape).repeat(frames, *[1] * len(shape))
    context, concat = one(1, c["context_dim"]), one(4, height, width)
    vector = half(frames, c["adm_in_channels"]) if vectors is None else vectors
    return {"noise": half(frames, 4, height, width), "c.crossattn": context, "uc.crossattn": torch.zeros_like(context), "c.concat": concat,
            "uc.concat": torch.zeros_like(concat), "c.vector": vector, "uc.vector": vector}


def schedule_of(config):
    guide, frames = config["guider"], config["num_frames"]
    ramp = diffusion.linear_guidance if guide["type"].startswith("Linear") else diffusion.triangle_guidance
    return {"sigmas": diffusion.edm_sigmas(config["steps"], config["sigma_min"], config["sigma_max"], config["rho"]),
            "guidance_scale": ramp(frames, guide["min_scale"], guide["max_scale"])[None]}


def sampling_run(config, weights, io):
    out = {"guidance_scale": schedule_of(config)["guidance_scale"]}
    for step, _, _, denoised, guided, latent in guided_sampling(config, video_unet(config, weights), [io]):
        out.update({f"step{step}.denoised_both_uc_then_c": denoised, f"step{step}.denoised_guided": guided, f"step{step}.latent": latent})
    return {**out, "final_latent": latent}


def injection_runs(config, weights, io):
    network, last = video_unet(config, weights), config["steps"] - 1
    videos = [{name.split(".", 1)[1]: value for name, value in io.items() if name.startswith(f"frame{k}.")} for k in range(config["video_frames"])]
    out = {}
    for case, strength, ema in (("noref", None, False), ("ref_ema", config["ref_strength"], True), ("ref_noema", config["ref_strength"], False),
                                ("ref_ema_strength0.3", 0.3, True)):
        hook = None if strength is None else lambda: diffusion.Injection(strength, ema)
        for step, k, kept, _, _, latent in guided_sampling(config, network, videos, hook):
            if case != "ref_ema_strength0.3":
                out[f"{case}.frame{k}.step{step}.latent"] = latent
            if step == last:
                out[f"{case}.frame{k}.final_latent"] = latent
            if case == "ref_ema" and k < 2 and step in (0, last):
                when = ("after_frame0", "after_frame1_ema")[k]
                out.update({f"refs.step{step}.layer{i}.{when}": tokens for i, tokens in enumerate(kept._kept)})
    return out


def vae_call(config, weights, io):
    c, part = config["ddconfig"], lambda name: weights[CONDITION + name]
    sizes = Sizes(c["ch"], tuple(c["ch_mult"]), c["num_res_blocks"], c["z_channels"])
    moments = load_part(Encoder(sizes), weights, FIRST + "encoder.")(io["x"])
    condition = F.conv2d(load_part(Encoder(sizes), weights, CONDITION + "encoder.")(io["x"]), part("quant_conv.weight"), part("quant_conv.bias"))
    temporal = load_part(Decoder(sizes, True), weights, FIRST + "decoder.")
    plain = load_part(Decoder(sizes), {k: v for k, v in weights.items() if not any(t in k for t in TEMPORAL)}, FIRST + "decoder.")
    z, frames = io["z"] / config["scale_factor"], config["T"]
    chunks = lambda size: torch.cat([temporal(one, len(one)) for one in z.split(size)])
    out = {"moments": moments, "mean": moments[:, :4], "sample_given_eps": moments_to_sample(moments, io["eps"]), "cond_moments": condition,
           "cond_mode": condition[:, :4], "decoded_chunk1": chunks(1), "decoded_chunk2": chunks(2), "sv3d_decoded": plain(z), "sv3d_decoded_all": plain(z),
           "decode_raw_unscaled_T": temporal(io["z"], frames)}
    seen = observe(temporal, ["conv_in", "mid.block_1", "mid.attn_1", "mid.block_2", "norm_out"])
    out["decoded_T"] = temporal(z, frames)
    return {**out, **{f"dec.{name}": value for name, value in seen.items()}}


def prepared(pictures, size):
    """The image embedder's own resizing: a Gaussian blur of each axis that shrinks, then bicubic interpolation from corner to corner."""
    if any(extent > size for extent in pictures.shape[2:]):
        for axis in (2, 3):
            sigma = max((pictures.shape[axis] / size - 1) / 2, 0.001)
            reach = int(max(4 * sigma, 3)) // 2
            line = torch.exp(-torch.arange(-reach, reach + 1, dtype=torch.float32) ** 2 / (2 * sigma**2))
            kernel = (line / line.sum()).reshape(1, 1, *((-1, 1) if axis == 2 else (1, -1))).expand(3, 1, -1, -1)
            pads = (0, 0, reach, reach) if axis == 2 else (reach, reach, 0, 0)
            pictures = F.conv2d(F.pad(pictures, pads, "reflect"), kernel, groups=3)
    pictures = F.interpolate(pictures, (size, size), mode="bicubic", align_corners=True)
    numbers = lambda x: torch.tensor(x)[:, None, None]
    return ((pictures + 1) / 2 - numbers(MEAN)) / numbers(DEVIATION)


def tower_call(config, weights, io):
    arch, v = config["arch"], config["arch"]["vision_cfg"]
    inner = weights[TOWER + "transformer.resblocks.0.mlp.c_fc.bias"].shape[0]
    tower = load_part(ImageTower(ImageTower.Sizes(v["image_size"], v["patch_size"], v["width"], v["layers"], v["head_width"], inner, arch["embed_dim"])),
                      weights, TOWER)
    names = {"conv1": "patch_embed", "ln_pre": "ln_pre", **{f"transformer.resblocks.{i}": f"block{i}" for i in range(v["layers"])}}
    seen = observe(tower, names)
    pictures = prepared(io["x"], v["image_size"])
    embedding, tokens = tower(pictures), seen[f"transformer.resblocks.{v['layers'] - 1}"]
    return {"preprocessed": pictures, **{names[name]: value for name, value in seen.items()}, "ln_post": tower.ln_post(tokens), "embedding": embedding,
            "crossattn": embedding[:, None]}


def make(source, name, compute, probe, inputs, kept, weights=None, without=(), **changed):
    """One fixture: verified on the set's own, then written with new inputs and, unless given, new weights; → these. probe: results that
    every weight must influence; kept: what of config.json stays."""
    print(name)
    config, theirs, stored = read_config(source / name), read_weights(source / name), read_tensors(source / name / "io.safetensors")
    error = largest_error(compute(config, theirs, stored), stored)
    file = config.get("weights", "weights.safetensors").replace(".safetensors", ".hash.json")
    config = {"weights": file, **{key: config[key] for key in kept}, **changed, "provenance": provenance(config, Path(__file__).name, NETWORKS, error)}
    io = inputs(config, stored)
    if weights is None:
        rule = rule_of({key: value.shape for key, value in theirs.items()})
        write_rule(GOLDEN / name / file, rule)
        weights = weights_by(rule)
    results = compute(config, weights, io)
    print("  root mean squares:", *(f"{key} {value.pow(2).mean().sqrt():.2f}" for key, value in results.items() if "step" not in key))
    write_json(GOLDEN / name / "config.json", config)
    write_packed(GOLDEN / name / "io.safetensors", {**io, **results})
    if probe:
        CHECKS.append((name, weights, lambda others: probe(config, others, io), without))
    return weights


def one_call(config, weights, io):
    frames, part = config["num_frames"], lambda name: io[f"frame0.{name}"]
    x = torch.cat([part("noise"), part("c.concat")], 1)
    return {"output": video_unet(config, weights)(x, torch.full((frames,), 0.3), part("c.crossattn")[:, 0], part("c.vector"), frames)}


@torch.no_grad()
def main():
    torch.manual_seed(7)
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else GOLDEN
    sampler = ("network_config", "num_frames", "steps", "sigma_min", "sigma_max", "rho", "guider")
    weights = make(source, "svd_unet", unet_call, unet_call, lambda config, _: unet_inputs(config, 2, 8, 12),
                   ("network_config", "key_prefix", "groupnorm_eps", "layernorm_eps", "timesteps", "layout"), without=ONE_WORD, num_video_frames=3)
    make(source, "svd_sampling", sampling_run, None, lambda config, stored: sampling_inputs(config, 12, 8, stored["c.vector"]),
         (*sampler, "initial", "batch_order", "vector_defaults"), weights)
    make(source, "sv3d_injection", injection_runs, one_call,
         lambda config, stored: {f"frame{k}.{name}": value for k in range(config["video_frames"])
                                 for name, value in sampling_inputs(config, 4, 6, stored[f"frame{k}.c.vector"]).items()},
         (*sampler, "video_frames", "vector_order", "ref_strength", "reference_layer_order", "reference_layout"), without=ONE_WORD)
    make(source, "svd_vae", vae_call, vae_call,
         lambda *_: {"x": half(2, 3, 24, 40).clamp(-1, 1), "eps": half(2, 4, 6, 10), "z": half(3, 4, 6, 10)},
         ("ddconfig", "video_kernel_size", "time_mode", "scale_factor", "groupnorm", "keys_without_suffix"), without=("post_quant_conv", ".k.bias"), T=3)
    make(source, "openclip_vit", tower_call, tower_call, lambda *_: {"x": pictures(2, 80, 96)},
         ("arch", "resize_to", "resize", "mean", "std", "act", "ln_eps"))
    for check in CHECKS:
        require_influence(*check)


if __name__ == "__main__":
    main()
