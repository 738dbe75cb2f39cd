#!/usr/bin/env bash
# Builds the viewer's page: scripts/build_viewer.sh FOLDER [AUTO|ON] writes FOLDER/viewer.html and FOLDER/stamp. Packages are fetched from
# npm's registry when viewer/package-lock.json has changed since. With AUTO a registry that is out of reach is a warning,
# because everything else works without the page; the next build tries again.
set -euo pipefail
folder=$(realpath -m "${1:?usage: scripts/build_viewer.sh FOLDER [AUTO|ON]}")
need=${2:-ON}
cd "$(dirname "$0")/../viewer"

exec 9>.lock # builds of several folders share node_modules
flock 9
if ! cmp -s package-lock.json node_modules/.eg4d-lock; then
  # No package's own scripts are run.
  if ! npm ci --ignore-scripts --no-audit --no-fund --fetch-retries=1 --loglevel=error >/dev/null; then
    if [ "$need" = AUTO ]; then
      echo "warning: npm could not fetch the viewer's packages; the program is built without its page" >&2
      rm -f "$folder/viewer.html"
      exit 0
    fi
    echo "build_viewer.sh: npm could not fetch the viewer's packages" >&2
    exit 1
  fi
  cp package-lock.json node_modules/.eg4d-lock
fi
node_modules/.bin/tsc --noEmit
node_modules/.bin/vite build --outDir "$folder/new" --logLevel warn
mv "$folder/new/viewer.html" "$folder/viewer.html"
rmdir "$folder/new"
touch "$folder/stamp"
