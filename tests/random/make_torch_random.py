"""Prints tests/data/torch_random.json: what torch.randn returns for a seed, on the CPU and on a GPU.

    python3 tests/random/make_torch_random.py > tests/data/torch_random.json

Needs PyTorch; the CUDA part is left out when there is no GPU. Every case seeds once and then draws the listed shapes
one after the other, since a draw also depends on what the draws before it consumed.
"""

import json

import torch

SEQUENCES = [
    [[1], [1], [3], [15], [16], [17], [15], [31], [32], [1000]],
    [[15], [1000], [1]],
    [[16], [16]],
    [[17], [2]],
    [[1, 3, 64, 64], [5, 4, 8, 8]],
    # The two draws of one SV3D frame: noise for the conditioning picture, then for the latents.
    [[1, 3, 576, 576], [4, 21, 72, 72], [7]],
]
SEEDS = [0, 1, 23, 42, 2**32 + 5, 2**63 - 1]
WHOLE = 40  # draws up to this size are stored whole, larger ones as head, tail, samples and moments
STRIDE = 39989


def number(value):
    return float(f"{value:.9g}")


def describe(values):
    flat = values.flatten().double().cpu()
    count = flat.numel()
    entry = {"shape": list(values.shape)}
    if count <= WHOLE:
        entry["values"] = [number(v) for v in flat.tolist()]
        return entry
    entry["head"] = [number(v) for v in flat[:20].tolist()]
    entry["tail"] = [number(v) for v in flat[-20:].tolist()]
    if count > STRIDE:
        entry["stride"] = STRIDE
        entry["samples"] = [number(v) for v in flat[::STRIDE].tolist()]
    entry["sum"] = flat.sum().item()
    entry["sum_of_squares"] = (flat * flat).sum().item()
    return entry


def cases(device):
    result = []
    for index, shapes in enumerate(SEQUENCES):
        large = index == len(SEQUENCES) - 1
        for seed in [23, 42] if large else SEEDS:
            torch.manual_seed(seed)
            draws = [describe(torch.randn(shape, device=device)) for shape in shapes]
            result.append({"seed": str(seed), "draws": draws})
    return result


def main():
    fixture = {"torch": torch.__version__, "cpu": cases("cpu")}
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        fixture["cuda_device"] = {
            "name": properties.name,
            "multiprocessors": properties.multi_processor_count,
            "threads_per_multiprocessor": properties.max_threads_per_multi_processor,
        }
        fixture["cuda"] = cases("cuda")
    print(json.dumps(fixture, separators=(",", ":")))


main()
