#!/usr/bin/env python3
"""Writes tests/data/u2net: tiny U²-Net and IS-Net with random weights, and what PyTorch computes with them.

    python3 tests/data/make_u2net_fixture.py       # needs PyTorch and NumPy; Debian's python3-torch will do

The modules below are written from the papers' figures; their parameters have the names of the authors' files. For each
network: NAME.onnx (the graph as torch.onnx.export writes it, batch norms folded into the convolutions, names by the
exporter); of U²-Net also NAME.pth (weights with batch norms, in the old format as the authors' are);
io.safetensors: NAME.x, the picture [1,3,H,W], and NAME.logits [1,1,H,W].
"""
import json
import os
import struct
import sys

import numpy
import torch
from torch import nn
from torch.nn import functional

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "u2net")
HEIGHTS = [7, 6, 5, 4, 4, 4]
CHANNELS = [3, 2, 3, 2, 2, 3]  # of the stages' results
MIDDLE = 2


class RebnConv(nn.Module):
    def __init__(self, inputs, outputs, dilation=1):
        super().__init__()
        self.conv_s1 = nn.Conv2d(inputs, outputs, 3, padding=dilation, dilation=dilation)
        self.bn_s1 = nn.BatchNorm2d(outputs)

    def forward(self, x):
        return functional.relu(self.bn_s1(self.conv_s1(x)))


def pool(x):
    return functional.max_pool2d(x, 2, 2, ceil_mode=True)


def like(x, to):
    return functional.interpolate(x, size=to.shape[2:], mode="bilinear", align_corners=False)


class Block(nn.Module):
    def __init__(self, height, dilated, inputs, middle, outputs):
        super().__init__()
        self.height, self.dilated = height, dilated
        self.rebnconvin = RebnConv(inputs, outputs)
        for i in range(1, height + 1):
            dilation = 2 ** (i - 1) if dilated else (2 if i == height else 1)
            setattr(self, f"rebnconv{i}", RebnConv(outputs if i == 1 else middle, middle, dilation))
        for i in range(height - 1, 0, -1):
            dilation = 2 ** (i - 1) if dilated else 1
            setattr(self, f"rebnconv{i}d", RebnConv(2 * middle, outputs if i == 1 else middle, dilation))

    def forward(self, x):
        first = self.rebnconvin(x)
        down, h = [], first
        for i in range(1, self.height + 1):
            if not self.dilated and 1 < i < self.height:
                h = pool(h)
            h = getattr(self, f"rebnconv{i}")(h)
            down.append(h)
        for i in range(self.height - 1, 0, -1):
            skip = down[i - 1]
            if not self.dilated and i < self.height - 1:
                h = like(h, skip)
            h = getattr(self, f"rebnconv{i}d")(torch.cat((h, skip), 1))
        return h + first


class Network(nn.Module):
    def __init__(self, isnet):
        super().__init__()
        self.isnet = isnet
        inputs = 3
        if isnet:
            self.conv_in = nn.Conv2d(3, 4, 3, stride=2, padding=1)
            inputs = 4
        for i, (height, outputs) in enumerate(zip(HEIGHTS, CHANNELS), 1):
            setattr(self, f"stage{i}", Block(height, i > 4, inputs, MIDDLE, outputs))
            inputs = outputs
        for i in range(5, 0, -1):
            setattr(self, f"stage{i}d", Block(HEIGHTS[i - 1], i > 4, inputs + CHANNELS[i - 1], MIDDLE, CHANNELS[i - 1]))
            inputs = CHANNELS[i - 1]
        for i in range(1, 7):
            setattr(self, f"side{i}", nn.Conv2d(CHANNELS[i - 1], 1, 3, padding=1))
        if not isnet:
            self.outconv = nn.Conv2d(6, 1, 1)

    def logits(self, x):
        h = self.conv_in(x) if self.isnet else x
        down = []
        for i in range(1, 7):
            h = getattr(self, f"stage{i}")(h if i == 1 else pool(h))
            down.append(h)
        compared = {6: h}
        for i in range(5, 0, -1):
            h = getattr(self, f"stage{i}d")(torch.cat((like(h, down[i - 1]), down[i - 1]), 1))
            compared[i] = h
        sides = [like(getattr(self, f"side{i}")(compared[i]), x) for i in range(1, 7)]
        return sides if self.isnet else [self.outconv(torch.cat(sides, 1))] + sides

    def forward(self, x):
        return tuple(torch.sigmoid(value) for value in self.logits(x)[:self.outputs])


def randomise(network):
    """Norms of which no part is trivial, and activations that neither vanish nor grow."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=(2 / (module.in_channels * module.kernel_size[0] ** 2)) ** 0.5)
            nn.init.normal_(module.bias, std=0.2)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.7, 1.4)
            nn.init.normal_(module.bias, mean=0.2, std=0.2)
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)


def write_safetensors(path, tensors):
    header, data = {}, b""
    for name, tensor in tensors.items():
        part = tensor.detach().numpy().astype(numpy.float32).tobytes()
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [len(data), len(data) + len(part)]}
        data += part
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def main():
    os.makedirs(FOLDER, exist_ok=True)
    torch.manual_seed(7)
    tensors = {}
    for name, height, width in (("u2net", 37, 61), ("isnet", 50, 33)):
        network = Network(name == "isnet").eval()
        randomise(network)
        x = torch.randn(1, 3, height, width)
        with torch.no_grad():
            tensors[f"{name}.x"], tensors[f"{name}.logits"] = x, network.logits(x)[0]
        if not network.isnet:
            torch.save(network.state_dict(), os.path.join(FOLDER, f"{name}.pth"), _use_new_zipfile_serialization=False)
        # One graph with every output and its size fixed, one without the outputs for training and of any size.
        network.outputs = 1 if network.isnet else 7
        axes = {"x": [2, 3]} if network.isnet else {}
        torch.onnx.export(network, x, os.path.join(FOLDER, f"{name}.onnx"), opset_version=11, input_names=["x"],
                          dynamic_axes=axes)
    write_safetensors(os.path.join(FOLDER, "io.safetensors"), tensors)
    print(f"torch {torch.__version__} wrote {FOLDER}")


if __name__ == "__main__":
    sys.exit(main())
