#!/usr/bin/env bash
# What dies together where MPS serves two GPUs: OUT=/tmp/out bash tests/gpu/two_gpus/run.sh [--runs 10] [--deadline 520]
# It needs two NVIDIA GPUs that nothing else uses, root, nvcc, nvidia-smi, the MPS binaries, Python 3.11. It changes no
# setting of a GPU.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
export PATH="$PATH:/usr/local/cuda/bin:/usr/local/nvidia/bin" PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 TZ=UTC
unset CUDA_MPS_PIPE_DIRECTORY CUDA_MPS_LOG_DIRECTORY CUDA_VISIBLE_DEVICES
out="${OUT:-$(mktemp -d)}"
mkdir -p "$out"
fail() { echo "run.sh: $*" >&2; exit 1; }
for program in nvcc nvidia-smi nvidia-cuda-mps-control python3; do
    command -v "$program" >/dev/null || fail "$program is not on PATH"
done
[ "$(nvidia-smi --query-gpu=uuid --format=csv,noheader | wc -l)" -ge 2 ] || fail "this needs two GPUs"
build="$(mktemp -d)"
trap 'rm -rf "$build"' EXIT
timeout 120 nvcc -O2 -std=c++17 -arch="${CUDA_ARCH:-sm_90}" -o "$build/client" client.cu || fail "client.cu does not compile"
status=0
timeout -k 10 590 python3 record.py --client "$build/client" --out "$out" "$@" || status=$?
exit "$status"
