#!/usr/bin/env bash
# Everything a GPU can tell in one go: the tests, the sanitizer on small inputs, the time of each kernel, and the
# tables last. Also runs where only a bundle of it is, without a compiler (docs/gpu.md).
#   scripts/gpu.sh [FOLDER]   with eg4d_cuda_tests and the bench_cuda_* programs (default: where the build has them)
set -uo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
tests=${1:-$here/build/release/tests}
bench=${1:-$here/build/release/bench}
: "${EG4D_GOLDEN_DIR=$here/tests/data/golden}" "${EG4D_BENCH_DIR=$here/../shared/bench}" "${OUT=/tmp}"
export EG4D_GOLDEN_DIR EG4D_BENCH_DIR OMP_WAIT_POLICY=passive
failed=0
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader || exit 1

echo "== tests"
timeout 100 "$tests/eg4d_cuda_tests" --gtest_brief=1 2>&1 | tee "$OUT/tests.log" | tail -n 60
[ "${PIPESTATUS[0]}" -eq 0 ] || failed=1

# Warps that wait for each other and borders are where the bugs are; sizes do not matter.
small='*OddSizes*:*AnyNumber*:*TooManyPairs*:*FaintGaussians*:*ExtremeScales*:*NotANumber*:*NothingFinite*:CudaImageLoss.*:*ManyTensors*:*WithoutActivations*'
for tool in memcheck racecheck; do
  command -v compute-sanitizer >/dev/null || break
  echo "== compute-sanitizer --tool $tool"
  timeout 45 compute-sanitizer --tool $tool --error-exitcode 1 "$tests/eg4d_cuda_tests" --gtest_brief=1 \
    --gtest_filter="$small" >"$OUT/$tool.log" 2>&1
  status=$?
  tail -n 4 "$OUT/$tool.log"
  [ $status -eq 0 ] || { echo "exit status $status"; grep -m 12 '=========' "$OUT/$tool.log"; failed=1; }
done

if command -v ncu >/dev/null; then
  metrics=gpu__time_duration.sum,dram__throughput.avg.pct_of_peak_sustained_elapsed
  metrics+=,sm__throughput.avg.pct_of_peak_sustained_elapsed,sm__warps_active.avg.pct_of_peak_sustained_active
  for scene in 20k '1M, 576'; do
    echo "== kernels of $scene: microseconds, memory %, multiprocessors %, warps %"
    timeout 35 ncu --clock-control none --print-kernel-base function --csv --metrics $metrics "$bench/bench_cuda_rasterizer" 0 "$scene" \
      >"$OUT/ncu.csv" 2>"$OUT/ncu.log"
    python3 - "$OUT/ncu.csv" <<'PYTHON' || tail -n 5 "$OUT/ncu.log" "$OUT/ncu.csv"
import csv, sys
rows = [line for line in open(sys.argv[1]) if line.startswith('"')]
kernels = {}
for row in csv.DictReader(rows):
    unit, value = row["Metric Unit"], float(row["Metric Value"].replace(",", ""))
    value *= {"ns": 1e-3, "nsecond": 1e-3, "ms": 1e3, "msecond": 1e3}.get(unit, 1)
    kernels.setdefault(int(row["ID"]), (row["Kernel Name"].split("(")[0].split("<")[0], {}))[1][row["Metric Name"]] = value
order = list(kernels)
last = max((i for i, k in enumerate(order) if kernels[k][0] == "project_kernel"), default=0)
for k in order[last:]:
    name, m = kernels[k]
    print(f"{name:38s}" + "".join(f"{m.get(x, float('nan')):9.1f}" for x in (
        "gpu__time_duration.sum", "dram__throughput.avg.pct_of_peak_sustained_elapsed",
        "sm__throughput.avg.pct_of_peak_sustained_elapsed", "sm__warps_active.avg.pct_of_peak_sustained_active")))
assert order
PYTHON
  done
fi

for program in bench_cuda_splat bench_cuda_rasterizer; do
  echo "== $program"
  timeout 45 "$bench/$program" 50 2>&1 || failed=1
done
[ $failed -eq 0 ] && echo "gpu.sh: all tests passed." || echo "gpu.sh: something FAILED; look above."
exit $failed
