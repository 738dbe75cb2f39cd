#!/usr/bin/env python3
"""Writes tests/data/controlnet: a small ControlNet for SDXL, weights by the integer hash, and what PyTorch computes with it.

    python3 tests/data/make_controlnet_fixture.py       # needs PyTorch and NumPy; Debian's python3-torch will do

The UNet is the one of the golden fixture sdxl_img2img; the ControlNet is its first half over again, built from the same
modules (training/mini/models/sdxl_unet.py), with what Zhang et al. 2023 add. Everything is computed in double precision.

    diffusion_pytorch_model.hash.json, config.json    in the layout of the diffusers library, f16
    io.safetensors.gz    x, steps, context, vector, hint: two calls of the networks; residual.0 …, residual.middle: what the
                      ControlNet puts out; plain, controlled: the UNet's prediction without it and with SCALE times it
"""
import torch
from torch import nn
from torch.nn import functional as F

from fixture_files import GOLDEN, HERE, Pipeline, require_influence, rule_of, weights_by, write_json, write_packed, write_rule
from mini.models.layers import sinusoids
from mini.models.sdxl_unet import SdxlUNet

SIZES = SdxlUNet.Sizes(context=80, pooled=40, channels=(32, 32, 64), blocks=1, depth=(0, 1, 2), head=16, time_width=8)
SCALE = 0.3
HINT_CHANNELS = (8, 12, 16)  # two halvings: a latent is four pixels wide
OUT = HERE / "controlnet"


class Hint(nn.Module):
    def __init__(self, out):
        super().__init__()
        self.conv_in = nn.Conv2d(3, HINT_CHANNELS[0], 3, padding=1)
        self.blocks = nn.ModuleList()
        for narrow, wide in zip(HINT_CHANNELS[:-1], HINT_CHANNELS[1:]):
            self.blocks.append(nn.Conv2d(narrow, narrow, 3, padding=1))
            self.blocks.append(nn.Conv2d(narrow, wide, 3, padding=1, stride=2))
        self.conv_out = nn.Conv2d(HINT_CHANNELS[-1], out, 3, padding=1)

    def forward(self, hint):
        h = F.silu(self.conv_in(hint))
        for block in self.blocks:
            h = F.silu(block(h))
        return self.conv_out(h)


def embedding_of(network, steps, vector):
    return network.time_embedding(sinusoids(steps, SIZES.channels[0]).double()) + network.add_embedding(vector)


def block(stage, i, h, embedding, context):
    h = stage.resnets[i](h, embedding)
    return stage.attentions[i](h, context) if hasattr(stage, "attentions") else h


def first_half(network, x, steps, context, vector, hint=0):
    embedding = embedding_of(network, steps, vector)
    skips = [network.conv_in(x) + hint]
    for stage in network.down_blocks:
        for i in range(SIZES.blocks):
            skips.append(block(stage, i, skips[-1], embedding, context))
        if hasattr(stage, "downsamplers"):
            skips.append(stage.downsamplers[0].conv(skips[-1]))
    h = network.mid_block.resnets[0](skips[-1], embedding)
    return skips, network.mid_block.resnets[1](network.mid_block.attentions[0](h, context), embedding)


def second_half(network, h, skips, steps, context, vector):
    embedding, skips = embedding_of(network, steps, vector), list(skips)
    for stage in network.up_blocks:
        for i in range(SIZES.blocks + 1):
            h = block(stage, i, torch.cat([h, skips.pop()], 1), embedding, context)
        if hasattr(stage, "upsamplers"):
            h = stage.upsamplers[0].conv(F.interpolate(h, scale_factor=2.0, mode="nearest"))
    return network.conv_out(F.silu(network.conv_norm_out(h)))


class ControlNet(SdxlUNet):
    def __init__(self):
        super().__init__(SIZES)
        del self.up_blocks, self.conv_norm_out, self.conv_out
        widths = [SIZES.channels[0]]
        for stage in self.down_blocks:
            widths += [resnet.conv2.out_channels for resnet in stage.resnets]
            widths += [stage.downsamplers[0].conv.out_channels] if hasattr(stage, "downsamplers") else []
        self.controlnet_cond_embedding = Hint(SIZES.channels[0])
        self.controlnet_down_blocks = nn.ModuleList([nn.Conv2d(width, width, 1) for width in widths])
        self.controlnet_mid_block = nn.Conv2d(SIZES.channels[-1], SIZES.channels[-1], 1)

    def forward(self, x, steps, context, vector, hint):
        skips, h = first_half(self, x, steps, context, vector, self.controlnet_cond_embedding(hint))
        return [layer(skip) for layer, skip in zip(self.controlnet_down_blocks, skips)], self.controlnet_mid_block(h)


def computed(unet, control, io):
    with torch.no_grad():
        residuals, middle = control(io["x"], io["steps"], io["context"], io["vector"], io["hint"])
        inputs = [io[name] for name in ("x", "steps", "context", "vector")]
        skips, h = first_half(unet, *inputs)
        plain = second_half(unet, h, skips, *inputs[1:])
        summed = [skip + SCALE * residual for skip, residual in zip(skips, residuals)]
        controlled = second_half(unet, h + SCALE * middle, summed, *inputs[1:])
    return {"plain": plain, "controlled": controlled, **{f"residual.{i}": residual for i, residual in enumerate(residuals)}, "residual.middle": middle}


def main():
    torch.manual_seed(4)
    unet, control = SdxlUNet(SIZES), ControlNet()
    unet.load_state_dict(Pipeline(GOLDEN / "sdxl_img2img").part("unet")[1])
    rule = rule_of({name: value.shape for name, value in control.state_dict().items()})
    weights = weights_by(rule)
    control.load_state_dict(weights)
    unet, control = unet.double(), control.double()
    number = lambda *shape: torch.randn(*shape).half().double()
    io = dict(x=number(2, 4, 8, 12), steps=torch.tensor([481.0, 21.0]), context=number(2, 5, SIZES.context), vector=number(2, SIZES.pooled + 6 * SIZES.time_width),
              hint=torch.rand(2, 3, 32, 48).half().double())
    results = computed(unet, control, io)
    OUT.mkdir(exist_ok=True)
    write_packed(OUT / "io.safetensors", {name: value.float() for name, value in {**io, **results}.items()})
    write_rule(OUT / "diffusion_pytorch_model.hash.json", rule)
    write_json(OUT / "config.json", {"_class_name": "ControlNetModel", "block_out_channels": list(SIZES.channels),
                                     "attention_head_dim": [width // SIZES.head for width in SIZES.channels],
                                     "controlnet_conditioning_channel_order": "rgb", "global_pool_conditions": False,
                                     "conditioning_scale_of_the_fixture": SCALE})

    def probe(others):
        control.load_state_dict(others)
        return computed(unet, control, io)

    require_influence("controlnet", weights, probe)


if __name__ == "__main__":
    main()
