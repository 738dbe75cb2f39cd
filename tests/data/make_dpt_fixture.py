#!/usr/bin/env python3
"""Writes tests/data/dpt: a small DPT-Hybrid, weights by the integer hash, and what it computes of two inputs, inside too.

    python3 tests/data/make_dpt_fixture.py [FOLDER]       # needs PyTorch and NumPy; Debian's python3-torch will do

The functions below are written from the papers (Ranftl et al. 2021, Kolesnikov et al. 2020). FOLDER: model.safetensors and cases.safetensors with
what another implementation computed of it (square.input, .embeddings, .encoder, .depth); the functions must first give the same.

    model.hash.json, config.json    in the layout of Hugging Face's transformers, f16
    io.safetensors.gz    NAME.input; NAME.embeddings, .encoder: tokens; .fused: the feature map before the head; .raw, .depth: before and after
                         the last ReLU
"""
import sys
from pathlib import Path

import torch
from torch.nn import functional as F

from fixture_files import HERE, largest_error, provenance, read_config, read_tensors, require_influence, rule_of, weights_by, write_json, write_packed, write_rule

FOLDER = HERE / "dpt"
HEADS, TAPS, STAGES, LAYERS = 4, (2, 3), (2, 1, 2), 4
UNUSED = ("dpt.layernorm", "fusion_stage.layers.0.residual_layer1")  # the library's files have them
WEIGHTS = {}  # of the network that computes, in double precision


def convolution(name, x, **how):
    return F.conv2d(x, WEIGHTS[name + ".weight"], WEIGHTS.get(name + ".bias"), **how)


def linear(name, x):
    return F.linear(x, WEIGHTS[name + ".weight"], WEIGHTS[name + ".bias"])


def same_padded(x, kernel, stride):
    pads = []
    for extent in (x.shape[3], x.shape[2]):
        missing = max((-(-extent // stride) - 1) * stride + kernel - extent, 0)
        pads += [missing // 2, missing - missing // 2]
    return F.pad(x, pads)


def unit(name, norm, x, stride=1):
    weight = WEIGHTS[name + ".weight"]
    flat = weight.reshape(len(weight), -1)
    flat = (flat - flat.mean(1, keepdim=True)) / torch.sqrt(flat.var(1, unbiased=False, keepdim=True) + 1e-8)
    y = F.conv2d(same_padded(x, weight.shape[2], stride), flat.reshape(weight.shape), stride=stride)
    return F.group_norm(y, 32, WEIGHTS[norm + ".weight"], WEIGHTS[norm + ".bias"], 1e-5)


def backbone(x):
    root, features = "dpt.embeddings.backbone.bit.", []
    x = F.relu(unit(root + "embedder.convolution", root + "embedder.norm", x, 2))
    x = F.max_pool2d(same_padded(x, 3, 2), 3, 2)
    for stage, blocks in enumerate(STAGES):
        for i in range(blocks):
            block, stride = f"{root}encoder.stages.{stage}.layers.{i}.", 2 if stage > 0 and i == 0 else 1
            y = F.relu(unit(block + "conv1", block + "norm1", x))
            y = F.relu(unit(block + "conv2", block + "norm2", y, stride))
            y = unit(block + "conv3", block + "norm3", y)
            x = F.relu(y + (unit(block + "downsample.conv", block + "downsample.norm", x, stride) if i == 0 else x))
        features.append(x)
    return features


def layer_norm(name, x):
    return F.layer_norm(x, x.shape[-1:], WEIGHTS[name + ".weight"], WEIGHTS[name + ".bias"], 1e-12)


def embeddings(features):
    x = convolution("dpt.embeddings.projection", features)
    positions = WEIGHTS["dpt.embeddings.position_embeddings"]
    side = round((positions.shape[1] - 1) ** 0.5)
    grid = positions[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=x.shape[2:], mode="bilinear", align_corners=False)
    first = WEIGHTS["dpt.embeddings.cls_token"] + positions[:, :1]
    return torch.cat([first.expand(len(x), -1, -1), (x + grid).flatten(2).transpose(1, 2)], 1)


def transformer(x):
    results = []
    for i in range(LAYERS):
        block = f"dpt.encoder.layer.{i}."
        h = layer_norm(block + "layernorm_before", x)
        split = lambda name: linear(f"{block}attention.attention.{name}", h).reshape(*h.shape[:2], HEADS, -1).transpose(1, 2)
        q, k, v = split("query"), split("key"), split("value")
        y = torch.softmax(q @ k.transpose(2, 3) / q.shape[-1] ** 0.5, -1) @ v
        x = x + linear(block + "attention.output.dense", y.transpose(1, 2).reshape(h.shape))
        h = F.gelu(linear(block + "intermediate.dense", layer_norm(block + "layernorm_after", x)))
        x = x + linear(block + "output.dense", h)
        results.append(x)
    return results


def residual(name, x):
    y = convolution(name + ".convolution1", F.relu(x), padding=1)
    return x + convolution(name + ".convolution2", F.relu(y), padding=1)


def doubled(x):
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)


def network(pictures):
    features = backbone(pictures)
    height, width = features[-1].shape[2:]
    tokens = embeddings(features[-1])
    blocks = transformer(tokens)
    levels = features[:2]
    for level, tap in zip((2, 3), TAPS):
        name, x = "neck.reassemble_stage.", blocks[tap]
        x = torch.cat([x[:, 1:], x[:, :1].expand(-1, x.shape[1] - 1, -1)], 2)
        x = F.gelu(linear(f"{name}readout_projects.{level}.0", x))
        x = x.transpose(1, 2).reshape(len(x), -1, height, width)
        x = convolution(f"{name}layers.{level}.projection", x)
        levels.append(convolution(f"{name}layers.{level}.resize", x, stride=2, padding=1) if level == 3 else x)
    fused = None
    for i, level in enumerate((3, 2, 1, 0)):
        fusion, x = f"neck.fusion_stage.layers.{i}.", convolution(f"neck.convs.{level}", levels[level], padding=1)
        x = x if fused is None else fused + residual(fusion + "residual_layer1", x)
        fused = convolution(fusion + "projection", doubled(residual(fusion + "residual_layer2", x)))
    x = doubled(convolution("head.head.0", fused, padding=1))
    raw = convolution("head.head.4", F.relu(convolution("head.head.2", x, padding=1)))
    return dict(embeddings=tokens, encoder=blocks[-1], fused=fused, raw=raw, depth=F.relu(raw)[:, 0])


def take(weights):
    WEIGHTS.clear()
    WEIGHTS.update({name: value.double() for name, value in weights.items()})


def verified(folder, config):
    """The functions against another implementation; → provenance for config.json."""
    stored = read_tensors(folder / "cases.safetensors")
    take(read_tensors(folder / "model.safetensors"))
    computed = network(stored["square.input"].double())
    error = largest_error({f"square.{name}": computed[name] for name in ("embeddings", "encoder", "depth")}, stored, 1e-6)
    return provenance(config, Path(__file__).name, "functions of its own in double precision", error,
                      "Hugging Face transformers 5.17's")


def main():
    torch.manual_seed(1)
    config = read_config(FOLDER)
    if len(sys.argv) > 1:
        config["provenance"] = verified(Path(sys.argv[1]), config)
    rule = rule_of({name: value.shape for name, value in read_tensors(FOLDER / "model.safetensors").items()})
    rule["hash"]["head.head.4.bias"]["add"] = -4  # puts about half of the depth above the last ReLU
    weights = weights_by(rule)
    take(weights)
    io = {"square.input": torch.randn(1, 3, 64, 64).half(), "wide.input": torch.randn(2, 3, 32, 96).half()}
    for name in ("square", "wide"):
        results = network(io[f"{name}.input"].double())
        io.update({f"{name}.{part}": value for part, value in results.items()})
        print(name, *(f"{part} {value.pow(2).mean().sqrt():.2f}" for part, value in results.items()), f"above zero {(results['raw'] > 0).double().mean():.2f}")
    write_packed(FOLDER / "io.safetensors", {name: value.float() for name, value in io.items()})
    write_rule(FOLDER / "model.hash.json", rule)
    write_json(FOLDER / "config.json", config)

    def probe(others):
        take(others)
        return network(io["square.input"].double())

    require_influence("dpt", weights, probe, UNUSED)


if __name__ == "__main__":
    main()
