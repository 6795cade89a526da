//! What a command line tells of the engine that it starts: its kind, and whether it fixes its memory. Pure.

use std::iter;

use crate::model::EngineKind;

/// What vLLM's cache gets, whatever is free.
const VLLM_MEMORY: [&str; 2] = ["--kv-cache-memory-bytes", "--kv-cache-memory"];
/// What llama.cpp keeps on the GPU, and for how many tokens.
const LLAMA_LAYERS: [&str; 3] = ["-ngl", "--gpu-layers", "--n-gpu-layers"];
const LLAMA_CONTEXT: [&str; 2] = ["-c", "--ctx-size"];
/// What SGLang's cache gets at most.
const SGLANG_MEMORY: [&str; 1] = ["--max-total-tokens"];

/// Which engine a command starts, by its first word that tells: through `env`, `uv run`, a shell's script, a
/// container's image.
pub fn guess_kind(command: &[String]) -> EngineKind {
    let words: Vec<&str> = words(command).collect();
    let next = words.iter().skip(1).map(|word| Some(*word)).chain(iter::once(None));
    words.iter().zip(next).find_map(|(word, next)| kind_of(word, next)).unwrap_or_default()
}

/// Whether what the engine holds on the GPU follows from its command alone. One that measures free memory when it
/// starts must not start beside another.
pub(super) fn fixes_its_memory(kind: EngineKind, command: &[String]) -> bool {
    match kind {
        EngineKind::Vllm => has_flag(command, &VLLM_MEMORY),
        EngineKind::Sglang => has_flag(command, &SGLANG_MEMORY),
        // What is left out of these two newer versions fit to the memory that is free.
        EngineKind::LlamaCpp => has_flag(command, &LLAMA_LAYERS) && has_flag(command, &LLAMA_CONTEXT),
        EngineKind::Transformers | EngineKind::Other => false,
    }
}

fn has_flag(command: &[String], flags: &[&str]) -> bool {
    let named = |word: &str| word.split('=').next().unwrap_or_default().replace('_', "-");
    words(command).any(|word| word.starts_with('-') && flags.contains(&named(word).as_str()))
}

/// The words of a command, those of a script in one of its arguments too.
pub(super) fn words(command: &[String]) -> impl Iterator<Item = &str> {
    let apart = |c: char| c.is_whitespace() || ";&|()'\"`".contains(c);
    command.iter().flat_map(move |argument| argument.split(apart)).filter(|word| !word.is_empty())
}

fn kind_of(word: &str, next: Option<&str>) -> Option<EngineKind> {
    by_program(name_of(word), next == Some("serve")).or_else(|| by_module(word)).or_else(|| by_image(name_of(word)))
}

/// The last part of a path.
fn name_of(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}

fn by_program(name: &str, serves: bool) -> Option<EngineKind> {
    match name {
        "vllm" if serves => Some(EngineKind::Vllm),
        "sglang" if serves => Some(EngineKind::Sglang),
        "transformers" if serves => Some(EngineKind::Transformers),
        "llama-server" => Some(EngineKind::LlamaCpp),
        _ => None,
    }
}

/// `python -m MODULE`, or the module's file.
fn by_module(word: &str) -> Option<EngineKind> {
    let modules = [
        ("vllm.entrypoints.", EngineKind::Vllm),
        ("sglang.launch_server", EngineKind::Sglang),
        ("sglang.srt.", EngineKind::Sglang),
        ("llama_cpp.server", EngineKind::LlamaCpp),
    ];
    let dotted = word.replace('/', ".");
    let is = |module: &str| dotted.starts_with(module) || dotted.contains(&format!(".{module}"));
    modules.into_iter().find(|(module, _)| is(module)).map(|(_, kind)| kind)
}

/// An image whose entry point is the engine: `vllm/vllm-openai:v0.10`, `ghcr.io/ggml-org/llama.cpp:server-cuda`.
fn by_image(name: &str) -> Option<EngineKind> {
    match name.split_once([':', '@']).unwrap_or((name, "")) {
        ("vllm-openai", _) => Some(EngineKind::Vllm),
        ("llama.cpp", tag) if tag.starts_with("server") => Some(EngineKind::LlamaCpp),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    fn in_a_shell(script: &str) -> Vec<String> {
        ["bash", "-c", script].map(str::to_owned).to_vec()
    }

    #[test]
    fn an_engine_is_known_by_its_command() {
        for (line, kind) in [
            ("vllm serve Qwen/Qwen2.5-0.5B-Instruct --port 8001", EngineKind::Vllm),
            ("/opt/venv/bin/vllm serve m", EngineKind::Vllm),
            ("python3 -m vllm.entrypoints.openai.api_server --model m", EngineKind::Vllm),
            ("python -m vllm serve m", EngineKind::Vllm),
            ("python /srv/vllm/entrypoints/openai/api_server.py", EngineKind::Vllm),
            ("python -m sglang.launch_server --model-path m", EngineKind::Sglang),
            ("sglang serve --model-path m", EngineKind::Sglang),
            ("llama-server -m m.gguf", EngineKind::LlamaCpp),
            ("/usr/local/bin/llama-server -hf m", EngineKind::LlamaCpp),
            ("python3 -m llama_cpp.server --model m.gguf", EngineKind::LlamaCpp),
            ("transformers serve", EngineKind::Transformers),
            ("python engine.py 8001", EngineKind::Other),
            ("vllm bench serve", EngineKind::Other),
            ("vllm", EngineKind::Other),
            ("my-proxy --model vllm", EngineKind::Other),
        ] {
            assert_eq!(guess_kind(&command(line)), kind, "{line}");
        }
        assert_eq!(guess_kind(&[]), EngineKind::Other);
    }

    #[test]
    fn an_engine_is_known_behind_what_starts_it() {
        for line in [
            "env CUDA_LAUNCH_BLOCKING=1 vllm serve m",
            "uv run --with vllm vllm serve m",
            "uvx vllm serve m",
            "docker run --rm --gpus all vllm/vllm-openai:v0.10.0 --model m",
            "podman run docker.io/vllm/vllm-openai@sha256:00aa --model m",
            "nsys profile -o /tmp/out vllm serve m",
        ] {
            assert_eq!(guess_kind(&command(line)), EngineKind::Vllm, "{line}");
        }
        for script in [
            "exec vllm serve m",
            "source /opt/venv/bin/activate && vllm serve m",
            "cd /srv; \"$VENV/bin/vllm\" serve m",
            "(vllm serve m 2>&1 | tee /tmp/log)",
        ] {
            assert_eq!(guess_kind(&in_a_shell(script)), EngineKind::Vllm, "{script}");
        }
        let image = "docker run -p 8080:8080 ghcr.io/ggml-org/llama.cpp:server-cuda -m m.gguf";
        assert_eq!(guess_kind(&command(image)), EngineKind::LlamaCpp);
    }

    #[test]
    fn the_first_word_that_tells_decides() {
        let model = "vllm serve org/llama-server";
        assert_eq!(guess_kind(&command(model)), EngineKind::Vllm);
        let image = "docker run lmsysorg/sglang:latest python3 -m sglang.launch_server --model-path vllm/m";
        assert_eq!(guess_kind(&command(image)), EngineKind::Sglang);
    }

    #[test]
    fn memory_is_fixed_by_an_absolute_flag_in_any_spelling() {
        let fixed = |line: &str| fixes_its_memory(guess_kind(&command(line)), &command(line));
        for line in [
            "vllm serve m --kv-cache-memory-bytes 4G",
            "vllm serve m --kv-cache-memory-bytes=4G",
            "vllm serve m --kv_cache_memory_bytes=4G",
            "vllm serve m --kv-cache-memory 4294967296",
            "sglang serve --max-total-tokens 65536",
            "python -m sglang.launch_server --max_total_tokens=65536",
            "llama-server -m m.gguf -ngl 99 -c 8192",
        ] {
            assert!(fixed(line), "{line}");
        }
        for line in [
            "vllm serve m --gpu-memory-utilization 0.4",
            "vllm serve m --max-total-tokens 65536",
            "vllm serve kv-cache-memory-bytes",
            "vllm serve m --kv-cache-dtype fp8",
            "sglang serve --mem-fraction-static 0.4",
            "sglang serve --kv-cache-memory-bytes 4G",
            "llama-server -m m.gguf -c 8192",
            "vllm serve m --num-gpu-blocks-override 512",
            "transformers serve",
            "python engine.py --kv-cache-memory-bytes 4G",
        ] {
            assert!(!fixed(line), "{line}");
        }
        let script = in_a_shell("exec vllm serve m --kv-cache-memory-bytes=4G");
        assert!(fixes_its_memory(EngineKind::Vllm, &script));
    }
}
