"""One stage of training: python3 training/train.py --stage vae|towers|sv3d|svd|sdxl --state FOLDER --out FOLDER --minutes 3

The state folder holds one small checkpoint per stage; a stage that finds its own continues from it. See README.md.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

STAGES = ("vae", "towers", "sv3d", "svd", "sdxl")


def commit():
    if "MINI_COMMIT" in os.environ:
        return os.environ["MINI_COMMIT"]
    try:
        return subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=Path(__file__).parent).stdout.strip()
    except OSError:
        return ""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stage", required=True, choices=STAGES)
    parser.add_argument("--state", default="training/state", help="checkpoints of all stages, read and written")
    parser.add_argument("--out", default="out/training", help="loss curves and grids")
    parser.add_argument("--minutes", type=float, default=3.0, help="wall clock of this stage, waiting for others included")
    parser.add_argument("--seed", type=int, default=0, help="of the network's first weights and of the noise")
    parser.add_argument("--smoke", action="store_true", help="tiny batches: does it run?")
    arguments = parser.parse_args()

    from mini import compat
    from mini.config import config_for
    from mini.stages import sdxl, towers, vae, video

    compat.set_up(arguments.seed + STAGES.index(arguments.stage))
    config = config_for(arguments.smoke)
    seconds = arguments.minutes * 60 - (time.time() - float(os.environ.get("MINI_STARTED", time.time())))
    metadata = {"commit": commit(), "seed": arguments.seed, "stage": arguments.stage, "device": str(compat.DEVICE)}
    job = (config, arguments.out, arguments.state, seconds, metadata)
    if arguments.stage in ("sv3d", "svd"):
        video.run(arguments.stage, *job)
    else:
        {"vae": vae, "towers": towers, "sdxl": sdxl}[arguments.stage].run(*job)


if __name__ == "__main__":
    main()
