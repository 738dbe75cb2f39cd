"""Trains several stages on the GPUs of one machine, within a given time: python3 training/run.py --plan first --out OUT --minutes 9.5

Starts one process per chain of jobs; the stages hand over through the checkpoints in OUT/state (copied first from --state, where
earlier results lie). Then evaluates and packs. OUT gets state/*.safetensors, evaluation.tar.gz, logs.tar.gz: small enough to travel.

Plans: first (autoencoder, towers, SV3D, SVD), second (SV3D and SVD go on, SDXL), more (all three video and image networks go on).
Or --jobs 'GPU:stage=minutes,stage=minutes;GPU:…': chains run side by side, the jobs of a chain one after the other.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
STAGES = ("vae", "towers", "sv3d", "svd", "sdxl")


def chains_of(plan, minutes, gpus):
    """[(GPU, [(stage, minutes)])]."""
    last = gpus - 1
    if plan == "first":
        return [(0, [("vae", 0.36 * minutes)]), (last, [("towers", 0.2 * minutes)]), (0, [("sv3d", minutes)]), (last, [("svd", minutes)])]
    if plan == "second":
        return [(0, [("sv3d", minutes)]), (last, [("sdxl", 0.32 * minutes), ("svd", 0.68 * minutes)])]
    return [(0, [("sv3d", minutes)]), (last, [("svd", 0.7 * minutes), ("sdxl", 0.3 * minutes)])]


def parsed_jobs(text):
    chains = []
    for chain in text.split(";"):
        gpu, jobs = chain.split(":")
        chains.append((int(gpu), [(job.split("=")[0], float(job.split("=")[1])) for job in jobs.split(",")]))
    return chains


def visible(gpu):
    return dict(os.environ, CUDA_VISIBLE_DEVICES=str(gpu), PYTHONUNBUFFERED="1", MINI_STARTED=str(time.time()),
                TORCHINDUCTOR_COMPILE_THREADS="10")


def start(command, log, environment):
    return subprocess.Popen([sys.executable, *map(str, command)], stdout=log, stderr=subprocess.STDOUT, env=environment)


def run_chain(gpu, jobs, out, state, smoke, codes):
    for stage, minutes in jobs:
        with open(out / "logs" / f"{stage}.txt", "a") as log:
            command = [HERE / "train.py", "--stage", stage, "--state", state, "--out", out / "logs", "--minutes", f"{minutes:.3f}"]
            process = start(command + (["--smoke"] if smoke else []), log, visible(gpu))
            try:
                codes[stage] = process.wait(timeout=minutes * 60 + 90)
            except subprocess.TimeoutExpired:
                process.kill()
                codes[stage] = "stopped"
        print(f"{stage}: ended with {codes[stage]}", flush=True)


def smoke_test(out, gpus, stages):
    """Every stage for a few seconds with tiny batches and no compiler: tells early what cannot work on this machine."""
    state, processes = out / "smoke", {}

    def environment(i):
        plain = dict(visible(i % gpus), MINI_COMPILE="0")
        del plain["MINI_STARTED"]
        return plain

    for i, stage in enumerate(stages):
        log = open(out / "logs" / f"smoke_{stage}.txt", "w")
        command = [HERE / "train.py", "--stage", stage, "--state", state, "--out", state, "--minutes", "0.4" if stage in ("sv3d", "svd", "sdxl") else "0.1", "--smoke"]
        processes[stage] = start(command, log, environment(i))
    failed = [stage for stage, process in processes.items() if process.wait() != 0]
    shutil.rmtree(state, ignore_errors=True)
    for stage in failed:
        print(f"smoke test of {stage} failed:\n" + (out / "logs" / f"smoke_{stage}.txt").read_text()[-3000:], flush=True)
    return not failed


def pack(out, name, *folders):
    with tarfile.open(out / f"{name}.tar.gz", "w:gz") as tar:
        for folder in folders:
            if folder.exists():
                tar.add(folder, folder.name)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plan", choices=("first", "second", "more"), default="first")
    parser.add_argument("--jobs", help="instead of a plan")
    parser.add_argument("--state", default=str(HERE / "state"), help="checkpoints to start from, if there are any")
    parser.add_argument("--out", required=True)
    parser.add_argument("--minutes", type=float, default=9.3, help="in all")
    parser.add_argument("--gpus", type=int, default=0, help="0: all there are")
    parser.add_argument("--no-check", action="store_true", help="start without the smoke test")
    parser.add_argument("--smoke", action="store_true", help="tiny batches: does all of this run?")
    arguments = parser.parse_args()
    begin = time.time()
    import torch

    gpus = arguments.gpus or max(torch.cuda.device_count(), 1)
    out = Path(arguments.out)
    state = out / "state"
    for folder in (state, out / "logs"):
        folder.mkdir(parents=True, exist_ok=True)
    for path in Path(arguments.state).glob("*.safetensors"):
        if not (state / path.name).exists():
            shutil.copy(path, state)
    print(f"PyTorch {torch.__version__}, {gpus} GPUs, {os.cpu_count()} cores", flush=True)
    if not arguments.no_check and not arguments.smoke:
        if not smoke_test(out, gpus, STAGES):
            pack(out, "logs", out / "logs")
            sys.exit(1)
        print(f"smoke test passed after {time.time() - begin:.0f} s", flush=True)
    evaluation = 0.1 if arguments.smoke else 0.75
    left = arguments.minutes - (time.time() - begin) / 60 - evaluation
    chains = parsed_jobs(arguments.jobs) if arguments.jobs else chains_of(arguments.plan, left, gpus)
    print("jobs:", chains, flush=True)
    codes = {}
    threads = [threading.Thread(target=run_chain, args=(gpu, jobs, out, state, arguments.smoke, codes)) for gpu, jobs in chains]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pack(out, "logs", out / "logs")
    command = [HERE / "evaluate.py", "--state", state, "--out", out / "evaluation"] + (["--smoke"] if arguments.smoke else [])
    try:
        subprocess.run([sys.executable, *map(str, command)], timeout=max(arguments.minutes * 60 + 25 - (time.time() - begin), 20), env=visible(0))
    except subprocess.TimeoutExpired:
        print("the evaluation was stopped")
    pack(out, "evaluation", out / "evaluation")
    for path in sorted((out / "logs").glob("*.txt")):
        if not path.name.startswith("smoke"):
            print(f"== {path.name}\n" + "\n".join(path.read_text().splitlines()[-6:]))
    for folder in (out / "logs", out / "evaluation"):
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{time.time() - begin:.0f} s in all; files:", *[f"{p.relative_to(out)} {p.stat().st_size / 1e6:.1f} MB" for p in sorted(out.rglob("*")) if p.is_file()])
    sys.exit(0 if all(code == 0 for code in codes.values()) else 1)


if __name__ == "__main__":
    main()
