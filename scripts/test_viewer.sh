#!/usr/bin/env bash
# The tests of the viewer's page, for ctest: scripts/test_viewer.sh page_tests|end_to_end BUILD_FOLDER.
# Exit code 77: skipped, with the reason.
set -euo pipefail
which=$1
build=$(realpath "$2")
cd "$(dirname "$0")/../viewer"

skip() {
  echo "skipped: $*"
  exit 77
}
[ -x node_modules/.bin/vitest ] || skip "the viewer's page was not built (Node.js 18 with npm)"
if [ "$which" = page_tests ]; then
  exec node_modules/.bin/vitest run
fi
[ -f "$build/viewer/viewer.html" ] || skip "the viewer's page was not built"
browser=${EG4D_CHROMIUM:-$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)}
[ -n "$browser" ] || skip "there is no Chromium (Debian: apt-get install chromium)"
EG4D_CHROMIUM=$browser exec node e2e/run.mjs "$build/eg4d"
