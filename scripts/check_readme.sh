#!/usr/bin/env bash
# Types the commands of README.md, as they stand there, one after the other in one shell; fails at the first that fails.
#   scripts/check_readme.sh              in this checkout
#   scripts/check_readme.sh CHECKOUT     in another one, such as a fresh clone
#   scripts/check_readme.sh --list       only shows them
# What they make (run-robot/, run-creature/) stays, and a second call continues from it.
set -euo pipefail
cd "$(dirname "$0")/.."

# Commands that are not typed, each with its reason.
declare -A skipped=(
  ["scripts/test.sh"]="passes all tests: to be run by itself"
  ["eg4d models fetch svd_xt_1_1 sv3d_p sdxl_turbo"]="21 GB, and an account that has accepted two licences"
  ["eg4d view run-robot"]="stays until Ctrl-C"
  ["eg4d view"]="stays until Ctrl-C"
  ["eg4d generate photo.png -o run-photo"]="needs those weights and takes hours"
)

list=
case "${1:-}" in
  --list) list=yes ;;
  -*)
    echo "check_readme.sh: unknown option '$1'; usage: scripts/check_readme.sh [--list | CHECKOUT]" >&2
    exit 2
    ;;
  ?*) cd "$1" ;;
esac

# The lines of the code blocks without their comments.
mapfile -t lines < <(awk '/^```/ { inside = !inside; next } inside' README.md |
  sed -E 's/(^|[[:space:]]+)#.*$//; s/[[:space:]]+$//' | grep -v '^$')
[ ${#lines[@]} -gt 0 ] || { echo "check_readme.sh: README.md has no code blocks" >&2; exit 1; }
for line in "${!skipped[@]}"; do
  if ! printf '%s\n' "${lines[@]}" | grep -qxF -- "$line"; then
    echo "check_readme.sh: '$line' is to be skipped but is not in README.md any more: take it out of this script" >&2
    exit 1
  fi
done

typed=0
for line in "${lines[@]}"; do
  if [ -n "${skipped[$line]:-}" ]; then
    echo "-- skipped: $line (${skipped[$line]})"
    continue
  fi
  echo "-- $line"
  [ -z "$list" ] || continue
  if ! eval "$line"; then
    echo "check_readme.sh: this command of README.md failed: $line" >&2
    exit 1
  fi
  typed=$((typed + 1))
done
[ -n "$list" ] || echo "check_readme: $typed commands of README.md work as typed."
