//! The configuration from outside: every malformed file with its report, round trips, what the
//! documentation promises, and what the GPUs that are there allow.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mpswarden::cli::ExitStatus;
use mpswarden::config::{Configuration, GpuChoice, Problems, known_keys, load, parse, write_baselines};
use mpswarden::decide::policy::{IsolationMode, OverlapPolicy, RecoveryPolicy, StartOrder};
use mpswarden::model::gpu::ComputeMode;
use mpswarden::model::{
    BaselineSource, Custody, EngineKind, EngineLaunch, Fault, GpuIdentity, GpuNamedBy, GpuUuid, MetricsPlace, Mode,
    Powers, RestartBy,
};
use proptest::prelude::*;

const FIXTURES: &str = "tests/fixtures/configurations";

const SMALLEST: &str = r#"
[[group]]
name = "g"
gpu = 0
mode = "observe"

[[group.engine]]
name = "a"
command = ["engine"]
url = "http://127.0.0.1:8001"
"#;

fn read(text: &str) -> Result<Configuration, Problems> {
    parse(text, Path::new("test.toml"))
}

fn files(directory: &str, ending: &str) -> Vec<PathBuf> {
    let paths = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths.filter(|path| path.extension().is_some_and(|found| found == ending)).collect();
    paths.sort();
    paths
}

/// README.md and everything in docs/.
fn documents() -> Vec<(PathBuf, String)> {
    let mut paths = files("docs", "md");
    paths.push("README.md".into());
    paths.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

fn toml_blocks(text: &str) -> Vec<&str> {
    text.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

/// A whole configuration: the README's.
fn whole() -> String {
    let readme = fs::read_to_string("README.md").unwrap();
    toml_blocks(&readme)[0].to_owned()
}

fn gpu(index: u32, compute_mode: ComputeMode) -> GpuIdentity {
    GpuIdentity {
        uuid: GpuUuid::from(format!("GPU-{index}")),
        index: Some(index),
        pci_bus_id: Some(format!("00000000:0{index}:00.0")),
        name: Some("NVIDIA H200".to_owned()),
        memory_total: Some(139 << 30),
        compute_mode,
        driver_version: Some("580.159.04".to_owned()),
        absent: false,
    }
}

/// `UPDATE=1` rewrites the reports.
#[test]
fn every_malformed_file_gets_its_whole_report() {
    for path in files(FIXTURES, "toml") {
        let problems = load(&path).expect_err(&format!("{} must be refused", path.display()));
        assert_eq!(ExitStatus::of(&problems), ExitStatus::Configuration);
        let report = format!("{problems}\n");
        let beside = path.with_extension("report");
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&beside, &report).unwrap();
        }
        let expected = fs::read_to_string(&beside).unwrap_or_default();
        assert_eq!(report, expected, "{}: look at the difference, then UPDATE=1", path.display());
    }
}

#[test]
fn the_smallest_file_has_the_promised_defaults() {
    let configuration = read(SMALLEST).unwrap();
    assert_eq!(configuration.nvml_library, "libnvidia-ml.so.1");
    assert_eq!(configuration.kernel_log, Path::new("/dev/kmsg"));
    assert_eq!(configuration.state_directory, Path::new("/var/lib/mpswarden"));
    assert_eq!(configuration.web.listen_addresses, ["127.0.0.1:10677".parse().unwrap()]);
    let group = &configuration.groups[0];
    assert_eq!((group.gpus.clone(), group.mode), (vec![GpuChoice::Index(0)], Mode::Observe));
    assert_eq!(group.recovery, RecoveryPolicy::default());
    assert_eq!(group.mps.pipe_directory, Path::new("/run/mpswarden/g"));
    assert_eq!(group.mps.log_directory, Path::new("/var/log/mpswarden/g"));
    let engine = &group.engines[0];
    assert_eq!((engine.health_path.as_str(), engine.metrics_path.as_str()), ("/health", "/metrics"));
    assert_eq!((engine.start_timeout, engine.stop_timeout), (Duration::from_secs(600), Duration::from_secs(30)));
    assert_eq!((engine.sm_percentage, engine.device_memory_limit, engine.memory_max), (None, None, None));
    assert_eq!((engine.kind, engine.health_timeout), (EngineKind::Other, Duration::from_secs(10)));
    assert_eq!((engine.metrics_url.as_ref(), engine.probe_request), (None, false));
}

/// The smallest file with more lines in its engine, and another command.
fn engine_with(command: &str, lines: &str) -> String {
    format!("{}{lines}\n", SMALLEST.replace("[\"engine\"]", command))
}

fn launched(text: &str) -> EngineLaunch {
    let (_, launches) = read(text).unwrap().resolve(&[gpu(3, ComputeMode::Default)], 1).unwrap();
    launches[0].engines[0].clone()
}

/// The smallest file with an engine of others.
fn of_others(lines: &str) -> String {
    SMALLEST.replace("command = [\"engine\"]", lines)
}

#[test]
fn an_engine_of_others_is_found_and_restarted_as_the_file_says() {
    let commands = "restart_by = { stop = [\"svc\", \"stop\"], start = [\"svc\", \"start\"] }";
    let stop_and_start = RestartBy::Commands {
        stop: vec!["svc".to_owned(), "stop".to_owned()],
        start: vec!["svc".to_owned(), "start".to_owned()],
    };
    for (lines, at, restart_by) in [
        ("external = { systemd_unit = \"vllm@a.service\" }", "unit vllm@a.service", RestartBy::Nobody),
        (
            "external = { container = \"vllm-a\" }\nrestart_by = \"supervisor\"",
            "container vllm-a",
            RestartBy::Supervisor,
        ),
        (
            "user = \"root\"\nexternal = { cgroup = \"/a/b\" }\nrestart_by = \"nobody\"",
            "cgroup /a/b",
            RestartBy::Nobody,
        ),
        (
            &format!("user = \"root\"\nexternal = {{ pid_file = \"/run/a.pid\" }}\n{commands}"),
            "pid file /run/a.pid",
            stop_and_start,
        ),
        (
            "user = \"llm\"\nexternal = { command_matches = \"vllm .* 8001\" }\nrestart_by = \"signal\"",
            "command that matches `vllm .* 8001`",
            RestartBy::Signal,
        ),
    ] {
        let text = of_others(lines);
        let configuration = read(&text).unwrap();
        assert_eq!(configuration.groups[0].isolation.mode, IsolationMode::Off, "{lines}");
        let (policy, launches) = configuration.resolve(&[gpu(0, ComputeMode::Default)], 1).unwrap();
        let external = launches[0].engines[0].external.clone().unwrap();
        assert_eq!((external.at.to_string().as_str(), &external.restart_by), (at, &restart_by));
        assert_eq!(policy.groups[0].engines[0].custody, restart_by.custody(), "{lines}");
        let again = read(&configuration.effective()).unwrap();
        assert_eq!(again.groups, configuration.groups, "{}", configuration.effective());
    }
}

#[test]
fn the_daemon_of_others_is_restarted_as_the_file_says() {
    let custody = |mps: &str| {
        let text = SMALLEST.replacen(
            "mode = \"observe\"",
            &format!("mode = \"observe\"\nmps = {{ control = \"attach\"{mps} }}"),
            1,
        );
        let (policy, launches) = read(&text).unwrap().resolve(&[gpu(0, ComputeMode::Default)], 1).unwrap();
        assert_eq!(policy.groups[0].custody, launches[0].control.custody);
        policy.groups[0].custody
    };
    assert_eq!(custody(""), Custody::Others(Powers::Look));
    assert_eq!(custody(", restart_by = \"supervisor\""), Custody::Others(Powers::Supervisor));
    assert_eq!(custody(", restart_by = { stop = [\"a\"], start = [\"b\"] }"), Custody::Others(Powers::Supervisor));
}

const VLLM: &str = r#"["vllm", "serve", "m"]"#;

fn of(command: &str, lines: &str) -> EngineLaunch {
    launched(&engine_with(command, lines).replace("gpu = 0", "gpu = 3"))
}

#[test]
fn an_engine_has_the_kind_that_is_named_or_that_its_command_tells() {
    let other = r#"["engine"]"#;
    assert_eq!(of(VLLM, "").kind, EngineKind::Vllm);
    assert_eq!(of(VLLM, "kind = \"other\"").kind, EngineKind::Other);
    for kind in EngineKind::ALL {
        assert_eq!(of(other, &format!("kind = \"{kind}\"")).kind, *kind);
    }
    let policy = read(&engine_with(VLLM, "probe_request = true\nhealth_timeout = \"3s\"")).unwrap();
    let policy = policy.resolve(&[gpu(0, ComputeMode::Default)], 1).unwrap().0;
    let engine = &policy.groups[0].engines[0];
    let expected = (EngineKind::Vllm, Duration::from_secs(3), true);
    assert_eq!((engine.kind, engine.health_timeout, engine.probe_request), expected);
}

#[test]
fn an_engines_gpu_is_named_as_it_is_asked_for_or_as_its_kind_needs() {
    let (other, index) = (r#"["engine"]"#, GpuNamedBy::Index(vec![3]));
    assert_eq!(of(VLLM, "").gpu_named_by, index);
    assert_eq!(of(VLLM, "gpu_named_by = \"uuid\"").gpu_named_by, GpuNamedBy::Uuid);
    assert_eq!(of(other, "").gpu_named_by, GpuNamedBy::Uuid);
    assert_eq!(of(other, "gpu_named_by = \"index\"").gpu_named_by, index);
    let zero = of(other, "environment = { CUDA_VISIBLE_DEVICES = \"0\", A = \"1\" }");
    assert_eq!((zero.gpu_named_by, zero.environment.len()), (index, 1));
    let refused = read(&engine_with(other, "environment = { CUDA_VISIBLE_DEVICES = \"1\" }")).unwrap_err();
    assert!(refused.to_string().contains("gpu_named_by"), "{refused}");
    let both = "gpu_named_by = \"uuid\"\nenvironment = { CUDA_VISIBLE_DEVICES = \"0\" }";
    assert!(read(&engine_with(other, both)).unwrap_err().to_string().contains("exclude each other"));
}

#[test]
fn metrics_are_under_the_url_or_elsewhere_or_nowhere() {
    let metrics = |lines: &str| of(VLLM, lines).metrics;
    let elsewhere = |url: &str, path: &str| MetricsPlace::Elsewhere(url.to_owned(), path.to_owned());
    assert_eq!(metrics(""), MetricsPlace::Under("/metrics".to_owned()));
    assert_eq!(metrics("metrics_path = \"/m\""), MetricsPlace::Under("/m".to_owned()));
    assert_eq!(metrics("metrics_url = \"none\""), MetricsPlace::Nowhere);
    for (written, url, path) in [
        ("http://127.0.0.1:8002/metrics?a=1", "http://127.0.0.1:8002", "/metrics?a=1"),
        ("http://127.0.0.1:8002", "http://127.0.0.1:8002", "/metrics"),
        ("https://[::1]:8002/", "https://[::1]:8002", "/metrics"),
        ("unix:/run/e.sock", "unix:/run/e.sock", "/metrics"),
    ] {
        assert_eq!(metrics(&format!("metrics_url = {written:?}")), elsewhere(url, path), "{written}");
    }
    for wrong in ["", "None", "/metrics", "127.0.0.1:8002", "http://127.0.0.1/metrics", "http://h:1/a b", "unix:e.sock"]
    {
        assert!(read(&engine_with(VLLM, &format!("metrics_url = {wrong:?}"))).is_err(), "{wrong}");
    }
}

#[test]
fn an_engine_answers_at_a_host_or_at_a_socket() {
    let url = |url: &str| {
        read(&SMALLEST.replace("http://127.0.0.1:8001", url)).map(|read| read.groups[0].engines[0].url.clone())
    };
    assert_eq!(url("https://127.0.0.1:8001/").unwrap(), "https://127.0.0.1:8001");
    assert_eq!(url("unix:/run/e.sock").unwrap(), "unix:/run/e.sock");
    assert_eq!(url("unix:///run/e.sock").unwrap(), "unix:/run/e.sock");
    let long = format!("unix:/{}", "a".repeat(107));
    for wrong in ["ftp://127.0.0.1:8001", "https://127.0.0.1", "unix:", "unix:e.sock", "unix:/run/../e", &long] {
        assert!(url(wrong).is_err(), "{wrong}");
    }
}

/// How engines with these commands start, with these lines in `[group.recovery]`.
fn start(lines: &str, commands: &[&str]) -> Result<StartOrder, Problems> {
    let mut text = format!("[[group]]\nname = \"g\"\ngpu = 0\nmode = \"observe\"\n[group.recovery]\n{lines}\n");
    for (place, command) in commands.iter().enumerate() {
        let port = 8001 + place;
        let url = format!("http://127.0.0.1:{port}");
        text += &format!("[[group.engine]]\nname = \"e{place}\"\ncommand = {command}\nurl = {url:?}\n");
    }
    read(&text).map(|read| read.groups[0].recovery.start)
}

#[test]
fn engines_start_at_once_where_every_one_fixes_its_memory() {
    let fixed = r#"["vllm", "serve", "m", "--kv-cache-memory-bytes=4G"]"#;
    let llama = r#"["llama-server", "-m", "m.gguf", "-ngl", "99", "-c", "8192"]"#;
    assert_eq!(start("", &[fixed, llama]), Ok(StartOrder::Parallel));
    assert_eq!(start("", &[fixed, VLLM]), Ok(StartOrder::Sequential));
    assert_eq!(start("", &[r#"["engine"]"#]), Ok(StartOrder::Sequential));
    assert_eq!(start("start = \"sequential\"", &[fixed, fixed]), Ok(StartOrder::Sequential));
    assert_eq!(start("start = \"staggered\"", &[VLLM]), Ok(StartOrder::Staggered));
    assert_eq!(start("start_order = \"parallel\"", &[VLLM]), Ok(StartOrder::Parallel));
    let both = start("start = \"parallel\"\nstart_order = \"parallel\"", &[VLLM]).unwrap_err();
    assert!(both.to_string().contains("one key"), "{both}");
}

#[test]
fn how_an_engine_is_watched_is_no_part_of_its_launch_number() {
    let number = |lines: &str| {
        let policy = read(&engine_with(VLLM, lines)).unwrap().resolve(&[gpu(0, ComputeMode::Default)], 1).unwrap().0;
        policy.groups[0].engines[0].launch
    };
    for watched in ["kind = \"other\"", "health_timeout = \"3s\"", "metrics_url = \"none\"", "health_path = \"/ping\""]
    {
        assert_eq!(number(""), number(watched), "{watched}");
    }
    for launched in ["sm_percentage = 50", "environment = { A = \"1\" }", "memory_max = \"4GiB\""] {
        assert_ne!(number(""), number(launched), "{launched}");
    }
}

/// Sharing, with all that can be said of it.
const SHARING: &str = r#"
[[group]]
name = "g"
gpu = 0
mode = "observe"

[group.overlap]
window = "20ms"
period = "1s"
baselines = "/somewhere/g.json"
low_gain = 1.1
most_slowdown = 3
advice_after = "30m"

[[group.engine]]
name = "a"
command = ["engine"]
url = "http://127.0.0.1:8001"
overlap = "probe"

[[group.engine.baseline]]
running = 8
prompt_tokens = 512.0
generation_tokens = 1
tokens_per_second = 2600.5

[[group.engine]]
name = "b"
command = ["engine"]
url = "http://127.0.0.1:8002"
"#;

#[test]
fn what_is_said_of_sharing_is_in_the_policy() {
    let configuration = read(SHARING).unwrap();
    let (policy, launches) = configuration.resolve(&[gpu(0, ComputeMode::Default)], 1).unwrap();
    let (group, overlap) = (&policy.groups[0], &policy.groups[0].overlap);
    assert_eq!((overlap.window, overlap.period), (Duration::from_millis(20), Duration::from_secs(1)));
    assert_eq!((overlap.low_gain, overlap.most_slowdown), (1.1, Some(3.0)));
    let baseline = &overlap.baselines[0];
    assert_eq!((baseline.engine.as_str(), baseline.source, baseline.samples), ("a", BaselineSource::Configured, 0));
    assert_eq!((baseline.running, baseline.tokens_per_second), (8.0, 2600.5));
    assert_eq!((group.engines[0].probe, group.engines[1].probe), (true, false));
    assert_eq!((launches[0].engines[0].probe, launches[0].engines[1].probe), (true, false));
    let default = read(SMALLEST).unwrap();
    assert_eq!(default.groups[0].overlap, OverlapPolicy::default());
    assert_eq!(default.groups[0].baselines, Path::new("/var/lib/mpswarden/baselines/g.json"));
}

#[test]
fn an_engine_that_is_started_in_another_way_has_another_launch() {
    let launch = |text: &str| {
        let policy = read(text).unwrap().resolve(&[gpu(0, ComputeMode::Default)], 1).unwrap().0;
        policy.groups[0].engines[0].launch
    };
    assert_eq!(launch(SHARING), launch(&SHARING.replace("period = \"1s\"", "period = \"2s\"")));
    assert_ne!(launch(SHARING), launch(&SHARING.replacen("[\"engine\"]", "[\"engine\", \"more\"]", 1)));
}

#[test]
fn what_a_study_measured_is_loaded_beside_what_the_file_says() {
    let directory = tempfile::tempdir().unwrap();
    let (file, study) = (directory.path().join("c.toml"), directory.path().join("g.json"));
    fs::write(&file, SHARING.replace("/somewhere/g.json", study.to_str().unwrap())).unwrap();
    assert!(load(&file).is_err(), "it is named and missing");
    let given = read(SHARING).unwrap().groups[0].overlap.baselines.clone();
    write_baselines(&study, &given).unwrap();
    let loaded = load(&file).unwrap();
    let sources: Vec<_> = loaded.groups[0].overlap.baselines.iter().map(|baseline| baseline.source).collect();
    assert_eq!(sources, [BaselineSource::Configured, BaselineSource::Study]);
    assert!(loaded.effective().contains("# 1 were read from it"));
    fs::write(&study, "{").unwrap();
    let problem = load(&file).unwrap_err().to_string();
    assert!(problem.contains("g.json holds no baselines") && problem.contains("mpswarden study"), "{problem}");
}

#[test]
fn the_effective_configuration_reads_back_as_the_same() {
    let asked = "metrics_url = \"http://127.0.0.1:9/m\"\nprobe_request = true\nhealth_timeout = \"3s\"\n\
                 environment = { CUDA_VISIBLE_DEVICES = \"0\" }";
    let other = "kind = \"llama.cpp\"\nmetrics_url = \"none\"";
    let [asked, other] = [asked, other].map(|lines| engine_with("[\"engine\"]", lines));
    for text in [SMALLEST, SHARING, &whole(), &asked, &other] {
        let first = read(text).unwrap();
        let again = read(&first.effective()).unwrap();
        assert_eq!(first.groups, again.groups);
        assert_eq!(first.effective(), again.effective());
    }
}

#[test]
fn every_toml_block_in_the_documents_is_a_right_configuration() {
    let mut count = 0;
    for (path, text) in documents() {
        for block in toml_blocks(&text) {
            count += 1;
            if let Err(problems) = parse(block, &path) {
                panic!("{problems}");
            }
        }
    }
    assert!(count > 0);
}

/// `docs/configuration.md` has a heading for each table and a row for each key in it.
#[test]
fn the_documentation_names_exactly_the_keys_that_are_read() {
    let text = fs::read_to_string("docs/configuration.md").unwrap();
    let mut named = BTreeSet::new();
    let mut table = String::new();
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            let name = heading.split('`').nth(1).unwrap_or_default().trim_matches(['[', ']']).to_owned();
            named.extend((!name.is_empty()).then(|| name.clone()));
            table = if name.is_empty() { name } else { name + "." };
        } else if let Some(key) = line.strip_prefix("| `").and_then(|row| row.split('`').next()) {
            named.insert(format!("{table}{key}"));
        }
    }
    assert_eq!(named, known_keys());
}

#[test]
fn files_that_cannot_be_read_are_refused_with_the_cure() {
    let absent = load(Path::new("/nonexistent/mpswarden.toml")).unwrap_err();
    assert!(absent.to_string().starts_with("/nonexistent/mpswarden.toml: can't be read: No such file"), "{absent}");
    assert_eq!(ExitStatus::of(&absent), ExitStatus::Configuration);
    let endless = load(Path::new("/dev/zero")).unwrap_err();
    assert!(endless.to_string().contains("not a regular file"), "{endless}");
    let directory = tempfile::tempdir().unwrap();
    let large = directory.path().join("large.toml");
    fs::write(&large, vec![b'#'; (1 << 20) + 1]).unwrap();
    assert!(load(&large).unwrap_err().to_string().contains("over 1 MiB"));
}

#[test]
fn a_policy_and_a_launch_are_made_for_the_gpu_that_is_there() {
    let configuration = read(&whole()).unwrap();
    let [GpuChoice::Uuid(uuid)] = configuration.groups[0].gpus.as_slice() else { panic!("the README names a UUID") };
    let there = GpuIdentity { uuid: uuid.clone(), ..gpu(1, ComputeMode::Default) };
    let (policy, launches) = configuration.resolve(&[gpu(0, ComputeMode::Default), there.clone()], 7).unwrap();
    assert_eq!((policy.seed, policy.gpus), (7, vec![there]));
    assert_eq!(policy.groups[0].gpus.first(), uuid);
    assert_eq!(policy.groups[0].mode_of(Fault::Hang), Mode::Observe);
    assert_eq!(launches[0].gpus.first(), uuid);
    let named: Vec<_> = launches[0].engines.iter().map(|engine| engine.member.to_string()).collect();
    assert_eq!(named, ["small-llms/qwen-a", "small-llms/qwen-b"]);
}

#[test]
fn a_gpu_that_is_not_there_is_named_with_those_that_are() {
    let text = SMALLEST.replace("gpu = 0", "gpu = 3");
    let problems = read(&text).unwrap().resolve(&[gpu(0, ComputeMode::Default)], 0).unwrap_err();
    assert_eq!(problems.to_string(), "test.toml:4:7: there is no GPU 3 (NVML shows 0 GPU-0)");
    assert_eq!(ExitStatus::of(&problems), ExitStatus::Unavailable);
}

#[test]
fn a_limit_over_the_memory_of_the_gpu_is_refused() {
    let text = format!("{SMALLEST}device_memory_limit = \"140GiB\"\n");
    let problems = read(&text).unwrap().resolve(&[gpu(0, ComputeMode::Default)], 0).unwrap_err();
    let expected = "test.toml:11:23: device_memory_limit 140GiB of a is more than the GPU has";
    assert!(problems.to_string().starts_with(expected), "{problems}");
    assert_eq!(ExitStatus::of(&problems), ExitStatus::Configuration);
}

#[test]
fn an_exclusive_gpu_takes_one_group_and_a_prohibited_one_none() {
    let second = SMALLEST.replace("\"g\"", "\"h\"").replace("8001", "8002");
    let one = read(SMALLEST).unwrap();
    let two = read(&format!("{SMALLEST}{second}")).unwrap();
    let exclusive = [gpu(0, ComputeMode::ExclusiveProcess)];
    assert!(one.resolve(&exclusive, 0).is_ok());
    assert!(two.resolve(&[gpu(0, ComputeMode::Default)], 0).is_ok());
    assert_eq!(two.resolve(&exclusive, 0).unwrap_err().list.len(), 1);
    assert!(one.resolve(&[gpu(0, ComputeMode::Prohibited)], 0).is_err());
}

/// Holds of any text: problems have a place in the file, and what is right reads back as the same.
fn holds(text: &str) -> Result<(), TestCaseError> {
    match read(text) {
        Ok(configuration) => {
            let again = read(&configuration.effective());
            prop_assert_eq!(again.map(|again| again.groups), Ok(configuration.groups));
        }
        Err(problems) => {
            prop_assert!(!problems.list.is_empty());
            let lines = text.matches('\n').count() + 1;
            for place in problems.list.iter().filter_map(|problem| problem.place) {
                prop_assert!((1..=lines).contains(&place.line) && place.column >= 1);
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_panics(text: String) {
        holds(&text)?;
    }

    #[test]
    fn no_mutation_of_a_right_file_panics(
        at in 0usize..4000, cut in 0usize..40, put in prop_oneof![
            "[\\[\\]{}\"'=.,#\n -~]{0,6}",
            Just("[[group]]\n".to_owned()), Just("nan".to_owned()), Just("-1".to_owned()), Just("\"\"".to_owned()),
            Just("[]".to_owned()), Just("{}".to_owned()), Just("99999999999999999999".to_owned()),
        ],
    ) {
        let mut text: Vec<char> = whole().chars().collect();
        let from = at % text.len();
        let to = (from + cut).min(text.len());
        text.splice(from..to, put.chars());
        holds(&text.into_iter().collect::<String>())?;
    }
}
