#!/usr/bin/env bash
# clang-format over all C++ files and clang-tidy over src/. A file that passed clang-tidy is looked at again only when
# it, a header it includes, the checks or clang-tidy changed (~/.cache/eg4d/lint remembers).
#   scripts/lint.sh            check
#   scripts/lint.sh --format   rewrite the files as clang-format wants them, then check
set -euo pipefail
cd "$(dirname "$0")/.."
build=build/release
cache=${XDG_CACHE_HOME:-${HOME:-build}/.cache}/eg4d/lint

mapfile -t sources < <(find src tests bench fuzz -name '*.cpp' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh' | sort)
[ "${1:-}" != --format ] || clang-format-14 -i "${sources[@]}"
unformatted=$(printf '%s\n' "${sources[@]}" | xargs -P "$(nproc)" -n 16 bash -c '
  for file; do clang-format-14 "$file" | cmp -s - "$file" || echo "$file"; done' format)
if [ -n "$unformatted" ]; then
  printf 'lint: not formatted (scripts/lint.sh --format does it):\n%s\n' "$unformatted" >&2
  exit 1
fi

[ -f $build/compile_commands.json ] || cmake --preset release >/dev/null
mkdir -p "$cache"
rules=$(cat .clang-tidy <(clang-tidy-14 --version) | sha256sum)

# "src/a.cpp src/a.h src/b.h" for each source: it and the project's own headers that it includes, directly or not.
dependencies() {
  awk '
    function includes(file, line) {
      if (file in direct) return direct[file]
      direct[file] = ""
      while ((getline line < file) > 0)
        if (line ~ /^ *# *include "/) { split(line, part, "\""); direct[file] = direct[file] " src/" part[2] }
      close(file)
      return direct[file]
    }
    {
      split("", seen)
      files = $1
      seen[$1] = 1
      for (next_file = 1; next_file <= split(files, file, " "); next_file++) {
        count = split(includes(file[next_file]), header, " ")
        for (i = 1; i <= count; i++) if (!seen[header[i]]++) files = files " " header[i]
      }
      print files
    }'
}

pending=()
while read -r source headers; do
  # shellcheck disable=SC2086
  key=$( (echo "$rules $source $headers"; cat "$source" $headers 2>/dev/null || true) | sha256sum | cut -c1-64)
  [ -e "$cache/$key" ] || pending+=("$source" "$key")
done < <(find src -name '*.cpp' -not -path '*/cuda/*' | sort | dependencies)

# Most of clang-tidy's time goes to the headers, so that sources are looked at together, as one text with the compiler's flags
# that they share. In: "SOURCE KEY" lines. Out: one line of them for each text.
batches() {
  awk -v commands=$build/compile_commands.json '
    BEGIN {
      while ((getline line < commands) > 0) {
        if (line ~ /"command":/) { sub(/ -o .*/, "", line); if (!(line in class)) class[line] = ++classes; last = class[line] }
        if (line ~ /"file":/ && match(line, /src\/[^"]*/)) class_of[substr(line, RSTART, RLENGTH)] = last
      }
    }
    { print class_of[$1] + 0, $0 }' |
    awk -v most=20 -f cmake/unity_groups.awk |
    awk '{ members[$1] = members[$1] " " $3 " " $4 } END { for (group in members) print members[group] }'
}

# Of one source alone, so that what is told names it; a passed one is remembered.
check() {
  source=$1 key=$2
  if ! report=$(clang-tidy-14 --quiet -p "$build" "$source" 2>/dev/null); then
    printf '%s\n' "$report"
    echo "lint: clang-tidy found faults in $source" >&2
    return 1
  fi
  touch "$cache/$key"
}
# SOURCE KEY SOURCE KEY…, as one text; where it has a fault, or is none (a clash of names), its halves.
check_batch() {
  local pairs=("$@") sources=() keys=() text flags failed=0
  while [ $# -gt 0 ]; do sources+=("$1") keys+=("$2"); shift 2; done
  if [ ${#sources[@]} -gt 1 ]; then
    text=$(mktemp "$build/lint/XXXXXXXX.cpp")
    cat "${sources[@]}" >"$text"
    flags=$(grep -B1 "\"file\": .*/${sources[0]}\"" $build/compile_commands.json |
      sed -n 's/.*"command": "[^ ]* //; s/ -o .*//; s/\\\\\\"/"/gp')
    # shellcheck disable=SC2086
    if clang-tidy-14 --quiet "$text" -- $flags >/dev/null 2>&1; then
      touch "${keys[@]/#/$cache/}"
      rm "$text"
      return
    fi
    rm "$text"
    local half=$((${#sources[@]} / 2 * 2))
    check_batch "${pairs[@]:0:half}" || failed=1
    check_batch "${pairs[@]:half}" || failed=1
    return $failed
  fi
  check "${pairs[@]}"
}
export -f check check_batch
export build cache
rm -rf $build/lint # what a stopped run left
mkdir -p $build/lint
if [ ${#pending[@]} -gt 0 ]; then
  printf '%s %s\n' "${pending[@]}" | batches | xargs -P "$(nproc)" -L 1 bash -c 'check_batch "$@" || exit 1' check
fi
echo "lint: ${#sources[@]} files formatted, clang-tidy passed ($((${#pending[@]} / 2)) files looked at)."
