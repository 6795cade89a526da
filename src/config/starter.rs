//! A configuration to begin with: one group for each GPU that was found, with what most people change as comments. Pure.

use crate::model::{EngineKind, GpuIdentity};

/// What stands before the groups.
const HEAD: &str = "\
# mpswarden's configuration, begun by `mpswarden init`. Put the commands of your engines in, then:
#   mpswarden check FILE      every default, and every problem at once
#   mpswarden run --config FILE
# `mpswarden reload` applies a change: only engines that changed are restarted, one by one.
# Every key: docs/configuration.md

# state_directory = \"/var/lib/mpswarden\"      # budgets and incidents, which outlive mpswarden

[web]
listen_addresses = [\"127.0.0.1:10677\"]      # metrics, the page and JSON; nothing over HTTP changes anything

# [hooks]                                   # program and arguments; one JSON object on stdin, 10 s at most
# on_held = [\"/usr/local/bin/page-me\"]      # a group waits for a person

# One group is one GPU, one MPS control daemon, one server, and the engines that share its fate.
";

/// What stands before engines that run.
const RUNNING: &str = "\
# Engines that run here now. mpswarden starts engines itself: end them, and put their tables into the groups below. What
# was secret in a command is hidden: an environment_file is the place for it.
";

/// What each group has, behind its name and its GPU.
const GROUP: &str = "\
mode = \"observe\"                            # only say what would be done; \"enforce\": do it

# [group.policy]                            # each fault: \"enforce\" or \"observe\", once `mode` is \"enforce\"
# hang = \"enforce\"

# [group.recovery]
# budget = 5                                # whole-group restarts within budget_window
# budget_window = \"1h\"
# when_spent = \"slow\"                       # go on at the longest back-off; \"hold\": wait for a person

# Engines start in this order and stop in the reverse one. Each has a port of its own.
";

/// An engine that runs on this machine, started by others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningEngine {
    /// Pid of the main process.
    pub pid: u32,
    /// What it is, by its command.
    pub kind: EngineKind,
    /// The words of its command, without secrets.
    pub command: Vec<String>,
    /// Its CUDA_VISIBLE_DEVICES, where that can be read.
    pub visible: Option<String>,
}

/// The configuration for these GPUs. Where there are none `why` says why, and a stand-in is written. Engines that run stand
/// in it as comments.
pub fn starter(gpus: &[GpuIdentity], why: Option<&str>, running: &[RunningEngine]) -> String {
    let there: Vec<&GpuIdentity> = gpus.iter().filter(|gpu| !gpu.absent).collect();
    let groups: Vec<String> = match there[..] {
        [] => vec![stand_in(why.unwrap_or("NVML shows none"))],
        _ => there.iter().enumerate().map(|(place, gpu)| group(place, gpu)).collect(),
    };
    let running: String = running.iter().map(found).collect();
    let running = if running.is_empty() { running } else { format!("{RUNNING}{running}\n") };
    format!("{HEAD}{running}{}", groups.join("\n"))
}

/// A table for an engine that runs, to be put into its group.
fn found(engine: &RunningEngine) -> String {
    let plain = |text: &str| crate::text::plain::one_line(text);
    let port = port(&engine.command).unwrap_or(usual_port(engine.kind));
    let words: Vec<String> = engine.command.iter().map(|word| toml::Value::from(plain(word)).to_string()).collect();
    let visible = engine
        .visible
        .as_deref()
        .map_or_else(String::new, |visible| format!(", CUDA_VISIBLE_DEVICES={}", plain(visible)));
    format!(
        "#\n# process {}{visible}\n# [[group.engine]]\n# name = \"{}-{port}\"\n# command = [{}]\n\
         # url = \"http://127.0.0.1:{port}\"\n",
        engine.pid,
        engine.kind,
        words.join(", ")
    )
}

/// The port that a command names.
fn port(command: &[String]) -> Option<u16> {
    let next = command.iter().skip(1).map(Some).chain(std::iter::once(None));
    command.iter().zip(next).find_map(|(word, next)| match word.split_once('=') {
        Some(("--port", port)) => port.parse().ok(),
        _ if word == "--port" => next?.parse().ok(),
        _ => None,
    })
}

/// The port that it has where its command names none.
fn usual_port(kind: EngineKind) -> u16 {
    match kind {
        EngineKind::Vllm | EngineKind::Transformers | EngineKind::Other => 8000,
        EngineKind::Sglang => 30_000,
        EngineKind::LlamaCpp => 8080,
    }
}

fn group(place: usize, gpu: &GpuIdentity) -> String {
    let memory = gpu.memory_total.map(|total| format!(", {} MiB", total >> 20)).unwrap_or_default();
    let index = gpu.index.map(|index| format!("GPU {index}: ")).unwrap_or_default();
    let which = format!("gpu = \"{}\"    # {index}{}{memory}", gpu.uuid, gpu.product());
    whole(place, &which, gpu.memory_total)
}

/// A group for a GPU that nobody could see.
fn stand_in(why: &str) -> String {
    let why: String = crate::text::plain::one_line(why);
    whole(0, &format!("# No GPU was found here: {why}\ngpu = 0    # or \"GPU-...\" of nvidia-smi -L"), None)
}

fn whole(place: usize, gpu: &str, memory: Option<u64>) -> String {
    let number = place + 1;
    let engine = |side: usize| {
        let port = 8001 + 2 * place + side;
        let letter = ["a", "b"][side];
        // Two engines share what vLLM may take, and the rest is the driver's.
        let limit = memory.map_or("40GiB".to_owned(), |total| format!("{}GiB", (total >> 30) * 45 / 100));
        format!(
            "[[group.engine]]\n\
             name = \"engine-{number}{letter}\"\n\
             command = [\"vllm\", \"serve\", \"MODEL\", \"--port\", \"{port}\", \"--gpu-memory-utilization\", \"0.4\"]\n\
             url = \"http://127.0.0.1:{port}\"             # /health and /metrics under it\n\
             # user = \"vllm\"                           # one for all engines of a group\n\
             # environment_file = \"/etc/mpswarden/engine-{number}{letter}.env\"   # secrets stay out of this file\n\
             # sm_percentage = 50                      # its share of the SMs, in percent\n\
             # device_memory_limit = \"{limit}\"\n"
        )
    };
    format!("[[group]]\nname = \"group-{number}\"\n{gpu}\n{GROUP}{}\n{}", engine(0), engine(1))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{GpuChoice, parse};
    use crate::model::GpuUuid;

    fn gpu(index: u32) -> GpuIdentity {
        GpuIdentity {
            name: Some("NVIDIA H200".to_owned()),
            memory_total: Some(140 << 30),
            absent: false,
            ..GpuIdentity::absent(GpuUuid::from(format!("GPU-{index}")), Some(index))
        }
    }

    #[test]
    fn each_gpu_has_a_group_and_the_file_is_right_as_it_is() {
        let gpus: Vec<GpuIdentity> = (0..8).map(gpu).collect();
        let text = starter(&gpus, None, &[]);
        let read = parse(&text, Path::new("x.toml")).unwrap();
        assert_eq!(read.groups.len(), 8);
        assert_eq!(read.groups[7].gpus, [GpuChoice::Uuid("GPU-7".into())]);
        assert!(read.warnings().is_empty(), "{:?}", read.warnings());
        assert!(text.contains("# GPU 7: NVIDIA H200, 143360 MiB") && text.contains("63GiB"), "{text}");
    }

    #[test]
    fn engines_that_run_are_comments_that_are_right_once_they_are_none() {
        let command = ["vllm", "serve", "a \"b\"", "--port=8007"].map(str::to_owned).to_vec();
        let engine = RunningEngine { pid: 7, kind: EngineKind::Vllm, command, visible: Some("0".to_owned()) };
        let text = starter(&[gpu(0)], None, &[engine]);
        parse(&text, Path::new("x.toml")).unwrap();
        let table = text.split("# [[group.engine]]\n").nth(1).unwrap();
        let table: Vec<&str> = table.lines().take(3).map(|line| line.trim_start_matches("# ")).collect();
        let read: toml::Table = table.join("\n").parse().unwrap();
        assert_eq!(read["name"].as_str(), Some("vllm-8007"));
        assert_eq!(read["command"].as_array().unwrap()[2].as_str(), Some("a \"b\""));
        assert_eq!(read["url"].as_str(), Some("http://127.0.0.1:8007"));
    }

    #[test]
    fn every_line_that_is_a_comment_is_right_once_it_is_none() {
        let text = starter(&[gpu(0)], None, &[]);
        let keys = |line: &&str| line.starts_with("# ") && (line.contains(" = ") || line.starts_with("# ["));
        let lines = text.lines().map(|line| if keys(&line) { line.trim_start_matches("# ") } else { line });
        let whole: Vec<&str> = lines.collect();
        parse(&whole.join("\n"), Path::new("x.toml")).unwrap();
    }

    #[test]
    fn without_a_gpu_it_says_why_and_is_a_file_to_fill_in() {
        let text = starter(&[], Some("no driver\u{1b}[2J"), &[]);
        assert!(text.contains("# No GPU was found here: no driver\u{fffd}[2J\ngpu = 0"), "{text}");
        assert_eq!(parse(&text, Path::new("x.toml")).unwrap().groups.len(), 1);
    }
}
