#!/usr/bin/env bash
# Builds the fuzzers (clang, AddressSanitizer, UndefinedBehaviorSanitizer) and runs each for a while; fails on a finding.
#   scripts/fuzz.sh                    each for 600 s
#   scripts/fuzz.sh 60                 each for 60 s
#   scripts/fuzz.sh 60 ply image      only these
# Seeds are fuzz/corpus/<name>/; what the runs find worth keeping grows build/fuzz/corpus/<name>/, findings go to
# build/fuzz/findings/. scripts/setup.sh --fuzz installs what it needs.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-600}
shift $(($# > 0 ? 1 : 0))
case "$seconds" in
  '' | *[!0-9]*)
    echo "fuzz.sh: '$seconds' is not a number of seconds; usage: scripts/fuzz.sh [seconds [name...]]" >&2
    exit 2
    ;;
esac

scripts/setup.sh --fuzz
cmake --preset fuzz >/dev/null
cmake --build --preset fuzz --target fuzzers

names=("$@")
if [ ${#names[@]} -eq 0 ]; then
  for source in fuzz/fuzz_*.cpp; do
    name=${source#fuzz/fuzz_}
    names+=("${name%.cpp}")
  done
fi
mkdir -p build/fuzz/findings build/fuzz/logs
for name in "${names[@]}"; do
  program=build/fuzz/fuzz/fuzz_$name
  if [ ! -x "$program" ]; then
    echo "fuzz.sh: there is no fuzzer '$name'" >&2
    exit 2
  fi
  mkdir -p "build/fuzz/corpus/$name"
  options=(-max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -malloc_limit_mb=512 -print_final_stats=1
    -artifact_prefix=build/fuzz/findings/)
  [ ! -f "fuzz/$name.dict" ] || options+=("-dict=fuzz/$name.dict")
  log=build/fuzz/logs/$name.log
  if ! "$program" "${options[@]}" "build/fuzz/corpus/$name" "fuzz/corpus/$name" >"$log" 2>&1; then
    tail -n 60 "$log" >&2
    echo "fuzz.sh: fuzz_$name found something (build/fuzz/findings/, $log)" >&2
    exit 1
  fi
  echo "fuzz_$name: ran $seconds s without a finding; $(grep -E '^#[0-9]+.*DONE' "$log" | tr -s '\t ' ' ')"
done
