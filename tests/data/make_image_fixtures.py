#!/usr/bin/env python3
"""Writes golden/sdxl_img2img and golden/losses/lpips_alex: weights by the integer hash, what PyTorch computes with them.

    python3 tests/data/make_image_fixtures.py [SET]       # needs PyTorch and NumPy; Debian's python3-torch will do

SET is a set of golden fixtures with the same architectures, as for make_video_fixtures.py. SDXL is computed in fp32 with the networks of
training/mini/models; LPIPS (Zhang et al. 2018) in double precision with the functions below. The heads of LPIPS stay as they are.
"""
import json
import sys
from pathlib import Path

import torch
from torch.nn import functional as F

from fixture_files import (GOLDEN, Pipeline, largest_error, provenance, read_config, read_tensors, require_influence, rule_of, weights_by, write_json,
                           write_packed, write_rule)
from export import diffusers_name  # training/
from mini.files import load_part
from mini.models import diffusion
from mini.models.sdxl_unet import SdxlUNet
from mini.models.text import TextEncoder
from mini.models.vae import Autoencoder, Sizes, moments_to_sample

SCRIPT, PARTS = Path(__file__).name, ("text_encoder", "text_encoder_2", "unet", "vae")
POOL_BEFORE, ALEX = (3, 6), {0: dict(stride=4, padding=2), 3: dict(padding=2), 6: dict(padding=1), 8: dict(padding=1), 10: dict(padding=1)}


def text_encoder(config, weights, second):
    sizes = TextEncoder.Sizes(config["vocab_size"], config["hidden_size"], config["num_hidden_layers"], config["num_attention_heads"],
                              config["intermediate_size"], config["max_position_embeddings"], config["hidden_act"] == "quick_gelu",
                              config["projection_dim"] if second else 0)
    return load_part(TextEncoder(sizes), weights)


def unet_of(config, weights, pooled):
    depth = tuple(d if "CrossAttn" in kind else 0 for d, kind in zip(config["transformer_layers_per_block"], config["down_block_types"]))
    heads = {width // count for width, count in zip(config["block_out_channels"], config["attention_head_dim"])}
    return load_part(SdxlUNet(SdxlUNet.Sizes(config["cross_attention_dim"], pooled, tuple(config["block_out_channels"]), config["layers_per_block"], depth,
                                             heads.pop(), config["addition_time_embed_dim"])), weights)


def autoencoder(config, weights):
    widths = config["block_out_channels"]
    auto = Autoencoder(Sizes(widths[0], tuple(width // widths[0] for width in widths), config["layers_per_block"], config["latent_channels"]))
    named = {key: weights[diffusers_name(key, len(widths))].reshape(value.shape) for key, value in auto.state_dict().items()}
    auto.load_state_dict(named)
    return auto


def image_to_image(config, parts, io):
    """Picture to picture through one step, and all between. parts: name → config.json, weights."""
    out = {}
    for i, name in enumerate(PARTS[:2]):
        out[f"te{i + 1}.hidden_states_penultimate"], pooled, last = text_encoder(*parts[name], i == 1)(io[f"prompt_ids_{i + 1}"])
        if i == 0:
            out["te1.last_hidden_state"] = last
    out["te2.text_embeds"] = out["unet.text_embeds"] = pooled
    context = out["unet.encoder_hidden_states"] = torch.cat([out[f"te{i}.hidden_states_penultimate"] for i in (1, 2)], -1)

    auto, weights = autoencoder(*parts["vae"]), parts["vae"][1]
    point = lambda name, x: F.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"])
    out["vae.image_in"] = io["image"] * 2 - 1
    moments = point("quant_conv", auto.encoder(out["vae.image_in"]))
    out["vae.mean"], out["vae.logvar"] = moments.chunk(2, 1)
    latents = moments_to_sample(moments, io["noise.0.vae_sample"]) * config["scaling_factor"]

    sigma = diffusion.sdxl_sigma(torch.tensor([int(config["timesteps_run"][0])]))
    latents = out["step.in_latents"] = latents + io["noise.1.add_noise"] * sigma
    out["unet.sample_in"] = latents / torch.sqrt(sigma**2 + 1)
    unet = unet_of(*parts["unet"], pooled.shape[1])
    out["unet.noise_pred"] = unet(out["unet.sample_in"], io["unet.t"], context, pooled, io["unet.time_ids"])
    out["step.prev_sample"] = latents - sigma * out["unet.noise_pred"]
    out["vae.decode_in"] = out["step.prev_sample"] / config["scaling_factor"]
    out["vae.decoded"] = auto.decoder(point("post_quant_conv", out["vae.decode_in"]))
    steps = torch.arange(config["scheduler"]["num_train_timesteps"] - 1, 0, -config["scheduler"]["num_train_timesteps"] // config["num_inference_steps"])
    out["scheduler.timesteps"], out["scheduler.sigmas"] = steps.float(), torch.cat([diffusion.sdxl_sigma(steps), torch.zeros(1)])
    return {**out, "image_out": (out["vae.decoded"] / 2 + 0.5).clamp(0, 1)}


def make_sdxl(source):
    print("sdxl_img2img")
    folder, theirs = GOLDEN / "sdxl_img2img", Pipeline(source / "sdxl_img2img")
    config, stored = read_config(source / "sdxl_img2img"), read_tensors(source / "sdxl_img2img/io.safetensors")
    parts = {name: theirs.part(name) for name in PARTS}
    error = largest_error(image_to_image(config, parts, stored), stored)
    config["provenance"] = provenance(config, SCRIPT, "our own networks (training/mini/models)", error)
    for name in ("tolerance_cpu_vs_gpu_fp32", "text_keys_sample"):
        config.pop(name, None)
    if source != GOLDEN:
        for path in theirs.folder.rglob("*.json"):
            copy = folder / "pipeline" / path.relative_to(theirs.folder)
            copy.parent.mkdir(parents=True, exist_ok=True)
            write_json(copy, json.loads(path.read_text()))
    for name in PARTS:
        rule = rule_of({key: value.shape for key, value in parts[name][1].items()})
        write_rule(folder / "pipeline" / name / f"{'model' if name.startswith('text') else 'diffusion_pytorch_model'}.hash.json", rule)
        parts[name] = (parts[name][0], weights_by(rule))
    noise = lambda: torch.randn(1, 4, 16, 12).half().float()
    io = {"image": torch.rand(1, 3, 64, 48).mul(255).round() / 255, **{name: stored[name] for name in ("prompt_ids_1", "prompt_ids_2", "unet.t", "unet.time_ids")},
          **{f"noise.{i}.{name}": noise() for i, name in enumerate(config["noise_order"])}}
    results = image_to_image(config, parts, io)
    print("  root mean squares:", *(f"{key} {value.pow(2).mean().sqrt():.2f}" for key, value in results.items()))
    write_json(folder / "config.json", config)
    write_packed(folder / "io.safetensors", {**io, **results})
    probes = {"unet": ("unet.noise_pred",), "vae": ("vae.mean", "vae.decoded"), "text_encoder": ("te1.last_hidden_state", "te1.hidden_states_penultimate"),
              "text_encoder_2": ("te2.text_embeds", "te2.hidden_states_penultimate")}

    def probe(name):
        def run(weights):
            out = image_to_image(config, {**parts, name: (parts[name][0], weights)}, io)
            return {key: out[key] for key in probes[name]}
        return run

    return [(f"sdxl_img2img {name}", parts[name][1], probe(name)) for name in PARTS]


def lpips(config, backbone, heads, io):
    """AlexNet's five feature maps, compared; in double precision."""
    numbers = lambda name: torch.tensor(config[name], dtype=torch.float64)[:, None, None]
    first, second = io["img1"].double().requires_grad_(), io["img2"].double()
    weights = {name: value.double() for name, value in backbone.items()}

    def features(x):
        x = (x - numbers("shift")) / numbers("scale")
        for layer, how in ALEX.items():
            x = F.max_pool2d(x, 3, 2) if layer in POOL_BEFORE else x
            x = F.relu(F.conv2d(x, weights[f"features.{layer}.weight"], weights[f"features.{layer}.bias"], **how))
            yield x / (x.pow(2).sum(1, keepdim=True).sqrt() + config["normalize_eps"])

    with torch.enable_grad():
        layers = [F.conv2d((a - b) ** 2, heads[f"lin{i}.model.1.weight"].double()).mean((2, 3), keepdim=True)
                  for i, (a, b) in enumerate(zip(features(first), features(second)))]
        value = sum(layers)
        value.mean().backward()
    out = {**{f"layer{i}": layer for i, layer in enumerate(layers)}, "value_per_image": value, "loss_mean": value.mean()[None],
           "grad_img1_of_mean": first.grad}
    return {name: tensor.detach().float() for name, tensor in out.items()}


def make_lpips(source):
    print("lpips_alex")
    folder, all_of_theirs = source / "losses", read_config(source / "losses")
    theirs, stored, heads = all_of_theirs["lpips_alex"], read_tensors(folder / "lpips_alex.io.safetensors"), read_tensors(folder / "lpips_alex.linear.safetensors")
    backbone = weights_by(theirs) if theirs["hash"] else read_tensors(folder / "lpips_alex.backbone.safetensors")
    error = largest_error(lpips(theirs, backbone, heads, stored), stored, 2e-3)  # of the gradient: where a ReLU ties, it may fall either way
    hash_rule = rule_of({name: value.shape for name, value in backbone.items()})["hash"]
    for name, how in hash_rule.items():
        how["s"] = round(how["s"] * 1.4142, 4) if name.endswith("weight") else 0.2  # a ReLU follows
    patches = F.interpolate(torch.rand(2, 3, 12, 10), (96, 80), mode="nearest")
    grain = lambda: torch.rand(2, 3, 96, 80) * 0.25
    io = {f"img{i}": (patches * 0.75 + grain()).mul(255).round() / 255 for i in (1, 2)}
    kept = {name: theirs[name] for name in ("H", "W", "normalize_eps", "shift", "scale", "note")}
    config = {**kept, "backbone": "weights generated by the integer hash, see NOTES", "hash": hash_rule,
              "provenance": provenance(theirs, SCRIPT, "functions of its own in double precision", error)}
    results = lpips(config, weights_by(config), heads, io)
    print("  values:", *(f"{key} {value.flatten().tolist()}" for key, value in results.items() if "grad" not in key))
    write_packed(GOLDEN / "losses/lpips_alex.io.safetensors", {**io, **results})
    write_json(GOLDEN / "losses/config.json", {**read_config(GOLDEN / "losses"), "lpips_alex": config})
    return [("lpips_alex", weights_by(config), lambda weights: lpips(config, weights, heads, io))]


@torch.no_grad()
def main():
    torch.manual_seed(8)
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else GOLDEN
    for check in make_sdxl(source) + make_lpips(source):
        require_influence(*check)


if __name__ == "__main__":
    main()
