#!/usr/bin/env bash
# From a multi-view video to a 4D object: installs what is missing, builds the program, trains on examples/robot-192 and
# shows every kind of output. Everything lands in run-robot/ (or the folder given); the same command continues where it
# stopped.
#   scripts/demo-reconstruct.sh [RUN] [options of `eg4d reconstruct`]
set -euo pipefail
cd "$(dirname "$0")/.."
run=run-robot
case "${1:-}" in
  "" | -*) ;;
  *)
    run=$1
    shift
    ;;
esac

scripts/setup.sh
cmake --preset release >/dev/null
cmake --build --preset release --target eg4d
eg4d=build/release/eg4d

$eg4d reconstruct examples/robot-192 -o "$run" --preset fast "$@"
$eg4d evaluate "$run" examples/robot-192 --split novel --json "$run/novel.json"
$eg4d render "$run" -o "$run/orbit.mp4"
$eg4d export "$run" -o "$run/object.ply"
echo
echo "Trained model   $run/coarse/model.safetensors"
echo "Figures         $run/coarse/metrics.json (novel views, per picture: $run/novel.json)"
echo "Orbit           $run/orbit.mp4"
echo "First moment    $run/object.ply, for any viewer of Gaussian splats"
