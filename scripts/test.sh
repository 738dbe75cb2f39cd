#!/usr/bin/env bash
# Everything a change must pass: packages, clean build without warnings, format and lint, all tests.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/setup.sh --browser
cmake --preset release
cmake --build --preset release
scripts/lint.sh
ctest --preset release --parallel "$(nproc)" "$@"
