#!/usr/bin/env bash
# clang-format over all C++ files and clang-tidy over src/. A file that passed clang-tidy is looked at again only when
# it, a header it includes, the checks or clang-tidy changed (~/.cache/eg4d/lint remembers; the build knows the headers).
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

# "src/a.cpp src/a.h src/b.h" for each source: the project's own files that the last build read for it.
dependencies() {
  ninja -C $build -t deps 2>/dev/null | awk -v root="$PWD/" '
    function flush() { if (line != "") print line; line = "" }
    /^[^ ]/ { flush() }
    /^ / {
      path = $1; sub(/^\.\.\/\.\.\//, root, path) # the compiler cache writes paths from build/release
      if (index(path, root) == 1) line = line (line == "" ? "" : " ") substr(path, length(root) + 1)
    }
    END { flush() }' | awk '$1 ~ /^src\// && !seen[$1]++'
}

declare -A files_of
while read -r source rest; do files_of[$source]="$source $rest"; done < <(dependencies)

pending=()
for source in $(find src -name '*.cpp' -not -path '*/cuda/*' | sort); do
  key=""
  if [ -n "${files_of[$source]:-}" ]; then
    # shellcheck disable=SC2086
    key=$( (echo "$rules ${files_of[$source]}"; cat ${files_of[$source]} 2>/dev/null) | sha256sum | cut -c1-64)
    [ -e "$cache/$key" ] && continue
  fi
  pending+=("$source" "$key")
done

check() {
  source=$1 key=$2
  if ! report=$(clang-tidy-14 --quiet -p "$build" "$source" 2>/dev/null); then
    printf '%s\n' "$report"
    echo "lint: clang-tidy found faults in $source" >&2
    return 1
  fi
  [ -z "$key" ] || touch "$cache/$key"
}
export -f check
export build cache
if [ ${#pending[@]} -gt 0 ]; then
  printf '%s\0' "${pending[@]}" | xargs -0 -n 2 -P "$(nproc)" bash -c 'check "$1" "$2" || exit 1' check
fi
echo "lint: ${#sources[@]} files formatted, clang-tidy passed ($((${#pending[@]} / 2)) files looked at)."
