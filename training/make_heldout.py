"""Held-out creatures for bench/evaluate_mini: python3 training/make_heldout.py --out examples/heldout

orbits/<n>.webp  rows are moments, columns the views at azimuth 360·k/21, k = 1 … 21; the last is the input's camera. The first --moving
                 creatures have 8 moments, one cycle of their motion; the others one
clips/<n>.webp   8 frames of another creature in motion, the first is the input
spoilt/<n>.webp  a picture of another creature; the same, spoilt as renders of Gaussians are
mean.webp        the mean picture of creatures that training may have seen
about.json       seeds, elevations in degrees, sentences

One of them as a picture to start from: python3 training/make_heldout.py --picture examples/creature.png --side 384 --first 46
"""

import argparse
import json
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import torch

from mini.compat import DEVICE
from mini.files import picture_bytes, picture_values, write_grid, write_picture
from mini.stages.sdxl import spoil
from mini.world.draws import HELD_OUT
from mini.world.prompts import prompt_of
from mini.world.takes import FRAMES, USUAL_BUCKET, USUAL_FPS, make_clips, make_orbits, make_singles

TRAINING_LIKE = 900_000_000


def seed_of(number):
    return torch.tensor([HELD_OUT + number], device=DEVICE)


def about(number, attributes, **more):
    seed = HELD_OUT + number
    return {"seed": seed, "prompt": prompt_of(attributes, 0, random.Random(seed)), **more}


def orbits(out, arguments):
    for n in range(arguments.count):
        own = seed_of(arguments.first + n)
        if n < arguments.moving:
            moments = (torch.arange(FRAMES, device=DEVICE) / FRAMES)[None]
            orbit = make_orbits(own, moments=moments, strength=torch.ones(1, device=DEVICE))
        else:
            orbit = make_orbits(own)
        write_grid(out / "orbits" / f"{n:03}.webp", orbit.pictures.view(-1, *orbit.pictures.shape[-4:]))
        yield about(arguments.first + n, orbit.attributes, elevation=round(orbit.elevation.item(), 4))


def clips(out, arguments):
    for n in range(arguments.count):
        number = 2000 + arguments.first + n
        clip = make_clips(seed_of(number), fps=USUAL_FPS, bucket=USUAL_BUCKET)
        write_grid(out / "clips" / f"{n:03}.webp", clip.pictures)
        yield about(number, clip.attributes)


def spoilt_pairs(out, arguments):
    torch.manual_seed(arguments.first)
    random.seed(arguments.first)
    for n in range(arguments.count):
        number = 3000 + arguments.first + n
        pictures, attributes, _, _ = make_singles(seed_of(number))
        spoilt = pictures
        while torch.equal(spoilt, pictures):  # some stay clean
            spoilt = picture_bytes(spoil(picture_values(pictures)))
        write_grid(out / "spoilt" / f"{n:03}.webp", torch.stack([pictures, spoilt], 1))
        yield about(number, attributes)


def mean_picture(count):
    total = sum(make_orbits(torch.tensor([TRAINING_LIKE + n], device=DEVICE)).pictures.float().mean((0, 1)) for n in range(count))
    return (total / count + 0.5).to(torch.uint8)


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="examples/heldout")
    parser.add_argument("--count", type=int, default=12, help="creatures of each kind")
    parser.add_argument("--moving", type=int, default=4, help="orbits with 8 moments")
    parser.add_argument("--first", type=int, default=0, help="number of the first held-out creature")
    parser.add_argument("--picture", help="write only the picture of creature --first")
    parser.add_argument("--side", type=int, default=512, help="of that picture")
    arguments = parser.parse_args()
    if arguments.picture:
        pictures, attributes, _, elevation = make_singles(seed_of(arguments.first), side=arguments.side)
        write_picture(arguments.picture, pictures[0])
        print(about(arguments.first, attributes, elevation=round(elevation.item(), 2)))
        return
    out = Path(arguments.out)
    text = {name: list(make(out, arguments)) for name, make in (("orbits", orbits), ("clips", clips), ("spoilt", spoilt_pairs))}
    write_picture(out / "mean.webp", mean_picture(2 * arguments.count))
    (out / "about.json").write_text(json.dumps(text, indent=1) + "\n")


if __name__ == "__main__":
    main()
