#!/usr/bin/env bash
# Everything a GPU can tell in one go: the tests, the sanitizer on small inputs, the time of each kernel, and the
# tables last. Also runs where only a bundle of it is, without a compiler (docs/gpu.md).
#   scripts/gpu.sh [FOLDER]   with eg4d, eg4d_cuda_tests and the bench_* programs (default: where the build has them)
#   MODELS=FOLDER             of bench/write_random_models: the networks of full size, too
set -uo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
tests=${1:-$here/build/release/tests}
bench=${1:-$here/build/release/bench}
eg4d=${1:-$here/build/release}/eg4d models=$here/models
: "${EG4D_GOLDEN_DIR=$here/tests/data/golden}" "${EG4D_BENCH_DIR=$here/../shared/bench}" "${OUT=/tmp}"
export EG4D_GOLDEN_DIR EG4D_BENCH_DIR OMP_WAIT_POLICY=passive
failed=0
export PATH=$PATH:/usr/local/cuda/bin  # where compute-sanitizer and ncu often are
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader || exit 1

# Suite by suite, so that one that dies does not take the others with it; the log names every test.
echo "== tests"
: >"$OUT/tests.log"
for suite in $("$tests/eg4d_cuda_tests" --gtest_list_tests | grep -E '^[A-Za-z].*\.$'); do
  timeout 60 "$tests/eg4d_cuda_tests" --gtest_filter="$suite*" >"$OUT/suite.log" 2>&1
  status=$?
  cat "$OUT/suite.log" >>"$OUT/tests.log"
  echo "${suite%.}: exit status $status, $(grep -c '^\[       OK' "$OUT/suite.log") passed"
  [ $status -eq 0 ] && continue
  failed=1
  grep -E '^\[ +(RUN|OK|FAILED)|Failure|actual|Which|trace|error' "$OUT/suite.log" | tail -n 25
done

# Warps that wait for each other and borders are where the bugs are; sizes do not matter, and a sanitizer takes up to a
# hundred times as long. $1: tool, $2: program, $3: which tests. Several at a time; EG4D_SANITIZER_SECONDS for each.
sanitize() {
  local tool=$1 program=$2 shards=6 shard log code passed=0
  local -a running
  for ((shard = 0; shard < shards; ++shard)); do
    GTEST_TOTAL_SHARDS=$shards GTEST_SHARD_INDEX=$shard EG4D_TEST_DEVICES=cuda timeout "${EG4D_SANITIZER_SECONDS:-90}" \
      compute-sanitizer --tool "$tool" --error-exitcode 9 "$tests/$program" --gtest_filter="$3" \
      >"$OUT/$tool-$program-$shard.log" 2>&1 &
    running[shard]=$!
  done
  for ((shard = 0; shard < shards; ++shard)); do
    wait "${running[shard]}"
    code=$? log=$OUT/$tool-$program-$shard.log
    passed=$((passed + $(grep -c '^\[       OK' "$log")))
    if [ $code -eq 124 ]; then
      echo "$tool, $program: out of time in $(grep '^\[ RUN' "$log" | tail -n 1)"
    elif [ $code -ne 0 ]; then
      failed=1
      echo "$tool, $program: exit status $code"
      grep -m 12 -E '^\[  FAILED|========= (Invalid|Error|Warning|Race|Potential|    (at|by|in) )' "$log"
    fi
  done
  cat "$OUT/$tool-$program"-?.log | grep -E '(ERROR|RACECHECK) SUMMARY' | sort | uniq -c
  echo "$tool, $program: $passed tests passed under it"
}
small='*-*Thousands*:*ManyTokens*:*SumsOverManyRows*:*SameBits*:*ManySequences*:CudaLibrary.Memory*'
small_operations='*/cuda*-TrainerTest.*:*Lpips*:Matting*:Dpt*:Svd*:*Clip*:*Golden*'
for tool in memcheck racecheck; do
  command -v compute-sanitizer >/dev/null || break
  echo "== compute-sanitizer --tool $tool"
  sanitize $tool eg4d_cuda_tests "$small"
  if [ -x "$tests/eg4d_tests" ]; then sanitize $tool eg4d_tests "$small_operations"; fi
done

# The same with every network there is, small: a whole run of the program with the mini models.
if command -v compute-sanitizer >/dev/null && [ -x "$eg4d" ] && [ -d "$models/mini" ]; then
  echo "== compute-sanitizer --tool memcheck eg4d generate --preset mini"
  run=$(mktemp -d)
  timeout 240 compute-sanitizer --tool memcheck --error-exitcode 1 "$eg4d" generate "$here/examples/creature.png" -o "$run/mini" \
    --preset mini --models-folder "$models" --device cuda --quiet --animate.frames 2 --animate.sampler.steps 1 --animate.side 64 \
    --multiview.views 3 --multiview.sampler.steps 1 --multiview.side 64 --reconstruct.schedule.coarse_iterations 3 \
    --reconstruct.schedule.fine_iterations 6 --reconstruct.start.count 500 --refine.iterations 3 --orbit.frames 2 --orbit.size 64 \
    >"$OUT/memcheck-networks.log" 2>&1
  status=$?
  tail -n 2 "$OUT/memcheck-networks.log"
  [ $status -eq 0 ] || { echo "exit status $status"; grep -m 12 '=========' "$OUT/memcheck-networks.log"; failed=1; }
  rm -rf "$run"
fi

# The kernels of the last of several rounds; $1: title, $2: its first kernel, then the program and its arguments.
profile() {
  local title=$1 first=$2
  shift 2
  echo "== kernels of $title: microseconds, memory %, multiprocessors %, warps %"
  timeout 35 ncu --clock-control none --print-kernel-base function --csv --metrics $metrics "$@" >"$OUT/ncu.csv" 2>"$OUT/ncu.log"
  cp "$OUT/ncu.csv" "$OUT/ncu-$title.csv"
  python3 - "$OUT/ncu.csv" "$first" <<'PYTHON' || tail -n 5 "$OUT/ncu.log" "$OUT/ncu.csv"
import csv, sys
rows = [line for line in open(sys.argv[1]) if line.startswith('"')]
kernels = {}
for row in csv.DictReader(rows):
    unit, value = row["Metric Unit"], float(row["Metric Value"].replace(",", ""))
    value *= {"ns": 1e-3, "nsecond": 1e-3, "ms": 1e3, "msecond": 1e3}.get(unit, 1)
    kernels.setdefault(int(row["ID"]), (row["Kernel Name"].split("(")[0].split("<")[0], {}))[1][row["Metric Name"]] = value
order = list(kernels)
last = max((i for i, k in enumerate(order) if kernels[k][0] == sys.argv[2]), default=0)
for k in order[last:]:
    name, m = kernels[k]
    print(f"{name:38s}" + "".join(f"{m.get(x, float('nan')):9.1f}" for x in (
        "gpu__time_duration.sum", "dram__throughput.avg.pct_of_peak_sustained_elapsed",
        "sm__throughput.avg.pct_of_peak_sustained_elapsed", "sm__warps_active.avg.pct_of_peak_sustained_active")))
assert order
PYTHON
}

if command -v ncu >/dev/null; then
  metrics=gpu__time_duration.sum,dram__throughput.avg.pct_of_peak_sustained_elapsed
  metrics+=,sm__throughput.avg.pct_of_peak_sustained_elapsed,sm__warps_active.avg.pct_of_peak_sustained_active
  profile 20k project_kernel "$bench/bench_cuda_rasterizer" 0 20k
  profile 1M project_kernel "$bench/bench_cuda_rasterizer" 0 '1M, 576'
  profile 1080p project_kernel "$bench/bench_cuda_rasterizer" 0 '1M, 1920'
  profile loss similarity_kernel "$bench/bench_cuda_splat" 0 'L1 + DSSIM with gradient, 576'
  profile hexplane prepare_kernel "$bench/bench_cuda_splat" 0 'hexplane backward'
  profile tf32-forward product_kernel "$bench/bench_cuda_splat" 0 'network forward, tf32'
  profile tf32-backward narrow_backward_kernel "$bench/bench_cuda_splat" 0 'network backward, tf32'
  profile bf16-forward pack_kernel "$bench/bench_cuda_splat" 0 'network forward, bf16'
  profile bf16-backward pack_kernel "$bench/bench_cuda_splat" 0 'network backward, bf16'
fi

for program in bench_cuda_splat bench_cuda_rasterizer; do
  echo "== $program"
  timeout 45 "$bench/$program" 50 2>&1 || failed=1
done
for program in bench_cuda_attention bench_cuda_networks; do
  echo "== $program"
  timeout 60 "$bench/$program" 15 2>&1 || failed=1
done
if [ -n "${MODELS:-}" ]; then
  echo "== bench_device_networks"
  timeout 300 "$bench/bench_device_networks" "$MODELS" cuda f16 2>&1 || failed=1
fi
[ $failed -eq 0 ] && echo "gpu.sh: all tests passed." || echo "gpu.sh: something FAILED; look above."
exit $failed
