#!/usr/bin/env bash
# Files of Gaussians and meshes beside independent programs, for ctest: scripts/test_formats.sh BUILD_FOLDER. They are
# fetched once, with npm, into the build folder. Exit code 77: skipped, with the reason.
set -euo pipefail
build=$(realpath "$1")
cd "$(dirname "$0")/../tests/formats"

skip() {
  echo "skipped: $*"
  exit 77
}
command -v node >/dev/null && command -v npm >/dev/null || skip "there is no npm (Node.js 20 or newer; Debian: npm)"
[ "$(node -p 'process.versions.node.split(".")[0]')" -ge 20 ] || skip "splat-transform needs Node.js 20 or newer"
place=$build/formats-check
mkdir -p "$place"
if ! cmp -s package-lock.json "$place/package-lock.json" || [ ! -d "$place/node_modules" ]; then
  cp package.json package-lock.json "$place"
  if ! (cd "$place" && timeout 300 npm ci --ignore-scripts --no-audit --no-fund >npm.log 2>&1); then
    rm -f "$place/package-lock.json"
    skip "npm could not fetch what tests/formats/package.json names (see $place/npm.log)"
  fi
fi
node check.mjs "$build/eg4d" "$place"
rm -rf "$place/meshes"
mkdir "$place/meshes"
EG4D_MESH_SAMPLES="$place/meshes" "$build/tests/eg4d_tests" --gtest_filter=MeshSamples.* --gtest_brief=1
exec node meshes.mjs "$place"
