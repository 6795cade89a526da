#!/usr/bin/env bash
# Overlap on a real GPU: whether the kernel probe harms an engine, how true it is, what it costs, what a study says.
# All of it, or the part named; what else is given goes to that one. Called by tests/gpu/run.sh --overlap, from the repository root.
set -euo pipefail

here=tests/gpu/overlap
fail() { echo "overlap: $*" >&2; exit 1; }
for program in nvcc nvidia-smi nvidia-cuda-mps-control python3; do
    command -v "$program" >/dev/null || fail "$program is not on PATH"
done
part="${1:-all}"
[ $# -gt 0 ] && shift
case "$part" in
all | --safety | --accuracy | --cost | --study | --live) ;;
*) fail "$part is not known: --safety, --accuracy, --cost, --study, --live, or none of them for all" ;;
esac

build="$(mktemp -d)"
trap 'rm -rf "$build"' EXIT
timeout 120 nvcc -O2 -std=c++17 -arch="${CUDA_ARCH:-sm_90}" -o "$build/kernels" "$here/kernels.cu" ||
    fail "kernels.cu does not compile"
timeout 120 nvcc -O2 -std=c++17 -arch="${CUDA_ARCH:-sm_90}" -o "$build/torture" "$here/torture.cu" ||
    fail "torture.cu does not compile"
probe=()
[ -z "${MPSWARDEN_PROBE:-}" ] || probe=(--probe "$MPSWARDEN_PROBE")

status=0
# Its name, the seconds it may take, its command. One that fails does not keep the others from running.
part() {
    [ "$part" = all ] || [ "$part" = "--$1" ] || return 0
    echo "=== $1"
    timeout -k 20 "$2" python3 "$here/$1.py" "${@:3}" --out "$OUT" || status=$?
}
# Each alone takes its time; all together stay under ten minutes.
short() { [ "$part" != all ] || echo "$@"; }
part safety 240 --torture "$build/torture" --deadline 200 $(short --deadline 110 --seconds 4) "${probe[@]}" "$@"
part accuracy 170 --kernels "$build/kernels" --deadline 130 "${probe[@]}" "$@"
part cost 500 --kernels "$build/kernels" --deadline 420 $(short --deadline 180 --rounds 4 --seconds 1.5) "${probe[@]}" "$@"
part study 480 --watchdog "$MPSWARDEN" --deadline 400 $(short --deadline 190 --seconds 2) "$@"
part live 260 --watchdog "$MPSWARDEN" --deadline 240 "$@"
timeout 20 python3 "$here/tables.py" "$OUT" >"$OUT/overlap.md" || status=$?
exit "$status"
