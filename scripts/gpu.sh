#!/usr/bin/env bash
# Everything that a GPU can tell in one go: tests, the sanitizer, each kernel's time, whole runs, and the tables last.
#   scripts/gpu.sh                      builds what is not built, and runs it
#   scripts/gpu.sh eg4d-bundle.tar.xz   unpacks what scripts/bundle.sh packed on another machine, and runs that: no compiler
#   scripts/gpu.sh FOLDER               programs that lie together, such as bin/ of an unpacked bundle
#   PARTS="tests memcheck racecheck kernels runs tables"   some of them, in this order (default: all; about ten minutes)
#   MODELS=FOLDER                       of bench/write_random_models: the networks of full size, too
#   OUT=FOLDER                          logs (default: a new one, whose name is told)
set -uo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
: "${PARTS=tests memcheck racecheck kernels runs tables}" "${OUT=$(mktemp -d)}"
export PATH=$PATH:/usr/local/cuda/bin # where compute-sanitizer and ncu often are
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader || exit 1

tests=$here/build/release/tests bench=$here/build/release/bench eg4d=$here/build/release/eg4d models=$here/models
: "${EG4D_BENCH_DIR=$here/../shared/bench}"
if [ -f "${1:-}" ]; then
  unpacked=$(mktemp -d)
  trap 'rm -rf "$unpacked"' EXIT
  tar -xf "$1" -C "$unpacked" || exit 1
  here=$unpacked/eg4d-bundle
  set -- "$here/bin"
fi
[ -d "$models/mini" ] || models=$here/share/eg4d/models
if [ -n "${1:-}" ]; then
  tests=$1 bench=$1 eg4d=$1/eg4d
  head -n 1 "$1/../MANIFEST.txt" 2>/dev/null
else
  (cd "$here" && git describe --always --dirty 2>/dev/null && cmake --preset release -DEG4D_CUDA=ON && cmake --build --preset release) \
    >"$OUT/build.log" 2>&1 || { tail -n 20 "$OUT/build.log" && exit 1; }
  head -n 1 "$OUT/build.log"
fi
: "${EG4D_GOLDEN_DIR=$here/tests/data/golden}"
export EG4D_GOLDEN_DIR EG4D_BENCH_DIR
failed=0
wanted() { [[ " $PARTS " == *" $1 "* ]]; }
echo "logs: $OUT"

# A program's tests, several processes at a time; waiting threads sleep. $1: what their logs are called, $2: seconds, $3: processes,
# $4: program, $5: which tests, then a command before it.
shards() {
  local label=$1 seconds=$2 count=$3 program=$4 filter=$5 shard
  shift 5
  [ -x "$tests/$program" ] || { echo "$program is not here" && return; }
  for ((shard = 0; shard < count; ++shard)); do
    (
      GTEST_TOTAL_SHARDS=$count GTEST_SHARD_INDEX=$shard EG4D_TEST_DEVICES=cuda OMP_WAIT_POLICY=passive \
        timeout -k 2 "$seconds" "$@" "$tests/$program" --gtest_color=no --gtest_filter="$filter" </dev/null >"$OUT/$label-$shard.log" 2>&1
      echo "exit status $?" >>"$OUT/$label-$shard.log"
    ) &
  done
}
# What the logs of one label say: a line of counts, then what failed and why others were skipped, and what a sanitizer found.
summary() {
  python3 - "$OUT" "$1" <<'PYTHON' || failed=1
import collections, glob, re, sys
passed, failed, skipped, unended, found, exits = 0, [], collections.Counter(), [], collections.Counter(), set()
# Of lanes that a warp's barrier puts before the one that arrives at a barrier in shared memory, racecheck follows that one alone: it reports
# the 31 others where a copy comes after all of them.
known, alarms = re.compile(r"WeightBlock.*::add_to_bias"), 0
for path in sorted(glob.glob(f"{sys.argv[1]}/{sys.argv[2]}-*.log")):
    running, text, problem = None, [], ""
    for line in open(path, errors="replace"):
        line = line.rstrip("\n")
        if m := re.match(r"\[ +(RUN|OK|FAILED|SKIPPED) +\] (\S+)", line):
            name = m[2].rstrip(",")
            if m[1] == "RUN": running, text = name, []
            elif running:
                if m[1] == "OK": passed += 1
                elif m[1] == "SKIPPED": skipped[" ".join(text).split(": Skipped ")[-1][:90]] += 1
                else: failed.append(f"{name}: {' / '.join(t.strip() for t in text if t.strip())[:500]}")
                running = None
        elif m := re.match(r"exit status (\d+)", line): exits.add(int(m[1]))
        elif m := re.match(r"=+ (?:Error: )?((?:Invalid|Error|Warning|Race|Potential|Program hit|Memory|Out|Leaked).*)", line):
            problem = f"{running}: {m[1][:140]}"
            if not m[1].startswith("Race"): found[problem] += 1
        elif problem and (m := re.match(r"=+ +(at|by|in|and) (.*)", line)):
            harmless = "copy_in" in problem and known.search(line)
            if harmless: alarms += 1
            else: found[f"{problem} | {m[2][:110]}"] += 1
            if m[1] != "and": problem = ""
        else: text.append(line)
    if running: unended.append(running)
print(f"{sys.argv[2]}: {passed} passed, {len(failed)} failed, {sum(skipped.values())} skipped"
      + (f"; ended by time or a crash in {', '.join(unended)}" if unended else ""))
for text in failed: print("  ! " + text)
for text, n in skipped.most_common(6): print(f"  {n} skipped: {text}")
for text, n in found.most_common(10): print(f"  {n}x {text}")
if alarms: print(f"  {alarms} accesses of lanes that a warp's barrier had put before a copy, which racecheck does not follow")
sys.exit(1 if failed or found or passed == 0 or exits - {0, 124, 137} - ({9} if alarms else set()) else 0)
PYTHON
}

if wanted tests; then
  echo "== tests"
  shards kernels 120 8 eg4d_cuda_tests '*' && wait
  shards golden 120 8 eg4d_golden_tests '*' && wait
  shards operations 120 8 eg4d_tests '*/cuda*:*Cuda*:*Gpu*' && wait
  for label in kernels golden operations; do summary $label; done
fi

# Warps that wait for each other and borders are where the bugs are; sizes do not matter, and a sanitizer takes ten (memcheck) to a hundred times
# (racecheck) as long, so the latter has tests of its own. Networks as a whole are in a run of the program with the mini models. Of NVIDIA's
# libraries racecheck does not know how their kernels wait.
declare -A kernels operations
kernels[memcheck]='*-*Thousands*:*ManyTokens*:*SumsOverManyRows*:*SameBits*:*ManySequences*:CudaLibrary.Memory*:CudaDeformationNetwork.LikeTheDefinition'
operations[memcheck]='*/cuda*-*Trainer*:*Reconstruct*:*Refine*:*Iteration*:*Distillation*:*UNet*:*ImageToImage*:*StepCache*:*ControlNet*'
operations[memcheck]+=':*Clip*:*Lpips*:*Evaluate*:*Depth*:*Dpt*:*Matting*:*Svd*:*Golden*:*MemoryCap*:*DecodingInPieces*:*Prepared*:*Sampl*'
kernels[racecheck]='*AFewForEachKernel*:CudaRasterizer.EqualDepths*:CudaRasterizer.Scattered*:CudaHexPlane.CrowdsLines*:CudaImageLoss.LikeTheCpu'
kernels[racecheck]+=':*GroupNorms*/3:CudaAdam*'
operations[racecheck]='Rasterizer.Scattered*/cuda:Rasterizer.Contexts*/cuda:HexPlaneTest.Backward*/cuda:HexPlaneTest.TheBorder*/cuda:HexPlaneAdamTest*/cuda'
operations[racecheck]+=':DeformationNetworkTest.*/cuda:ImageLossTest*/cuda:AdamTest*/cuda:Density*/cuda:GaussianActivationTest*/cuda:ShColors*/cuda'
operations[racecheck]+=':ResizePicture*/cuda:Recordings*/cuda:NeuralOpsTest.GroupNorm/cuda:NetworkGradients.GroupNorm/cuda-*MatchesTheReferenceForAnySizes*:DensityControlTest.DoesWhat*'
for tool in memcheck racecheck; do
  wanted $tool || continue
  command -v compute-sanitizer >/dev/null || { echo "$tool: there is no compute-sanitizer" && continue; }
  echo "== compute-sanitizer --tool $tool"
  sanitizer=(compute-sanitizer --tool "$tool" --error-exitcode 9)
  seconds=${EG4D_SANITIZER_SECONDS:-90}
  shards $tool-kernels "$seconds" 6 eg4d_cuda_tests "${kernels[$tool]}" "${sanitizer[@]}"
  shards $tool-operations "$seconds" 8 eg4d_tests "${operations[$tool]}" "${sanitizer[@]}"
  if [ $tool = memcheck ] && [ -s "$models/mini/svd_mini.safetensors" ]; then
    run=$(mktemp -d)
    timeout -k 2 "$seconds" "${sanitizer[@]}" "$eg4d" generate "$here/examples/creature.png" -o "$run/mini" \
      --preset mini --models-folder "$models" --device cuda --quiet --animate.frames 2 --animate.sampler.steps 1 --animate.side 64 \
      --multiview.views 3 --multiview.sampler.steps 1 --multiview.side 64 --reconstruct.schedule.coarse_iterations 3 \
      --reconstruct.schedule.fine_iterations 6 --reconstruct.start.count 500 --refine.iterations 3 --orbit.frames 2 --orbit.size 64 \
      </dev/null >"$OUT/$tool-generate.log" 2>&1
    status=$?
    rm -rf "$run"
    echo "$tool, eg4d generate --preset mini: exit status $status, $(tail -n 1 "$OUT/$tool-generate.log")"
    [ $status -eq 0 ] || { grep -m 12 '=========' "$OUT/$tool-generate.log"; failed=1; }
  fi
  wait
  summary $tool-kernels
  summary $tool-operations
done

# The kernels of the last of several rounds; $1: title, $2: its first kernel, then the program and its arguments.
profile() {
  local title=$1 first=$2
  shift 2
  echo "== kernels of $title: microseconds, memory %, multiprocessors %, warps %"
  timeout 35 ncu --clock-control none --print-kernel-base function --csv --metrics $metrics "$@" >"$OUT/ncu-$title.csv" 2>"$OUT/ncu.log"
  python3 - "$OUT/ncu-$title.csv" "$first" <<'PYTHON' || tail -n 5 "$OUT/ncu.log" "$OUT/ncu-$title.csv"
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

if wanted kernels && command -v ncu >/dev/null; then
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

# What they print is Markdown, and shown once more where the tables are.
if wanted runs; then
  echo "== whole runs"
  runs=$(mktemp -d)
  whole() { EG4D=$eg4d BENCH=$bench DATASET=$here/examples/robot-192 WORK=$runs bash "$here/scripts/whole_runs.sh" "$@"; }
  whole fast turbo >"$OUT/runs-cuda.log" 2>&1 || failed=1
  timeout 60 "$bench/bench_cuda_model" "$runs/turbo" "$here/examples/robot-192" 576 4 20 >"$OUT/model.log" 2>&1 || failed=1
  DEVICE=cpu whole fast >"$OUT/runs-cpu.log" 2>&1 || failed=1
  rm -rf "$runs"
  grep -hE '^\||^device' "$OUT/runs-cuda.log" "$OUT/runs-cpu.log" | awk '!seen[$0]++'
fi

table() { # seconds, what it is called, command
  local seconds=$1
  echo "== $2"
  shift 2
  timeout "$seconds" "$@" 2>&1 || failed=1
}
if wanted tables; then
  table 60 attention "$bench/bench_cuda_attention" 15
  table 60 'operations of networks' "$bench/bench_cuda_networks" 15
  [ -z "${MODELS:-}" ] || table 300 'networks of full size' "$bench/bench_device_networks" "$MODELS" cuda f16
  table 45 'kernels besides the rasteriser' "$bench/bench_cuda_splat" 50
  table 90 rasteriser "$bench/bench_cuda_rasterizer" 50
  table 30 'one fine iteration' "$bench/bench_cuda_training" paper 40000 576 300
  table 30 'rendering' "$bench/bench_render" cuda
  table 60 'rendering, on the processor' "$bench/bench_render" cpu
  if [ -s "$OUT/model.log" ]; then echo "== rasteriser on turbo's model" && cat "$OUT/model.log"; fi
  if [ -s "$OUT/runs-cuda.log" ]; then
    echo "== whole runs"
    sed -s -n '/^device/,$p' "$OUT/runs-cuda.log" "$OUT/runs-cpu.log"
  fi
fi
[ $failed -eq 0 ] && echo "gpu.sh: nothing failed." || echo "gpu.sh: something FAILED; look above."
exit $failed
