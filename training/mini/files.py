"""Files without further packages: safetensors, tables of numbers, pictures, loss curves."""

import csv
import json
import math
import os
import struct
from pathlib import Path

import numpy as np
import torch

_TYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "I64": np.int64, "I32": np.int32, "U8": np.uint8, "BOOL": np.bool_}
_NAMES = {torch.float32: "F32", torch.float16: "F16", torch.int64: "I64"}


def read_safetensors(path):
    """→ (name → tensor, metadata)."""
    return parse_safetensors(Path(path).read_bytes())


def parse_safetensors(data):
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, entry in header.items():
        begin, end = (8 + length + x for x in entry["data_offsets"])
        array = np.frombuffer(data[begin:end], dtype=_TYPES[entry["dtype"]]).reshape(entry["shape"])
        tensors[name] = torch.from_numpy(array.copy())
    return tensors, metadata


def write_safetensors(path, tensors, metadata):
    """Written to a temporary name first: a reader sees the whole file or none."""
    header, offset, blobs = {"__metadata__": {k: str(v) for k, v in metadata.items()}}, 0, []
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        blob = tensor.numpy().tobytes()
        header[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [offset, offset + len(blob)]}
        offset += len(blob)
        blobs.append(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(path.suffix + ".part")
    with open(temporary, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for blob in blobs:
            file.write(blob)
    os.replace(temporary, path)


def load_part(module, tensors, prefix=""):
    """The tensors below `prefix` must be exactly the module's."""
    own = {k[len(prefix):]: v.float() for k, v in tensors.items() if k.startswith(prefix)}
    module.load_state_dict(own)
    return module


def picture_bytes(pictures):
    """[…,3,H,W] in [-1,1] → uint8 […,H,W,3]."""
    return ((pictures.float() / 2 + 0.5).clamp(0, 1) * 255 + 0.5).to(torch.uint8).movedim(-3, -1)


def picture_values(pictures):
    """uint8 […,H,W,3] → […,3,H,W] in [-1,1]."""
    return pictures.movedim(-1, -3).float() / 127.5 - 1


def write_picture(path, picture):
    """uint8 [H,W,3], as PNG or, without loss too, as WebP."""
    from PIL import Image

    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture.cpu().numpy()).save(path, lossless=True, quality=100, method=6)


def write_grid(path, rows):
    """rows: uint8 [rows,columns,H,W,3]."""
    r, c, h, w, _ = rows.shape
    write_picture(path, rows.permute(0, 2, 1, 3, 4).reshape(r * h, c * w, 3))


class Curve:
    """A CSV of figures over time, continued when the file is there."""

    def __init__(self, path, columns):
        self.path, self.columns = Path(path), columns
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if not self.path.exists():
            self.path.write_text(",".join(columns) + "\n")

    def add(self, *values):
        with open(self.path, "a") as file:
            file.write(",".join(f"{v:.6g}" for v in values) + "\n")


def plot_curve(csv_path, png_path, x="step", y="loss"):
    """A line plot on a logarithmic ordinate, drawn plainly."""
    from PIL import Image, ImageDraw

    with open(csv_path) as file:
        rows = list(csv.DictReader(file))
    points = [(float(r[x]), math.log10(float(r[y]))) for r in rows if r.get(y) and float(r[y]) > 0]
    if len(points) < 2:
        return
    left, top, width, height = 70, 20, 640, 320
    canvas = Image.new("RGB", (left + width + 20, top + height + 40), "white")
    draw = ImageDraw.Draw(canvas)
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    x0, x1, y0, y1 = min(xs), max(xs), min(ys), max(ys)
    at = lambda p: (left + (p[0] - x0) / max(x1 - x0, 1e-9) * width, top + (y1 - p[1]) / max(y1 - y0, 1e-9) * height)
    draw.rectangle((left, top, left + width, top + height), outline="gray")
    draw.line([at(p) for p in points], fill="navy", width=2)
    draw.text((4, top), f"{10**y1:.3g}", fill="black")
    draw.text((4, top + height - 10), f"{10**y0:.3g}", fill="black")
    draw.text((left, top + height + 8), f"{x} {x0:.0f} to {x1:.0f}    {y}    {Path(csv_path).name}", fill="black")
    canvas.save(png_path)
