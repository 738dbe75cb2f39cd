#!/usr/bin/env python3
"""Writes tests/data/controlnet: a small ControlNet for SDXL with random weights, and what PyTorch computes with it.

    python3 tests/data/make_controlnet_fixture.py       # needs PyTorch and NumPy; Debian's python3-torch will do

The UNet is the one of the golden fixture sdxl_img2img; the ControlNet is its first half over again, built from the same
modules (training/mini/models/sdxl_unet.py), with what Zhang et al. 2023 add. Everything is computed in double precision.

    diffusion_pytorch_model.safetensors, config.json    in the layout of the diffusers library, f16
    io.safetensors    x, steps, context, vector, hint: two calls of the networks; residual.0 …, residual.middle: what the
                      ControlNet puts out; plain, controlled: the UNet's prediction without it and with SCALE times it
"""
import json
import os
import sys
import tarfile
import tempfile

import torch
from torch import nn
from torch.nn import functional as F

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../../training"))
from mini.files import read_safetensors, write_safetensors  # noqa: E402
from mini.models.layers import sinusoids  # noqa: E402
from mini.models.sdxl_unet import SdxlUNet  # noqa: E402

SIZES = SdxlUNet.Sizes(context=80, pooled=40, channels=(32, 32, 64), blocks=1, depth=(0, 1, 2), head=16, time_width=8)
SCALE = 0.3
HINT_CHANNELS = (8, 12, 16)  # two halvings: a latent is four pixels wide
OUT = os.path.join(HERE, "controlnet")


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


def randomise(network):
    """No layer is zero, and activations neither vanish nor grow; as f16 holds them."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5)
            if module.bias is not None:
                nn.init.normal_(module.bias, std=0.1)
        if isinstance(module, (nn.GroupNorm, nn.LayerNorm)):
            nn.init.uniform_(module.weight, 0.7, 1.4)
            nn.init.normal_(module.bias, std=0.1)
    for parameter in network.parameters():
        parameter.data = parameter.data.half().double()


def golden_unet():
    with tempfile.TemporaryDirectory() as folder, tarfile.open(
            os.path.join(HERE, "golden/sdxl_img2img/pipeline.tar")) as tar:
        tar.extractall(folder)
        tensors, _ = read_safetensors(os.path.join(folder, "unet/diffusion_pytorch_model.safetensors"))
    network = SdxlUNet(SIZES)
    network.load_state_dict(tensors)
    return network.double()


def main():
    torch.manual_seed(4)
    unet, control = golden_unet(), ControlNet()
    randomise(control)
    x, context = torch.randn(2, 4, 8, 12).double(), torch.randn(2, 5, SIZES.context).double()
    vector, hint = torch.randn(2, SIZES.pooled + 6 * SIZES.time_width).double(), torch.rand(2, 3, 32, 48).double()
    steps = torch.tensor([481.0, 21.0])
    with torch.no_grad():
        residuals, middle = control(x, steps, context, vector, hint)
        skips, h = first_half(unet, x, steps, context, vector)
        plain = second_half(unet, h, skips, steps, context, vector)
        summed = [skip + SCALE * residual for skip, residual in zip(skips, residuals)]
        controlled = second_half(unet, h + SCALE * middle, summed, steps, context, vector)
    os.makedirs(OUT, exist_ok=True)
    io = dict(x=x, steps=steps, context=context, vector=vector, hint=hint, plain=plain, controlled=controlled)
    io.update({f"residual.{i}": residual for i, residual in enumerate(residuals)}, **{"residual.middle": middle})
    write_safetensors(os.path.join(OUT, "io.safetensors"), {name: value.float() for name, value in io.items()}, {})
    write_safetensors(os.path.join(OUT, "diffusion_pytorch_model.safetensors"),
                      {name: value.half() for name, value in control.state_dict().items()}, {})
    config = {"_class_name": "ControlNetModel", "block_out_channels": list(SIZES.channels),
              "attention_head_dim": [width // SIZES.head for width in SIZES.channels],
              "controlnet_conditioning_channel_order": "rgb", "global_pool_conditions": False,
              "conditioning_scale_of_the_fixture": SCALE}
    with open(os.path.join(OUT, "config.json"), "w") as file:
        json.dump(config, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
