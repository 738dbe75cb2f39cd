#!/usr/bin/env bash
# Installs the Debian packages that building and testing eg4d needs; docs/dependencies.md says what each is for.
#   scripts/setup.sh          what the build, the tests and the lint need
#   scripts/setup.sh --fuzz   also what the fuzzers need (docs/testing.md)
#   scripts/setup.sh --browser   also Chromium, for the tests of the viewer
# Does nothing when everything is there. Needs root or sudo otherwise.
set -euo pipefail

packages=(
  # building
  g++ cmake ninja-build ccache pkg-config
  # pictures, video, archives
  libpng-dev libjpeg-dev libwebp-dev zlib1g-dev libzip-dev libzstd-dev
  libavformat-dev libavcodec-dev libswscale-dev libavutil-dev
  # downloads
  libcurl4-openssl-dev
  # computing
  libdnnl-dev libhwy-dev libnanoflann-dev libmeshoptimizer-dev
  # texts and the command line
  libfmt-dev libutf8proc-dev libtomlplusplus-dev nlohmann-json3-dev libcli11-dev
  # tests, benchmarks, lint, the .deb package
  libgtest-dev libbenchmark-dev clang-format-14 clang-tidy-14 dpkg-dev file
)
# Node.js builds the viewer's page; one that is not Debian's will do.
command -v npm >/dev/null || packages+=(npm)
fuzz_packages=(clang-14 libclang-rt-14-dev libomp-14-dev llvm-14)

for argument in "$@"; do
  case "$argument" in
    --fuzz) packages+=("${fuzz_packages[@]}") ;;
    --browser) packages+=(chromium) ;;
    *)
      echo "setup.sh: unknown argument '$argument'; usage: scripts/setup.sh [--fuzz] [--browser]" >&2
      exit 2
      ;;
  esac
done

if ! command -v dpkg-query apt-get >/dev/null; then
  echo "setup.sh: this script knows Debian's packages only (apt-get is not here)." >&2
  echo "Install the libraries that docs/dependencies.md names by your system's own means, then build as README.md says." >&2
  exit 1
fi

# The CUDA toolkit is nobody's duty: it is only told what the build will find.
tell_of_gpu() {
  local gpu="no NVIDIA GPU seems to be here"
  if [ -e /dev/nvidiactl ] || [ -e /dev/dxg ]; then gpu="a GPU seems to be here"; fi
  if command -v nvcc >/dev/null; then
    echo "setup: nvcc is on the PATH, so the build will make the CUDA library, too; $gpu."
  elif [ -x /usr/local/cuda/bin/nvcc ]; then
    echo "setup: nvcc is in /usr/local/cuda/bin and not on the PATH; with it there, the build makes the CUDA library, too; $gpu."
  elif [ "$gpu" = "a GPU seems to be here" ]; then
    echo "setup: $gpu, and no nvcc: the build will be for the processor alone (docs/gpu.md says where the CUDA toolkit comes from)."
  fi
}

installed=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' | awk '$2 == "installed" { print $1 }')
missing=()
for package in "${packages[@]}"; do
  grep -qxF "$package" <<<"$installed" || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
  echo "setup: all ${#packages[@]} packages are installed."
  tell_of_gpu
  exit 0
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "setup.sh: these packages are missing and installing them needs root or sudo: ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi
echo "setup: installing ${#missing[@]} of ${#packages[@]} packages with apt-get: ${missing[*]}"
"${as_root[@]}" apt-get update -qq
if ! "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >/tmp/eg4d-setup.$$.log 2>&1; then
  tail -n 20 /tmp/eg4d-setup.$$.log >&2
  echo "setup.sh: apt-get could not install them. Tested on Debian 12 (bookworm); other releases may name packages" >&2
  echo "differently: docs/dependencies.md tells what each is for." >&2
  exit 1
fi
rm -f /tmp/eg4d-setup.$$.log
echo "setup: done."
tell_of_gpu
