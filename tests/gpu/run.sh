#!/usr/bin/env bash
# Compiles the engine, runs the plan over a real GPU (or, --simulated, over a simulated one), ends everything.
# From the repository root: OUT=/tmp/out bash tests/gpu/run.sh [--day|--faults] [--simulated] [--runs 10] [--deadline 540]
#                           OUT=/tmp/out bash tests/gpu/run.sh --overlap [--accuracy|--cost|--study] [...]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export PATH="$PATH:/usr/local/cuda/bin:/usr/local/nvidia/bin" PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 TZ=UTC
unset CUDA_MPS_PIPE_DIRECTORY CUDA_MPS_LOG_DIRECTORY CUDA_VISIBLE_DEVICES

out="${OUT:-$(mktemp -d)}"
mkdir -p "$out"
watchdog="${MPSWARDEN:-target/release/mpswarden}"
fail() { echo "run.sh: $*" >&2; exit 1; }
[ "${1:-}" = --overlap ] && { shift; OUT="$out" MPSWARDEN="$watchdog" exec bash tests/gpu/overlap/run.sh "$@"; }
[ -x "$watchdog" ] || fail "no $watchdog: cargo build --release, or say where it is by MPSWARDEN=..."

plan=tests/gpu/drive.py
case "${1:-}" in
--day) plan=tests/gpu/day.py; shift ;;
--faults) plan=tests/gpu/faults.py; shift ;;
--who) plan=tests/gpu/who.py; shift ;;
esac

case " $* " in
*" --simulated "*)
    [ -r "${MPSWARDEN_SIM_CONFIG:-}" ] || fail "MPSWARDEN_SIM_CONFIG must name a configuration over a simulated GPU"
    exec python3 "$plan" --watchdog "$watchdog" --out "$out" "$@"
    ;;
esac

for program in nvcc nvidia-smi nvidia-cuda-mps-control python3; do
    command -v "$program" >/dev/null || fail "$program is not on PATH"
done
build="$(mktemp -d)"
chmod 755 "$build"  # engines of another user must reach it
trap 'rm -rf "$build"' EXIT
timeout 120 nvcc -O2 -std=c++17 -arch="${CUDA_ARCH:-sm_90}" -o "$build/engine" tests/gpu/engine.cu ||
    fail "engine.cu does not compile"
status=0
timeout -k 10 560 python3 "$plan" --watchdog "$watchdog" --engine "$build/engine" --out "$out" "$@" || status=$?
exit "$status"
