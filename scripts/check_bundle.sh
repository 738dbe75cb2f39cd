#!/usr/bin/env bash
# Tries the bundle where nothing is installed: a root folder with the C library, its loader and busybox, entered with chroot
# (as root; the package busybox-static). The program must start within 30 ms, reconstruct the example dataset, and pass its tests.
#   scripts/check_bundle.sh [FILE=build/eg4d-bundle.tar.xz] [ARGUMENTS OF run-tests.sh…]
set -euo pipefail
cd "$(dirname "$0")/.."

archive=${1:-build/eg4d-bundle.tar.xz}
shift || true
[ "$(id -u)" = 0 ] || { echo "check_bundle.sh: chroot needs root" >&2; exit 1; }
[ -e "$archive" ] || { echo "check_bundle.sh: there is no '$archive'; scripts/bundle.sh makes it" >&2; exit 1; }
busybox=$(command -v busybox) && ! ldd "$busybox" >/dev/null 2>&1 ||
  { echo "check_bundle.sh: a busybox that needs no libraries is not here; install busybox-static" >&2; exit 1; }

root=$(mktemp -d)
finish() {
  umount "$root/proc" "$root/dev" 2>/dev/null || true
  if mountpoint -q "$root/proc" || mountpoint -q "$root/dev"; then
    echo "check_bundle.sh: '$root' is still mounted and stays" >&2
  else
    rm -rf "$root"
  fi
}
trap finish EXIT

mkdir -p "$root"/{bin,dev,proc,tmp,etc,lib64,lib/x86_64-linux-gnu}
cp -L /lib64/ld-linux-x86-64.so.2 "$root/lib64/"
for library in c m mvec dl pthread rt resolv; do
  cp -L /lib/x86_64-linux-gnu/lib$library.so.? "$root/lib/x86_64-linux-gnu/" 2>/dev/null || true
done
cp "$busybox" "$root/bin/busybox"
chroot "$root" /bin/busybox --install -s /bin
mount -t proc proc "$root/proc" 2>/dev/null || mount --bind /proc "$root/proc"
mount --bind /dev "$root/dev"
tar -C "$root" -xf "$archive"
inside() { env -i PATH=/bin HOME=/tmp "$(command -v chroot)" "$root" "$@"; }

echo "a bare root: $(find "$root/lib" "$root/lib64" -type f -printf '%f ')busybox"
head -2 "$root/eg4d-bundle/MANIFEST.txt"
inside /eg4d-bundle/bin/eg4d --version
times=()
for _ in $(seq 15); do
  begin=${EPOCHREALTIME/./}
  inside /eg4d-bundle/bin/eg4d --version >/dev/null
  times+=($((${EPOCHREALTIME/./} - begin)))
done
median=$(printf '%s\n' "${times[@]}" | sort -n | sed -n 8p)
echo "eg4d --version takes $((median / 1000)).$((median % 1000 / 100)) ms (the middle one of 15)"
inside /eg4d-bundle/bin/eg4d reconstruct /eg4d-bundle/examples/robot-192 -o /tmp/run --preset fast --quiet \
  --set schedule.coarse_iterations=20 --set schedule.fine_iterations=40
[ -s "$root/tmp/run/coarse/model.safetensors" ] || { echo "check_bundle.sh: reconstruct left no model" >&2; exit 1; }
echo "eg4d reconstruct left a model"
if [ -e "$root/eg4d-bundle/run-tests.sh" ]; then inside /bin/sh /eg4d-bundle/run-tests.sh "$@"; fi
if [ "$median" -gt 30000 ]; then
  echo "check_bundle.sh: eg4d --version takes more than 30 ms" >&2
  exit 1
fi
