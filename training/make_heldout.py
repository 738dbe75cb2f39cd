"""Held-out creatures as folders of pictures: python3 training/make_heldout.py --out out/heldout --count 8

<creature>/input.png         what the program is given (azimuth 0, moment 0)
<creature>/video/<t>.png     the truth of its motion, seen by the input's camera
<creature>/views/<t>/<v>.png the truth from all sides: view v at azimuth 360·(v+1)/21, the last is the input's camera
<creature>/about.json        seed, elevation, sentence
"""

import argparse
import json
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import torch

from mini.compat import DEVICE
from mini.files import write_png
from mini.world.draws import HELD_OUT
from mini.world.prompts import prompt_of
from mini.world.takes import FRAMES, make_orbits


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="out/heldout")
    parser.add_argument("--count", type=int, default=8)
    parser.add_argument("--first", type=int, default=0, help="number of the first held-out creature")
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--frames", type=int, default=FRAMES)
    parser.add_argument("--elevation", type=float, help="degrees; otherwise each creature has its own")
    arguments = parser.parse_args()
    for number in range(arguments.first, arguments.first + arguments.count):
        seed = torch.tensor([HELD_OUT + number], device=DEVICE)
        moments = (torch.arange(arguments.frames, device=DEVICE) / arguments.frames)[None]
        elevation = None if arguments.elevation is None else torch.tensor([arguments.elevation], device=DEVICE)
        orbit = make_orbits(seed, side=arguments.side, moments=moments, strength=torch.ones(1, device=DEVICE), elevation=elevation)
        folder = Path(arguments.out) / f"creature_{number:03}"
        pictures = orbit.pictures[0]
        write_png(folder / "input.png", pictures[0, -1])
        for t in range(arguments.frames):
            write_png(folder / "video" / f"frame_{t:03}.png", pictures[t, -1])
            for v in range(pictures.shape[1]):
                write_png(folder / "views" / f"{t:06}" / f"{v + 1:08}.png", pictures[t, v])
        about = {"seed": int(seed), "elevation": round(orbit.elevation.item(), 4), "prompt": prompt_of(orbit.attributes, 0, random.Random(int(seed)))}
        (folder / "about.json").write_text(json.dumps(about, indent=1) + "\n")
        print(folder, about["prompt"])


if __name__ == "__main__":
    main()
