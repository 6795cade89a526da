#!/usr/bin/env bash
# What dies together where MPS serves two GPUs: OUT=/tmp/out bash tests/gpu/two_gpus/run.sh [--runs 10] [--deadline 520]
# The same with mpswarden over it: MPSWARDEN=PATH OUT=/tmp/out bash tests/gpu/two_gpus/run.sh --attached [--runs 10]
# It needs two NVIDIA GPUs that nothing else uses, root, nvcc, nvidia-smi, the MPS binaries, Python 3.11; with --attached
# --simulated none of these but Python. It changes no setting of a GPU.
set -euo pipefail
fail() { echo "run.sh: $*" >&2; exit 1; }
watchdog="${MPSWARDEN:+$(realpath "$MPSWARDEN")}"
plan=(record.py)
simulated=
for word in "$@"; do
    case "$word" in
    --attached) plan=(attached.py --watchdog "$watchdog") ;;
    --simulated) simulated=1 ;;
    esac
done
words=()
for word in "$@"; do [ "$word" = --attached ] || words+=("$word"); done
[ "${plan[0]}" = record.py ] || [ -x "$watchdog" ] || fail "MPSWARDEN names no program"
cd "$(dirname "${BASH_SOURCE[0]}")"
export PATH="$PATH:/usr/local/cuda/bin:/usr/local/nvidia/bin" PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 TZ=UTC
unset CUDA_MPS_PIPE_DIRECTORY CUDA_MPS_LOG_DIRECTORY CUDA_VISIBLE_DEVICES
out="$(realpath -m "${OUT:-$(mktemp -d)}")"
mkdir -p "$out"
build="$(mktemp -d)"
trap 'rm -rf "$build"' EXIT
if [ -z "$simulated" ]; then
    for program in nvcc nvidia-smi nvidia-cuda-mps-control python3; do
        command -v "$program" >/dev/null || fail "$program is not on PATH"
    done
    [ "$(nvidia-smi --query-gpu=uuid --format=csv,noheader | wc -l)" -ge 2 ] || fail "this needs two GPUs"
    timeout 120 nvcc -O2 -std=c++17 -arch="${CUDA_ARCH:-sm_90}" -o "$build/client" client.cu || fail "client.cu does not compile"
    words+=(--client "$build/client")
fi
status=0
timeout -k 10 590 python3 "${plan[@]}" --out "$out" "${words[@]}" || status=$?
exit "$status"
