"""Prints tests/data/pillow_resize.json: what Pillow makes of small synthetic pictures.

    python3 tests/picture/make_pillow_fixture.py > tests/data/pillow_resize.json

Needs Pillow. The pictures are made by the integer hash of the golden fixtures (byte = x >> 24; tensor id = case number),
so only results are stored: small ones whole, large ones as a CRC-32 of their bytes and their first row.
"""

import json
import zlib

import PIL
from PIL import Image

CASES = [
    # mode, width, height, operation, new width, new height
    ("RGB", 40, 30, "lanczos", 17, 11),
    ("RGB", 9, 7, "lanczos", 14, 20),
    ("L", 33, 20, "lanczos", 33, 9),
    ("RGB", 20, 33, "bicubic", 8, 33),
    ("RGBA", 24, 18, "lanczos", 10, 7),
    ("RGBA", 7, 5, "lanczos", 16, 16),
    ("RGB", 130, 70, "bicubic", 128, 64),
    ("RGB", 1, 1, "lanczos", 5, 3),
    ("RGB", 300, 200, "lanczos", 576, 576),
    ("RGB", 700, 640, "lanczos", 576, 576),
    ("RGB", 90, 61, "thumbnail", 32, 32),
    ("RGB", 61, 90, "thumbnail", 32, 24),
    ("RGB", 20, 10, "thumbnail", 32, 32),
    ("RGB", 131, 97, "thumbnail", 16, 16),
    ("RGBA", 131, 97, "thumbnail", 16, 16),
    ("RGB", 100, 1, "thumbnail", 16, 16),
]
WHOLE = 1600  # bytes


def hash_bytes(tensor_id, count):
    mask = 0xFFFFFFFF
    out = bytearray(count)
    for i in range(count):
        x = ((i + 1) * 0x9E3779B1 + tensor_id * 0x85EBCA77) & mask
        x ^= x >> 15
        x = x * 0x2C1B3C6D & mask
        x ^= x >> 12
        x = x * 0x297A2D39 & mask
        x ^= x >> 15
        out[i] = x >> 24
    return bytes(out)


def run(index, case):
    mode, width, height, operation, new_width, new_height = case
    channels = len(mode)
    picture = Image.frombytes(mode, (width, height), hash_bytes(index, width * height * channels))
    if operation == "thumbnail":
        picture.thumbnail((new_width, new_height), Image.Resampling.LANCZOS)
    else:
        picture = picture.resize((new_width, new_height), getattr(Image.Resampling, operation.upper()))
    data = picture.tobytes()
    result = {
        "id": index, "channels": channels, "width": width, "height": height, "operation": operation,
        "to": [new_width, new_height], "size": list(picture.size), "crc32": zlib.crc32(data),
    }
    result["bytes" if len(data) <= WHOLE else "first_row"] = (
        data if len(data) <= WHOLE else data[: picture.size[0] * channels]).hex()
    return result


print(json.dumps({"pillow": PIL.__version__, "cases": [run(i, c) for i, c in enumerate(CASES)]}, separators=(",", ":")))
