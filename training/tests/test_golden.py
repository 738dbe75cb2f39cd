"""The networks against reference tensors: python3 training/tests/test_golden.py [a set of golden fixtures].

The sets are those of the program's golden tests (tests/data/golden, the default; $EG4D_GOLDEN_DIR). What is computed, and how it is called there, is
written down where the fixtures are made (tests/data/make_*_fixtures.py).
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests/data"))

import torch

from fixture_files import GOLDEN, Pipeline, read_config, read_tensors, read_weights
from make_image_fixtures import PARTS, image_to_image
from make_video_fixtures import injection_runs, sampling_run, tower_call, unet_call, vae_call

VIDEO = {"svd_unet": unet_call, "svd_sampling": sampling_run, "sv3d_injection": injection_runs, "svd_vae": vae_call, "openclip_vit": tower_call}
TOLERANCE = 1e-4


def check(fixture, computed, stored):
    """Largest differences against the root mean squares of the reference. → passed, failed."""
    failed = 0
    for name, ours in computed.items():
        theirs = stored[name].reshape(ours.shape)
        error = (ours - theirs).abs().max().item() / max(theirs.pow(2).mean().sqrt().item(), 1e-12)
        failed += not error < TOLERANCE
        print(f"{'ok  ' if error < TOLERANCE else 'FAIL'} {fixture:14} {name:55} {error:.2e}")
    return len(computed) - failed, failed


@torch.no_grad()
def main():
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("EG4D_GOLDEN_DIR", GOLDEN))
    results = []
    for name, compute in VIDEO.items():
        stored = read_tensors(folder / name / "io.safetensors")
        results.append(check(name, compute(read_config(folder / name), read_weights(folder / name), stored), stored))
    image, pipeline = folder / "sdxl_img2img", Pipeline(folder / "sdxl_img2img")
    stored = read_tensors(image / "io.safetensors")
    results.append(check(image.name, image_to_image(read_config(image), {name: pipeline.part(name) for name in PARTS}, stored), stored))
    passed, failed = map(sum, zip(*results))
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
