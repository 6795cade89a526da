#!/usr/bin/env bash
# Two real vLLM engines under `mpswarden run` on a real GPU: installs them, compiles the stray client, runs the parts.
# From the repository root:
#   OUT=/tmp/out MPSWARDEN=PATH bash tests/gpu/vllm/run.sh calm|faults|starts[,...] --kit /tmp/vc [--deadline 570] [...]
#   OUT=/tmp/out bash tests/gpu/vllm/run.sh calm,faults,starts --engine-command          (over a simulated GPU)
set -euo pipefail
began=$SECONDS
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
export PATH="$PATH:/usr/local/cuda/bin:/usr/local/nvidia/bin" PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 TZ=UTC
unset CUDA_MPS_PIPE_DIRECTORY CUDA_MPS_LOG_DIRECTORY CUDA_VISIBLE_DEVICES

fail() { echo "vllm/run.sh: $*" >&2; exit 1; }
out="${OUT:-$(mktemp -d)}"
mkdir -p "$out"
watchdog="${MPSWARDEN:-target/release/mpswarden}"
[ -x "$watchdog" ] || fail "no $watchdog: cargo build --release, or say where it is by MPSWARDEN=..."

kit=/tmp/vc deadline=570 simulated=
arguments=("$@")
for ((i = 0; i < $#; i++)); do
    case "${arguments[i]}" in
    --kit) kit="${arguments[i + 1]:?--kit needs a folder}" ;;
    --deadline) deadline="${arguments[i + 1]:?--deadline needs seconds}" ;;
    --engine-command*) simulated=1 ;;
    esac
done

stray=()
if [ -z "$simulated" ]; then
    for program in nvcc nvidia-smi nvidia-cuda-mps-control python3; do
        command -v "$program" >/dev/null || fail "$program is not on PATH"
    done
    [ -f "$kit/serve.sh" ] || fail "no $kit/serve.sh: carry the kit there, or say where it is by --kit"
    [ -f /tmp/vllm.pythonpath ] || timeout 150 bash "$kit/install.sh" "$kit" || fail "vLLM does not install from $kit"
    build="$(mktemp -d)"
    trap 'rm -rf "$build"' EXIT
    timeout 120 nvcc -O2 -std=c++17 -arch="${CUDA_ARCH:-sm_90}" -o "$build/engine" tests/gpu/engine.cu ||
        fail "engine.cu does not compile"
    stray=(--stray "$build/engine")
fi
left=$((deadline - (SECONDS - began)))
status=0
timeout -k 15 $((left + 15)) python3 tests/gpu/vllm/plan.py "$@" --watchdog "$watchdog" --out "$out" "${stray[@]}" \
    --deadline "$left" || status=$?
exit "$status"
