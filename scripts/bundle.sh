#!/usr/bin/env bash
# Packs the built program, tests, benchmarks, the CUDA library where it was built, and the shared libraries they need into
# one archive that runs on another x86-64 Linux (glibc as old as here or newer) with nothing installed. Without videos:
# FFmpeg would bring a hundred libraries. scripts/check_bundle.sh tries it in a bare root.
#   scripts/bundle.sh [-o FILE]     build/eg4d-bundle.tar.xz
#     --without-tests               neither tests, their data nor the example dataset
#     --without-benches
#     --without-cuda
#     --with-models                 also the mini models and what evaluate_mini measures them on (28 MB that cannot be packed smaller)
#     --build FOLDER                build/release
#     --sizes                       says how large each part is when packed (takes as long again)
#     --limit MIB                   fails when the archive is larger; 40 MiB, 0 for none
# There: tar xf eg4d-bundle.tar.xz && eg4d-bundle/run-tests.sh
set -euo pipefail
cd "$(dirname "$0")/.."

output=build/eg4d-bundle.tar.xz build=build/release limit=40
tests=1 benches=1 cuda=1 models=0 sizes=0
while [ $# -gt 0 ]; do
  case "$1" in
    -o) output=$2 && shift ;;
    --build) build=$2 && shift ;;
    --limit) limit=$2 && shift ;;
    --without-tests) tests=0 ;;
    --without-benches) benches=0 ;;
    --without-cuda) cuda=0 ;;
    --with-models) models=1 ;;
    --sizes) sizes=1 ;;
    *)
      echo "bundle.sh: unknown argument '$1'; see the head of scripts/bundle.sh" >&2
      exit 2
      ;;
  esac
  shift
done
[ -x "$build/eg4d" ] || { echo "bundle.sh: there is no program at $build/eg4d; build it, or name its folder with --build" >&2; exit 1; }

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
root=$scratch/eg4d-bundle
mkdir -p "$root"/{bin,lib,licences,scripts}

add_program() { # the part that it counts to is its folder
  [ -x "$1" ] || { echo "bundle.sh: '$1' was not built; build everything, or leave it out (--without-tests, --without-benches)" >&2; exit 1; }
  install -m 755 "$1" "$root/bin/"
}
add_program "$build/eg4d"
cp LICENSE "$root/"
cp scripts/measure_cores.sh "$root/scripts/" 2>/dev/null || true
mkdir "$root/examples" && cp -r examples/robot-192 examples/creature.png "$root/examples/"
if [ $tests = 1 ]; then
  add_program "$build/tests/eg4d_tests"
  add_program "$build/tests/eg4d_golden_tests"
  if [ $cuda = 1 ] && [ -x "$build/tests/eg4d_cuda_tests" ]; then
    add_program "$build/tests/eg4d_cuda_tests"
    cp scripts/gpu.sh "$root/scripts/"
  fi
  cp scripts/bundle/run-tests.sh "$root/"
  mkdir "$root/tests" "$root/docs" "$root/lib/stubs"
  cp -r "$build"/tests/stubs/. "$root/lib/stubs/"
  cp -r tests/data "$root/tests/data"
  find "$root/tests/data" \( -name '*.py' -o -name '__pycache__' \) -exec rm -rf {} +
  cp docs/options.md "$root/docs/"
fi
if [ $benches = 1 ]; then
  for program in "$build"/bench/bench_*; do
    if [[ $cuda = 0 && $program == */bench_cuda_* ]]; then continue; fi  # these link the CUDA library
    if [ -x "$program" ]; then add_program "$program"; fi
  done
  for program in render_dataset write_random_models evaluate_mini; do add_program "$build/bench/$program"; done
  cp scripts/whole_runs.sh "$root/scripts/"
fi
if [ $models = 1 ]; then
  mkdir -p "$root/share/eg4d/models"
  cp -r models/mini "$root/share/eg4d/models/mini"
  cp -r examples/heldout "$root/examples/"
fi
if [ $cuda = 1 ] && [ -e "$build/libeg4d_cuda.so" ]; then
  mkdir "$root/lib/eg4d"
  install -m 644 "$build/libeg4d_cuda.so" "$root/lib/eg4d/"
fi

# What they need, except the C library, which comes with the system's loader, the GPU's driver, and what stands in lib/eg4d.
of_the_system='^(ld-linux-x86-64|libc|libm|libmvec|libdl|libpthread|librt|libresolv|libutil|libanl|libcuda|libeg4d_cuda|linux-vdso)\.so'
needed() { ldd "$root"/bin/* "$root"/lib/eg4d/*.so 2>/dev/null | awk '$2 == "=>" { print $1, $3 == "not" ? "" : $3 }' | sort -u; }
while read -r name path; do
  if [[ $name =~ $of_the_system ]]; then continue; fi
  [ -n "$path" ] || { echo "bundle.sh: '$name' is needed and is not on this machine" >&2; exit 1; }
  install -m 644 "$(readlink -f "$path")" "$root/lib/$name"
  # The terms that it comes with.
  package=$(dpkg-query -S "$(readlink -f "$path")" 2>/dev/null | head -1 | cut -d: -f1) || true
  if [ -n "$package" ] && [ -e "/usr/share/doc/$package/copyright" ]; then
    install -m 644 "/usr/share/doc/$package/copyright" "$root/licences/$package"
  fi
done < <(needed)
strip --strip-unneeded "$root"/bin/* "$root"/lib/*.so*
if [ -d "$root/lib/eg4d" ]; then strip --strip-unneeded "$root"/lib/eg4d/*.so; fi

# The newest symbol version of the C library that anything here asks for.
newest_glibc=$(objdump -T "$root"/bin/* "$root"/lib/*.so* 2>/dev/null | grep -o 'GLIBC_2\.[0-9]*' | sort -Vu | tail -1)
{
  echo "eg4d $("$build/eg4d" --version | cut -d' ' -f2), commit $(git describe --always --dirty 2>/dev/null || echo unknown), for x86-64 Linux with glibc ${newest_glibc#GLIBC_} or newer"
  echo "Left out: videos (libeg4d_video.so and FFmpeg)$([ $models = 1 ] || echo ", the mini models")$([ -d "$root/lib/eg4d" ] || echo ", the CUDA library")."
  echo
  (cd "$root" && find . -type f ! -name MANIFEST.txt -printf '%10s  %P\n' | sort -k2)
} >"$scratch/manifest"
mv "$scratch/manifest" "$root/MANIFEST.txt"

pack() { tar -C "$scratch" --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -c "$@" | xz -9 -T1; }
mkdir -p "$(dirname "$output")"
pack eg4d-bundle >"$output.part"

cd "$scratch"
for part in eg4d-bundle/*; do
  packed=$([ $sizes = 0 ] || pack "$part" | wc -c)
  awk -v part="${part#eg4d-bundle/}" -v size="$(du -sb "$part" | cut -f1)" -v packed="$packed" \
    'BEGIN { printf "%-24s %10.2f MB %s\n", part, size / 1e6, packed == "" ? "" : sprintf("%10.2f MB packed", packed / 1e6) }'
done
cd - >/dev/null
mv "$output.part" "$output"
size=$(stat -c %s "$output")
awk -v size="$size" -v all="$(du -sb "$root" | cut -f1)" -v name="$output" \
  'BEGIN { printf "%-24s %10.2f MB %10.2f MB packed (%.2f MiB): %s\n", "together", all / 1e6, size / 1e6, size / 1048576, name }'
if [ "$limit" != 0 ] && [ "$size" -gt $((limit * 1048576)) ]; then
  echo "bundle.sh: the archive is larger than $limit MiB; leave a part out (--without-…), or allow it with --limit" >&2
  exit 1
fi
