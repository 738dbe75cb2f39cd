#!/usr/bin/env bash
# Stops `eg4d reconstruct` with signals at random moments and starts it again, until it has taken as many as asked for.
# Every run must stop cleanly each time, go on, and end with the model that an uninterrupted run makes, bit for bit.
# The field has the published width: its matrix products run code that no signal handler may interrupt (src/core/interrupt.h).
#   scripts/stress_interrupts.sh [INTERRUPTS=200] [SEED=1]
#   EG4D=path/to/eg4d        another program
#   DATASET=folder           another dataset
set -euo pipefail
set -m # without job control a shell starts its background programs with SIGINT ignored
cd "$(dirname "$0")/.."

wanted=${1:-200}
RANDOM=${2:-1}
eg4d=${EG4D:-build/release/eg4d}
dataset=${DATASET:-examples/robot-192}
[ -x "$eg4d" ] || { echo "stress_interrupts.sh: no program at $eg4d; build it, or name another with EG4D=" >&2; exit 2; }
scratch=$(mktemp -d)
trap 'kill "${child:-}" 2>/dev/null || true; rm -rf "$scratch"' EXIT

# 65 iterations with 6000 Gaussians. Takes the place of the shell that it is called in, so that this is the process to signal.
train() {
  exec "$eg4d" reconstruct "$dataset" -o "$1" --preset fast --threads "$2" --quiet \
    --set deformation.width=256 --set deformation.depth=4 --set start.count=6000 \
    --set schedule.coarse_iterations=5 --set schedule.fine_iterations=60
}
digest() { sha256sum "$1/coarse/model.safetensors" | cut -c1-64; }
seconds() { awk -v a="$1" 'BEGIN { printf "%.3f", a / 1000 }'; }

fail() {
  echo "stress_interrupts.sh: $*" >&2
  sed 's/^/  /' "$scratch/errors" >&2
  exit 1
}

begin=$(date +%s%3N)
(train "$scratch/whole" 2)
length=$(($(date +%s%3N) - begin))
whole=$(digest "$scratch/whole")
echo "an uninterrupted run takes $(seconds "$length") s; its model: ${whole:0:16}"

signals=(INT TERM HUP)
thread_counts=(1 2 3 4)
interrupts=0 early=0 runs=0 # early: before the program took signals, in its first milliseconds
while [ "$interrupts" -lt "$wanted" ]; do
  run="$scratch/run"
  rm -rf "$run"
  while :; do
    signal=${signals[RANDOM % 3]} threads=${thread_counts[RANDOM % 4]}
    train "$run" "$threads" 2>"$scratch/errors" &
    child=$!
    sleep "$(seconds $((RANDOM * length / 50000)))"
    kill -"$signal" "$child" 2>/dev/null && sent=1 || sent=0
    # Every other time twice, as `timeout` does it.
    [ $((RANDOM % 2)) -eq 0 ] || kill -"$signal" "$child" 2>/dev/null || true
    code=0
    wait "$child" 2>/dev/null || code=$?
    case "$code" in
      0) break ;;
      130) interrupts=$((interrupts + 1)) ;;
      129 | 143) early=$((early + 1)) ;;
      *) fail "after $interrupts interrupts SIG$signal ended a run of $threads threads with exit code $code" ;;
    esac
    [ "$sent" = 1 ] || fail "the run ended by itself with exit code $code"
  done
  runs=$((runs + 1))
  [ "$(digest "$run")" = "$whole" ] || fail "run $runs, after $interrupts interrupts in all, ended with another model"
  echo "run $runs: the same model; $interrupts interrupts so far"
done
echo "$interrupts interrupts, $runs runs: no abort, every model bit for bit the uninterrupted one ($early signals came before the program took them)"
