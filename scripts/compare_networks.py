#!/usr/bin/env python3
"""Stage I's network here and in PyTorch on the same card, one after the other: milliseconds of a call and their ratio.

    python3 scripts/compare_networks.py FOLDER [--bench build/release/bench/bench_device_networks] [--modes eager,blocks]
                                        [--shapes 2x21x72x72,2x25x72x72] [--ours OUTPUT]

FOLDER: of bench/write_random_models. PyTorch's is the same network (training/mini/models) at the published size: f16, channels-last, with the
attention that it finds fastest; "compile" is torch.compile's default mode for the whole, which takes minutes, "blocks" the same for each residual
block and transformer by itself. OUTPUT: what bench_device_networks printed a moment ago, instead of
running it.
"""

import argparse
import copy
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PARTS = {"2x21x72x72": ("sv3d", "SV3D, 2×21×72×72"), "2x25x72x72": ("svd", "SVD-XT, 2×25×72×72"),
         "2x25x72x128": ("wide", "SVD-XT, 2×25×72×128")}


def ours(arguments, shapes):
    if arguments.ours:
        text = Path(arguments.ours).read_text()
    else:
        parts = ",".join(PARTS[shape][0] for shape in shapes)
        text = subprocess.run([arguments.bench, arguments.folder, "cuda", "f16", "9", parts], check=True, text=True,
                              stdout=subprocess.PIPE).stdout
        print(text)
    found = {}
    for shape in shapes:
        row = re.search(rf"^\| {re.escape(PARTS[shape][1])} \| ([0-9.]+) \|", text, re.MULTILINE)
        if row:
            found[shape] = float(row.group(1))
    return found


def make_network():
    import torch
    sys.path.insert(0, str(ROOT / "training"))
    from mini.models import video_unet

    # Angles are f32, the layers f16.
    sinusoids = video_unet.sinusoids
    video_unet.sinusoids = lambda values, width: sinusoids(values, width).half()
    torch.backends.cudnn.benchmark = True
    torch.manual_seed(0)
    with torch.device("cuda"):
        network = video_unet.VideoUNet(video_unet.VideoUNet.Sizes(
            vector=1280, context=1024, channels=320, factors=(1, 2, 4, 4), blocks=2, attention=(1, 2, 4), head=64, ratio=4,
            embedding=1280))
    network = network.half().eval().requires_grad_(False)
    for parameter in network.parameters():
        if parameter.dim() > 1:
            parameter.normal_(0, 0.5 / parameter[0].numel() ** 0.5)
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return network


def compiled_by_blocks(network):
    import torch
    from mini.models import video_unet
    torch._dynamo.config.recompile_limit = 64  # one for each shape
    network = copy.deepcopy(network)
    for module in network.modules():
        if isinstance(module, (video_unet.ResidualBlock, video_unet.VideoTransformer)):
            module.compile(dynamic=False)
    return network


def milliseconds(call, repeats=7):
    import torch
    for _ in range(3):
        call()
    times = []
    for _ in range(repeats):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        call()
        end.record()
        torch.cuda.synchronize()
        times.append(begin.elapsed_time(end))
    return statistics.median(times)


def peers(shapes, modes):
    import torch
    network = make_network()
    print(f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}")
    found = {}
    for shape in shapes:
        halves, frames, height, width = map(int, shape.split("x"))
        rows = halves * frames
        numbers = lambda *extents: torch.randn(*extents, device="cuda", dtype=torch.float16)
        inputs = dict(x=numbers(rows, 8, height, width).contiguous(memory_format=torch.channels_last),
                      steps=torch.ones(rows, device="cuda"), context=numbers(rows, 1024), vector=numbers(rows, 1280), frames=frames)
        for mode in modes:
            begun = time.time()
            call = {"eager": lambda: network, "compile": lambda: torch.compile(network, dynamic=False),
                    "blocks": lambda: compiled_by_blocks(network)}[mode]()
            try:
                with torch.no_grad():
                    found.setdefault(shape, {})[mode] = ms = milliseconds(lambda: call(**inputs))
            except Exception as error:  # what one mode cannot do is no reason to lose the others
                print(f"{shape} {mode}: failed: {str(error)[:200]}")
                continue
            print(f"PyTorch {shape} {mode}: {ms:.1f} ms ({time.time() - begun:.0f} s in all)", flush=True)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--bench", default=str(ROOT / "build/release/bench/bench_device_networks"))
    parser.add_argument("--shapes", default="2x21x72x72,2x25x72x72")
    parser.add_argument("--modes", default="eager,blocks", help="of eager, compile, blocks")
    parser.add_argument("--ours")
    arguments = parser.parse_args()
    shapes, modes = arguments.shapes.split(","), arguments.modes.split(",")
    mine, theirs = ours(arguments, shapes), peers(shapes, modes)
    print("\n| call | here, ms | " + " | ".join(f"PyTorch {mode}, ms" for mode in modes) + " | of the best |")
    print("|" + " --- |" * (len(modes) + 3))
    for shape in shapes:
        times = theirs.get(shape, {})
        own = mine.get(shape)
        cells = [PARTS[shape][1], f"{own:.1f}" if own else ""] + [f"{times[mode]:.1f}" if mode in times else "" for mode in modes]
        cells.append(f"{own / min(times.values()):.2f}" if own and times else "")
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
