#!/bin/sh
# Runs the tests of this bundle, several at a time; the summary comes last.
#   ./run-tests.sh [-j JOBS] [ARGUMENTS OF GTEST…]        for example --gtest_filter='*/cuda*'
#   EG4D_GOLDEN_DIR=FOLDER                                another set of golden fixtures
here=$(cd "$(dirname "$0")" && pwd) || exit 1
jobs=$(nproc 2>/dev/null || echo 2)
[ "$jobs" -le 8 ] || jobs=8
if [ "$1" = -j ]; then
  jobs=$2
  shift 2
fi
logs=$(mktemp -d) || exit 1
trap 'rm -rf "$logs"' EXIT
# Waiting threads sleep: the programs run side by side.
export OMP_WAIT_POLICY=passive

for program in eg4d_tests eg4d_golden_tests; do
  echo "$program, $jobs at a time …"
  shard=0
  while [ "$shard" -lt "$jobs" ]; do
    (
      GTEST_TOTAL_SHARDS=$jobs GTEST_SHARD_INDEX=$shard "$here/bin/$program" --gtest_color=no "$@" \
        >"$logs/$program.$shard" 2>&1 </dev/null
      code=$?
      # 1: tests failed. Anything else ended the program before its last test.
      [ "$code" -le 1 ] || echo "[  ENDED   ] with exit code $code" >>"$logs/$program.$shard"
    ) &
    shard=$((shard + 1))
  done
  wait
done

cat "$logs"/* | awk '
  /^\[ RUN      \]/ { running = $4; text = ""; next }
  /^\[       OK \].* ms\)$/ { ++passed; running = ""; next }
  /^\[  SKIPPED \].* ms\)$/ { ++skipped; sub(/^.*: Skipped\n/, "", text); sub(/\n+$/, "", text); ++reason[text]; running = ""; next }
  /^\[  FAILED  \].* ms\)$/ { ++failed; failures = failures "\n" $4 "\n" text; running = ""; next }
  /^\[  ENDED   \]/ { ++failed; failures = failures "\n" running " ended the program " substr($0, 14) "; the tests behind it did not run\n" text; running = ""; next }
  running != "" { text = text $0 "\n" }
  END {
    if (failed) print failures "\n"
    for (why in reason) printf "%d skipped: %s\n", reason[why], why
    printf "%d tests passed, %d failed, %d skipped\n", passed, failed, skipped
    exit failed > 0 || passed == 0
  }'
