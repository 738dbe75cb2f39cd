#!/usr/bin/env bash
# How `eg4d reconstruct --preset fast` gains from threads: seconds, and every operation's seconds from --trace, with 1, 4, 8
# and 16 threads. The models must be the same to the bit. About three minutes on a machine of 16 cores; works in a bundle too.
#   scripts/measure_cores.sh [THREADS…]       "1 4 8 16", of which the first is what efficiency is measured against
#   EG4D=path/to/eg4d        another program
#   DATASET=folder           another dataset
#   SETTINGS="--set …"       other settings
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)

thread_counts=("$@")
[ $# -gt 0 ] || thread_counts=(1 4 8 16)
eg4d=${EG4D:-$root/bin/eg4d}
[ -x "$eg4d" ] || eg4d=$root/build/release/eg4d
[ -x "$eg4d" ] || { echo "measure_cores.sh: there is no program at $eg4d; build it, or name another with EG4D=" >&2; exit 2; }
dataset=${DATASET:-$root/examples/robot-192}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# Runs it with $1 threads (and --trace when $2 is given) and leaves seconds and the trace's table in $scratch, named by the
# threads, "trace" and $3.
run() {
  local name=$1${2:+.trace}${3:+.$3} begin=${EPOCHREALTIME/./}
  # shellcheck disable=SC2086
  "$eg4d" reconstruct "$dataset" -o "$scratch/run" --overwrite --preset fast --threads "$1" --quiet ${SETTINGS:-} \
    ${2:+--trace "$scratch/trace.json"} 2>"$scratch/$name.table" || { cat "$scratch/$name.table" >&2; exit 1; }
  echo $((${EPOCHREALTIME/./} - begin)) >"$scratch/$name.microseconds"
  sha256sum "$scratch/run/coarse/model.safetensors" | cut -c1-16 >>"$scratch/models"
}
seconds() { awk '{ printf "%.2f", $1 / 1e6 }' "$scratch/$1.microseconds"; }

first=${thread_counts[0]}
siblings=$(cat /sys/devices/system/cpu/cpu0/topology/thread_siblings_list 2>/dev/null || echo "?")
echo "$(nproc) processors (those of cpu0's core: $siblings)$(grep -m1 '^model name' /proc/cpuinfo | sed 's/.*:/,/'), $dataset, preset fast ${SETTINGS:-}"
printf '%8s %10s %12s %12s %12s\n' threads seconds 'with trace' speed-up efficiency
for threads in "${thread_counts[@]}"; do
  run "$threads"
  run "$threads" trace
  awk -v threads="$threads" -v plain="$(seconds "$threads")" -v traced="$(seconds "$threads.trace")" \
    -v first="$first" -v one="$(seconds "$first")" \
    'BEGIN { printf "%8d %10.2f %12.2f %12.2f %11.0f%%\n", threads, plain, traced, one / plain, 100 * one * first / plain / threads }'
done
last=${thread_counts[${#thread_counts[@]} - 1]}
GOMP_SPINCOUNT=100000 run "$last" "" spinning
echo "with GOMP_SPINCOUNT=100000 (the program's own is 2000) $last threads take $(seconds "$last.spinning") s"
echo "models: $(sort -u "$scratch/models" | wc -l) different of $(wc -l <"$scratch/models") runs"

# One row per operation: seconds for each number of threads, and the efficiency of the last one. What the operations do
# not account for is "outside".
tables=()
for threads in "${thread_counts[@]}"; do
  { echo "threads $threads $(seconds "$threads.trace")"; cat "$scratch/$threads.trace.table"; } >"$scratch/$threads.rows"
  tables+=("$scratch/$threads.rows")
done
echo
awk '
  FNR == 1 { column[++columns] = $2; all[$2] = $3; now = $2; next }
  NF < 8 || $(NF - 5) + 0 != $(NF - 5) { next }
  {
    name = $1
    for (i = 2; i <= NF - 7; ++i) name = name " " $i
    if (!(name in calls)) order[++rows] = name
    calls[name] = $(NF - 6)
    seconds[name, now] = $(NF - 5)
  }
  function row(name, count, efficiency, c) {
    printf "%-30s %8s", name, count
    for (c = 1; c <= columns; ++c) printf " %9.2f", seconds[name, column[c]]
    efficiency = seconds[name, column[columns]] * column[columns]
    if (efficiency > 0) efficiency = seconds[name, column[1]] * column[1] / efficiency
    printf " %10.0f%% %9.2f\n", 100 * efficiency, seconds[name, column[columns]] - seconds[name, column[1]] * column[1] / column[columns]
  }
  END {
    printf "%-30s %8s", "operation", "calls"
    for (c = 1; c <= columns; ++c) printf " %9s", column[c] " thr."
    printf " %11s %9s\n", "efficiency", "lost s"
    for (r = 1; r <= rows; ++r) row(order[r], calls[order[r]])
    for (c = 1; c <= columns; ++c) seconds["outside", column[c]] = all[column[c]] - seconds["together", column[c]]
    row("outside", "")
  }' "${tables[@]}"
