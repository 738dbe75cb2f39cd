"""What the scripts that write fixtures share: the integer hash, rules of weights, files, and how results are compared.

A rule file NAME.hash.json stands for NAME.safetensors: {"dtype": "F16", "hash": {tensor: {"k", "s", "add", "shape"}}}, see golden/NOTES.md.
"""

import gzip
import json
import math
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "training"))
from mini.files import parse_safetensors, write_safetensors  # noqa: E402
from mini.models.layers import GROUPS  # noqa: E402

GOLDEN = HERE / "golden"
TOLERANCE = 1e-4  # of the golden tests


def hash_numbers(k, s, shape, add=0.0):
    """The integer hash of golden/NOTES.md, fp32."""
    x = np.arange(1, math.prod(shape) + 1, dtype=np.uint64) * 0x9E3779B1 + k * 0x85EBCA77
    x = x.astype(np.uint32)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(0x2C1B3C6D)
    x = (x ^ (x >> np.uint32(12))) * np.uint32(0x297A2D39)
    x ^= x >> np.uint32(15)
    numbers = ((x >> np.uint32(8)).astype(np.float32) * np.float32(2**-24) - np.float32(0.5)) * np.float32(s) + np.float32(add)
    return torch.from_numpy(numbers.reshape(shape))


def rule_of(shapes, dtype="F16"):
    """Rules for tensors of these names and shapes: no layer is zero, and activations neither vanish nor grow."""
    rules = {}
    for k, name in enumerate(sorted(shapes)):
        shape = list(shapes[name])
        if name.endswith("bias"):
            how = {"s": 0.4}
        elif name.endswith("mix_factor"):
            how = {"s": 4}
        elif "embedding" in name and not name.endswith("proj.weight") and "linear" not in name and "conv" not in name:
            how = {"s": 1.5}  # tables of tokens and positions
        elif len(shape) < 2:
            how = {"s": 0.8, "add": 1}  # of a normalisation
        else:
            inputs = shape[0] if name.endswith(".proj") else math.prod(shape[1:])  # the image tower's is a plain matrix
            how = {"s": float(f"{math.sqrt(12 / inputs):.4g}")}  # of deviation inputs^(-1/2)
        rules[name] = {"k": k, **how, "shape": shape}
    return {"dtype": dtype, "hash": rules}


def weights_by(rule):
    tensors = {}
    for name, how in rule["hash"].items():
        numbers = hash_numbers(how["k"], how["s"], how["shape"], how.get("add", 0.0))
        tensors[name] = numbers.half().float() if rule.get("dtype") == "F16" else numbers
    return tensors


def write_rule(path, rule):
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(how)}" for name, how in rule["hash"].items())
    Path(path).write_text(f'{{"dtype": "{rule["dtype"]}", "hash": {{\n{lines}\n}}}}\n')


def read_tensors(path):
    """NAME.safetensors, or the same as NAME.safetensors.gz or by NAME.hash.json; floats as fp32."""
    path = Path(path)
    rule, packed = path.with_suffix(".hash.json"), Path(f"{path}.gz")
    if path.exists() or packed.exists():
        tensors = parse_safetensors(path.read_bytes() if path.exists() else gzip.decompress(packed.read_bytes()))[0]
        return {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()}
    return weights_by(json.loads(rule.read_text()))


def write_packed(path, tensors):
    """As PATH.gz, the same bytes every time."""
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "plain"
        write_safetensors(plain, tensors, {})
        Path(f"{path}.gz").write_bytes(gzip.compress(plain.read_bytes(), 9, mtime=0))


def read_config(folder):
    return json.loads((Path(folder) / "config.json").read_text())


def write_json(path, content):
    Path(path).write_text(json.dumps(content, indent=1) + "\n")


def read_weights(folder):
    """Of a fixture, as its config.json says: by a file or by a rule."""
    named = Path(folder) / read_config(folder).get("weights", "weights.safetensors")
    return read_tensors(str(named).replace(".hash.json", ".safetensors"))


class Pipeline:
    """The folder of sdxl_img2img: pipeline.tar with weights, or pipeline/ with rules."""

    def __init__(self, fixture):
        self.folder = Path(fixture) / "pipeline"
        if not self.folder.exists():
            self._temporary = tempfile.TemporaryDirectory()
            self.folder = Path(self._temporary.name)
            with tarfile.open(Path(fixture) / "pipeline.tar") as tar:
                tar.extractall(self.folder)

    def part(self, name):
        """→ its config.json and its weights."""
        file = "model" if name.startswith("text") else "diffusion_pytorch_model"
        return read_config(self.folder / name), read_tensors(self.folder / name / f"{file}.safetensors")


def error_of(ours, theirs):
    """‖ours − theirs‖ / ‖theirs‖, as the golden tests measure it."""
    difference, norm = (ours.double() - theirs.double()).norm().item(), theirs.double().norm().item()
    return difference / norm if norm else difference


def largest_error(computed, stored, tolerance=TOLERANCE):
    """The largest error of all tensors, every one of which must be stored and close enough."""
    errors = {name: error_of(value, stored[name].reshape(value.shape)) for name, value in computed.items()}
    worst = max(errors, key=errors.get)
    assert errors[worst] < tolerance, f"{worst} differs from the stored one: {errors[worst]}"
    print(f"  {len(errors)} tensors as they are stored, within {errors[worst]:.1e} ({worst})")
    return float(f"{errors[worst]:.1e}")


def require_influence(fixture, weights, run, without=()):
    """Every weight changes one of run(weights), compared results by name, when it is left out, by far more than the tests allow, but for names that
    contain one of `without`. Not so all biases, and what shifts whole channels: a normalisation with one channel a group, or a softmax, takes some of them away."""
    shifts = lambda name, value: name.endswith(("emb_layers.1.weight", "time_emb_proj.weight")) and len(value) == GROUPS
    base, least, weakest = run(weights), math.inf, ""
    for name, value in weights.items():
        if name.endswith("bias") or shifts(name, value) or any(part in name for part in without):
            continue
        results = run({**weights, name: value + 1 if value.numel() == 1 else torch.zeros_like(value)})
        changed = max(error_of(results[key], base[key]) for key in base)
        if changed < least:
            least, weakest = changed, name
    assert least > 10 * TOLERANCE, f"{weakest} hardly matters: {least}"
    print(f"{fixture}: the weight that matters least is {weakest}, {least:.1e}", flush=True)


def provenance(config, script, what, error, whose="the reference implementation's"):
    """How a fixture came about, as its config.json tells it; what one tells already stays."""
    return config.get("provenance", {
        "computed_by": f"tests/data/{script} with PyTorch {torch.__version__.split('a')[0]} and {what}, on weights by the integer hash",
        "verified": f"of another fixture, of the same architecture and with other weights and inputs, the same code gives {whose} tensors",
        "largest_relative_error_to_them": error,
    })
