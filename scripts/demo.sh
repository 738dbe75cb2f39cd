#!/usr/bin/env bash
# From a picture to a 4D object, on a fresh checkout: installs what is missing, builds the program, and runs every stage
# with the mini models that come with it. Everything lands in run-creature/ (or the folder given); the same command
# continues where it stopped. scripts/demo-reconstruct.sh trains on a multi-view video instead.
#   scripts/demo.sh [RUN] [options of `eg4d generate`]
set -euo pipefail
cd "$(dirname "$0")/.."
run="run-creature"
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

$eg4d generate examples/creature.png -o "$run" --preset mini "$@"
echo
echo "Report          $run/report.html: open it in a browser"
echo "Orbit           $run/orbit.mp4"
echo "First moment    $run/object.ply, for any viewer of Gaussian splats"
echo "Model           $($eg4d info "$run" | sed -n 's/^model *//p'), in $run; eg4d render and eg4d export take $run"
