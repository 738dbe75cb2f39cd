#!/usr/bin/env bash
# Whole runs on a GPU (or with DEVICE=cpu on the processor) and their table: seconds of each phase, iterations a second,
# Gaussians, PSNR / SSIM. Works in a bundle too.
#   scripts/whole_runs.sh [PART…]     default: all, in this order
#     fast quality turbo ultra     presets on robot-192
#     paper-short                     paper, 600 + 2900 iterations, seeds 0 to 4 (SEEDS="0 1")
#     paper                           paper whole: 6000 + 30000
#     data-576                        robot-192's cameras at 576×576, rendered by the best model of quality (which is trained when
#                                     it is not there): 500 + 25 pictures, and 200 novel ones
#     paper-576                       paper whole on these
#     refine                          Stage III's training alone on paper-576 (or paper): 15000 iterations towards the dataset's pictures
#   EG4D=path/to/eg4d  BENCH=folder of render_dataset  DATASET=folder  DEVICE=cuda
#   WORK=folder        runs are kept there, and parts find those of an earlier call
#   ARGUMENTS="…"      for every call of the program, such as --precision bf16
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
if [ -x "$root/bin/eg4d" ]; then program=$root/bin/eg4d bench=$root/bin; else program=$root/build/release/eg4d bench=$root/build/release/bench; fi
eg4d=${EG4D:-$program} bench=${BENCH:-$bench} device=${DEVICE:-cuda} dataset=${DATASET:-$root/examples/robot-192}
[ -x "$eg4d" ] || { echo "whole_runs.sh: there is no program at $eg4d; build it, or name another with EG4D=" >&2; exit 2; }
if [ -z "${WORK:-}" ]; then
  WORK=$(mktemp -d)
  trap 'rm -rf "$WORK"' EXIT
fi
mkdir -p "$WORK"
parts=("$@")
[ $# -gt 0 ] || parts=(fast quality turbo ultra paper-short paper data-576 paper-576 refine)
large=$WORK/robot-576
failed=0
: >"$WORK/rows"

# The row of a finished run: its name, the stage's folder, the seconds of the whole program.
row() {
  python3 - "$@" <<'PYTHON' >>"$WORK/rows"
import json, sys
name, folder, wall = sys.argv[1], sys.argv[2], float(sys.argv[3])
metrics = json.load(open(folder + "/metrics.json"))
phases = metrics["run"].get("phases", {})
training = phases.get("training", metrics["run"]["seconds"])
cells = [name, f"{wall:.1f}"] + [f"{phases.get(p, 0):.1f}" for p in ("start", "loading", "training", "evaluation", "files")]
done = json.loads(open(folder + "/log.jsonl").read().splitlines()[-1])["total"]
cells += [f"{done / training:.0f}", str(metrics["gaussians"])]
for split in ("test", "novel"):
    figures = metrics["splits"].get(split)
    cells.append(f"{figures['psnr']:.2f} / {figures['ssim']:.4f}" if figures else "–")
best = metrics.get("best")
cells.append(f"{best['psnr']:.2f} at {best['iteration']}" if best else "–")
print("| " + " | ".join(cells) + " |")
PYTHON
  tail -n 1 "$WORK/rows"
}

# $1: folder in WORK, $2: its stage, then what the program is called with.
timed() {
  local name=$1 stage=$2 begin=${EPOCHREALTIME/./}
  shift 2
  # shellcheck disable=SC2086
  if "$eg4d" "$@" --device "$device" --quiet ${ARGUMENTS:-} 2>"$WORK/$name.log"; then
    local label=$name
    [ "$stage" = coarse ] || label="refine of $name"
    row "$label" "$WORK/$name/$stage" "$(awk -v t=$((${EPOCHREALTIME/./} - begin)) 'BEGIN { print t / 1e6 }')"
  else
    failed=1
    echo "$name: $(tail -n 2 "$WORK/$name.log")"
  fi
}
reconstruct() { # name, dataset, settings
  local name=$1 data=$2
  shift 2
  timed "$name" coarse reconstruct "$data" -o "$WORK/$name" --overwrite "$@"
}

render_large() {
  [ ! -e "$large/transforms_train.json" ] || return 0
  [ -e "$WORK/quality/coarse/metrics.json" ] || reconstruct quality "$dataset" --preset quality
  "$bench/render_dataset" "$WORK/quality" "$dataset" 576 "$large" "$device"
}

for part in "${parts[@]}"; do
  case "$part" in
    fast | quality | turbo | ultra | paper) reconstruct "$part" "$dataset" --preset "$part" ;;
    paper-short)
      for seed in ${SEEDS:-0 1 2 3 4}; do
        reconstruct "paper-short-$seed" "$dataset" --preset paper --seed "$seed" \
          --set schedule.coarse_iterations=600 --set schedule.fine_iterations=2900
      done ;;
    data-576) render_large ;;
    paper-576)
      render_large
      reconstruct paper-576 "$large" --preset paper ;;
    refine)
      from=paper-576
      [ -e "$WORK/$from/coarse/metrics.json" ] || from=paper
      timed "$from" refined refine "$WORK/$from" --no-diffusion --overwrite --set last_iteration=0 ;;
    *)
      echo "whole_runs.sh: there is no part '$part'; see the head of scripts/whole_runs.sh" >&2
      exit 2 ;;
  esac
done

echo
echo "device $device$([ "$device" = cpu ] || nvidia-smi --query-gpu=name --format=csv,noheader | sed 's/^/: /'), $(nproc) processors, ${ARGUMENTS:-no further arguments}"
echo "| run | seconds | start | loading | training | evaluation | files | iterations/s | Gaussians | test | novel | best test |"
echo "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
cat "$WORK/rows"
exit $failed
