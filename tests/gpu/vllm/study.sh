#!/usr/bin/env bash
# `mpswarden study` over two real vLLM engines on a real GPU. From the repository root:
#   OUT=/tmp/out MPSWARDEN=PATH [MODEL=3b|7b] [KIT=/tmp/vc] bash tests/gpu/vllm/study.sh [options of study]
# The report, study.json and the engines' logs are in $OUT; its table is printed last.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
export PATH="$PATH:/usr/local/cuda/bin:/usr/local/nvidia/bin" TZ=UTC
unset CUDA_MPS_PIPE_DIRECTORY CUDA_MPS_LOG_DIRECTORY CUDA_VISIBLE_DEVICES

fail() { echo "vllm/study.sh: $*" >&2; exit 1; }
out="${OUT:?OUT=FOLDER is where the results go}"
mkdir -p "$out"
kit="${KIT:-/tmp/vc}"
watchdog="${MPSWARDEN:-target/release/mpswarden}"
[ -x "$watchdog" ] || fail "no $watchdog: cargo build --release, or say where it is by MPSWARDEN=..."
[ -f "$kit/serve.sh" ] || fail "no $kit/serve.sh: carry the kit there, or say where it is by KIT"
[ -f /tmp/vllm.pythonpath ] || timeout 150 bash "$kit/install.sh" "$kit" || fail "vLLM does not install from $kit"
[ -z "${MODEL:-}" ] || cp "$kit/models/$MODEL.json" /tmp/qwen05/config.json

nvml=$(compgen -G '/usr/local/nvidia/lib*/libnvidia-ml.so.1' || compgen -G '/usr/lib/*-linux-gnu/libnvidia-ml.so.1')
root="$(mktemp -d /tmp/study.XXXX)"
engine() {
    cat <<TOML
[[group.engine]]
name = "$1"
command = ["bash", "$kit/serve.sh", "$2", "0.4", "--kv-cache-memory-bytes", "${KV:-8G}", "--max-num-seqs", "256"]
url = "http://127.0.0.1:$2"
start_timeout = "4m"
stop_timeout = "10s"
TOML
}
{
    cat <<TOML
nvml_library = "$(head -n 1 <<<"$nvml")"
state_directory = "$root/state"

[[group]]
name = "llm"
gpu = 0
mode = "observe"

[group.mps]
pipe_directory = "$root/p"
log_directory = "$root/log"

TOML
    engine a 8001
    engine b 8002
} >"$root/mpswarden.toml"
status=0
timeout -k 20 "${DEADLINE:-540}" "$watchdog" study --config "$root/mpswarden.toml" --group llm --baselines none \
    --out "$out/study" "$@" >"$out/table.txt" 2>"$out/progress.txt" || status=$?
cp -r "$root/log" "$out/" 2>/dev/null || true
tail -n 25 "$out/progress.txt"
cat "$out/table.txt"
exit "$status"
