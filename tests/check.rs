//! `mpswarden check` as its user sees it: what it prints, what it hides, and that mistakes of every kind are found in one
//! run, each with its line.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mpswarden::config::known_keys;

const SMALLEST: &str = r#"
[[group]]
name = "g"
gpu = 0
mode = "observe"

[group.mps]
binary = "/bin/true"
pipe_directory = "/tmp/mpswarden-check/pipe"
log_directory = "/tmp/mpswarden-check/log"

[[group.engine]]
name = "a"
command = ["/bin/true"]
url = "http://127.0.0.1:8001"
"#;

/// Its exit status, what it says on stdout, and on stderr.
fn check(file: &Path, more: &[&str]) -> (Option<i32>, String, String) {
    let program = env!("CARGO_BIN_EXE_mpswarden");
    let command = Command::new(program).arg("check").arg(file).args(more).output().unwrap();
    (command.status.code(), String::from_utf8(command.stdout).unwrap(), String::from_utf8(command.stderr).unwrap())
}

/// A file that is there as long as the test.
struct Written {
    directory: tempfile::TempDir,
}

impl Written {
    fn of(text: &str) -> Written {
        let written = Written { directory: tempfile::tempdir().unwrap() };
        fs::write(written.file(), text).unwrap();
        written
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("mpswarden.toml")
    }

    fn check(&self, more: &[&str]) -> (Option<i32>, String, String) {
        check(&self.file(), more)
    }
}

/// A configuration in which nothing is to be warned of on any machine.
fn right() -> String {
    format!("state_directory = \"/tmp/mpswarden-check\"\nkernel_log = \"/dev/null\"\n{SMALLEST}")
}

#[test]
fn what_is_right_is_printed_as_a_configuration_and_ok_at_its_end() {
    let written = Written::of(&right());
    for more in [&[][..], &["--strict"]] {
        let (status, shown, errors) = written.check(more);
        assert_eq!((status, errors.as_str()), (Some(0), ""), "{shown}");
        assert!(shown.lines().last().unwrap().starts_with("# ok"), "{shown}");
        let (status, again, errors) = Written::of(&shown).check(&[]);
        let whole = |shown: &str| shown.split("# ok").next().unwrap().to_owned();
        assert_eq!((status, whole(&again)), (Some(0), whole(&shown)), "it reads back as the same: {errors}");
    }
}

#[test]
fn no_secret_is_printed_whether_the_file_is_right_or_wrong() {
    let secrets = "command = [\"/bin/true\", \"--api-key\", \"s3cret-1\", \"--hf-token=s3cret-2\"]\n\
                   environment = { HF_TOKEN = \"s3cret-3\", LEVEL = \"s3cret-4\" }";
    let hooks = "[hooks]\non_held = [\"/bin/sh\", \"-u\", \"me:s3cret-5\"]\n";
    let text = right().replace("command = [\"/bin/true\"]", secrets).replace("[[group]]", &format!("{hooks}[[group]]"));
    let (status, shown, errors) = Written::of(&text).check(&[]);
    assert!(status == Some(0) && shown.contains("[redacted]"), "{shown}{errors}");
    assert!(!format!("{shown}{errors}").contains("s3cret"), "{shown}{errors}");
    let wrong = text.replace("http://127.0.0.1:8001", "http://me:s3cret-6@127.0.0.1:8001/v1");
    let (status, shown, errors) = Written::of(&wrong).check(&[]);
    assert!(status == Some(78) && errors.contains("[redacted]"), "{errors}");
    assert!(!format!("{shown}{errors}").contains("s3cret"), "{shown}{errors}");
}

#[test]
fn a_wrong_file_gets_its_report_and_no_configuration() {
    let wrong = Path::new("tests/fixtures/configurations/unknown_keys.toml");
    let (status, shown, errors) = check(wrong, &[]);
    assert_eq!((status, shown.as_str()), (Some(78), ""));
    for line in fs::read_to_string(wrong.with_extension("report")).unwrap().lines() {
        assert!(errors.contains(line), "{line} is not in\n{errors}");
    }
}

/// A value for each key that is wrong there; for a table a key that it does not have.
const MISTAKES: &[(&str, &str)] = &[
    ("nvml_library", "7"),
    ("kernel_log", "\"kmsg\""),
    ("state_directory", "\"state\""),
    ("web", "unknown"),
    ("web.listen_addresses", "[\"localhost\"]"),
    ("hooks", "unknown"),
    ("hooks.on_held", "[]"),
    ("hooks.on_fault", "\"page-me\""),
    ("hooks.on_recovered", "[\"\"]"),
    ("hooks.on_quarantined", "[1]"),
    ("discover", "unknown"),
    ("discover.pipe_directories", "[\"run/*/pipe\"]"),
    ("discover.mode", "\"enfroce\""),
    ("discover.binary", "\"bin/control\""),
    ("discover.engine", "unknown"),
    ("discover.engine.port", "0"),
    ("discover.engine.kind", "\"vlm\""),
    ("discover.engine.health_path", "\"health\""),
    ("discover.engine.health_timeout", "\"0s\""),
    ("discover.engine.metrics_path", "\"metrics\""),
    ("discover.engine.start_timeout", "\"1.5m\""),
    ("discover.engine.hang_after", "\"0s\""),
    ("discover.engine.leak_after", "\"19s\""),
    ("group", "unknown"),
    ("group.name", "\"two words\""),
    ("group.gpu", "\"card0\""),
    ("group.spread", "\"part\""),
    ("group.mode", "\"enfroce\""),
    ("group.mps", "unknown"),
    ("group.mps.binary", "\"bin/control\""),
    ("group.mps.control", "\"leave\""),
    ("group.mps.restart_by", "\"exit\""),
    ("group.mps.pipe_directory", "\"/run/../x\""),
    ("group.mps.log_directory", "\"\""),
    ("group.mps.gate", "\"yes\""),
    ("group.policy", "unknown"),
    ("group.policy.*", "\"maybe\""),
    ("group.isolation", "unknown"),
    ("group.isolation.mode", "\"on\""),
    ("group.isolation.window", "\"0s\""),
    ("group.isolation.quarantine", "\"inside\""),
    ("group.overlap", "unknown"),
    ("group.overlap.window", "\"1s\""),
    ("group.overlap.period", "\"soon\""),
    ("group.overlap.baselines", "\"g.json\""),
    ("group.overlap.low_gain", "-1"),
    ("group.overlap.most_slowdown", "1"),
    ("group.overlap.advice_after", "3600"),
    ("group.recovery", "unknown"),
    ("group.recovery.budget", "-1"),
    ("group.recovery.budget_window", "\"1y\""),
    ("group.recovery.stable_after", "\"0s\""),
    ("group.recovery.when_spent", "\"stop\""),
    ("group.recovery.engine_budget", "0"),
    ("group.recovery.memory_timeout", "30"),
    ("group.recovery.wedge_grace", "\"15 s\""),
    ("group.recovery.start", "\"at once\""),
    ("group.recovery.start_order", "\"at once\""),
    ("group.recovery.backoff", "unknown"),
    ("group.recovery.backoff.first", "\"-1s\""),
    ("group.recovery.backoff.next", "\"0s\""),
    ("group.recovery.backoff.factor", "0.5"),
    ("group.recovery.backoff.most", "true"),
    ("group.recovery.backoff.jitter", "2"),
    ("group.engine", "unknown"),
    ("group.engine.name", "\"..\""),
    ("group.engine.command", "[]"),
    ("group.engine.external", "unknown"),
    ("group.engine.external.systemd_unit", "\"vllm\""),
    ("group.engine.external.container", "\"-a\""),
    ("group.engine.external.cgroup", "\"/\""),
    ("group.engine.external.pid_file", "\"a.pid\""),
    ("group.engine.external.command_matches", "\"vllm (\""),
    ("group.engine.restart_by", "\"exit\""),
    ("group.engine.kind", "\"vlm\""),
    ("group.engine.on_clean_end", "\"exit\""),
    ("group.engine.user", "0"),
    ("group.engine.working_directory", "\"srv\""),
    ("group.engine.environment", "{ CUDA_MPS_PIPE_DIRECTORY = \"/x\" }"),
    ("group.engine.environment_file", "\"a.env\""),
    ("group.engine.gpu", "\"card0\""),
    ("group.engine.gpu_named_by", "\"name\""),
    ("group.engine.url", "\"127.0.0.1:8001\""),
    ("group.engine.health_path", "\"health\""),
    ("group.engine.health_timeout", "\"0s\""),
    ("group.engine.metrics_path", "\"metrics\""),
    ("group.engine.metrics_url", "\"/metrics\""),
    ("group.engine.probe_request", "\"yes\""),
    ("group.engine.sm_percentage", "101"),
    ("group.engine.device_memory_limit", "\"40GB\""),
    ("group.engine.overlap", "\"on\""),
    ("group.engine.memory_max", "64"),
    ("group.engine.start_timeout", "\"1.5m\""),
    ("group.engine.drain_timeout", "\"a minute\""),
    ("group.engine.stop_timeout", "30"),
    ("group.engine.hang_after", "\"0s\""),
    ("group.engine.leak_after", "\"19s\""),
    ("group.engine.baseline", "unknown"),
    ("group.engine.baseline.running", "0"),
    ("group.engine.baseline.prompt_tokens", "-1"),
    ("group.engine.baseline.generation_tokens", "\"many\""),
    ("group.engine.baseline.tokens_per_second", "0"),
];

/// The mistakes by the table that they stand in. A policy's stands for each of its keys.
fn mistakes() -> BTreeMap<String, String> {
    let mut mistakes: BTreeMap<String, String> =
        MISTAKES.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let policy = mistakes.remove("group.policy.*").unwrap();
    let policies = known_keys().into_iter().filter(|key| key.starts_with("group.policy."));
    mistakes.extend(policies.map(|key| (key, policy.clone())));
    mistakes
}

/// Tables in the order of the file, with their headers.
const TABLES: [(&str, &str); 14] = [
    ("", ""),
    ("web", "[web]"),
    ("hooks", "[hooks]"),
    ("discover", "[discover]"),
    ("discover.engine", "[discover.engine]"),
    ("group", "[[group]]"),
    ("group.mps", "[group.mps]"),
    ("group.policy", "[group.policy]"),
    ("group.isolation", "[group.isolation]"),
    ("group.overlap", "[group.overlap]"),
    ("group.recovery", "[group.recovery]"),
    ("group.recovery.backoff", "[group.recovery.backoff]"),
    ("group.engine", "[[group.engine]]"),
    ("group.engine.external", "[group.engine.external]"),
];

/// A file with all of them, and the line of each.
fn planted() -> (String, BTreeMap<String, usize>) {
    let mistakes = mistakes();
    let (mut lines, mut places) = (Vec::new(), BTreeMap::new());
    for (table, header) in TABLES.into_iter().chain([("group.engine.baseline", "[[group.engine.baseline]]")]) {
        lines.push(header.to_owned());
        for (key, value) in &mistakes {
            let (within, name) = key.rsplit_once('.').unwrap_or(("", key));
            let line = match value.as_str() {
                "unknown" if key == table => "no_such_key = 1".to_owned(),
                "unknown" => continue,
                value if within == table => format!("{name} = {value}"),
                _ => continue,
            };
            lines.push(line);
            places.insert(key.clone(), lines.len());
        }
    }
    (lines.join("\n") + "\n", places)
}

#[test]
fn a_mistake_for_each_key_is_found_with_its_line_in_one_run() {
    let keys: BTreeSet<String> = mistakes().into_keys().collect();
    assert_eq!(keys, known_keys(), "each key has its planted mistake in MISTAKES");
    let (text, places) = planted();
    let written = Written::of(&text);
    let (status, _, errors) = written.check(&[]);
    assert_eq!(status, Some(78));
    assert_eq!(places.len(), keys.len());
    for (key, line) in &places {
        let begin = format!("{}:{line}:", written.file().display());
        let found = errors.lines().find(|error| error.starts_with(&begin) && !error.contains("warning:"));
        assert!(
            found.is_some_and(|error| error.ends_with(')')),
            "{key} on line {line} is not found, with its cure:\n{errors}"
        );
    }
}

/// Each kind of thing outside the file that it may name, and that is not as it should be there; `{}` is a directory of
/// the test's own. The line begins with the key.
const OUTSIDE: &[(&str, &str, &str)] = &[
    ("kernel_log", "\"{}/no-kernel.log\"", "no-kernel.log can't be read"),
    ("nvml_library", "\"{}/libno-nvml.so\"", "cannot load the NVML library"),
    ("state_directory", "\"{}/a-file/state\"", "a-file is no directory"),
    ("listen_addresses", "[\"192.0.2.1:10677\"]", "192.0.2.1:10677 is no address of this machine"),
    ("on_held", "[\"no-such-hook\"]", "\"no-such-hook\" was not found on PATH"),
    ("mode", "\"observe\"", ""),
    ("binary", "\"{}/no-control\"", "no-control\" was not found"),
    ("pipe_directory", "\"/tmp/nvidia-mps\"", "containers use by default"),
    ("log_directory", "\"/no-such-root/log\"", "no part of it is there"),
    ("gpu_fault", "\"enforce\"", "gpu_fault is \"enforce\", and the mode of group g is \"observe\""),
    ("baselines", "\"{}/no-baselines.json\"", "no-baselines.json is not there"),
    ("command", "[\"no-such-engine\", \"--port\", \"8002\"]", "\"no-such-engine\" was not found on PATH"),
    ("user", "\"no-such-user\"", "there is no user \"no-such-user\""),
    ("working_directory", "\"{}/no-directory\"", "no-directory can't be used"),
    ("environment_file", "\"{}/no.env\"", "no.env can't be read"),
    ("url", "\"http://127.0.0.1:8001\"", "the url of a asks port 8001, and its command says --port 8002"),
    ("sm_percentage", "0.5", "0.5 % of the SMs"),
];

/// A file that is right, and of which nothing is as it should be outside of it.
fn outside(directory: &Path) -> String {
    let at = directory.display().to_string();
    let line = |key: &str| {
        let (key, value, _) = OUTSIDE.iter().find(|(known, ..)| *known == key).unwrap();
        format!("{key} = {}", value.replace("{}", &at))
    };
    let layout = [
        &["kernel_log", "nvml_library", "state_directory"][..],
        &["[web]", "listen_addresses", "[hooks]", "on_held", "[[group]]", "name = \"g\"", "gpu = 0", "mode"],
        &["[group.mps]", "binary", "pipe_directory", "log_directory", "[group.policy]", "gpu_fault"],
        &["[group.overlap]", "baselines", "[[group.engine]]", "name = \"a\"", "command", "user"],
        &["working_directory", "environment_file", "url", "sm_percentage"],
    ];
    let written = |word: &&str| if word.contains(['[', '=']) { (*word).to_owned() } else { line(word) };
    layout.concat().iter().map(written).collect::<Vec<_>>().join("\n") + "\n"
}

#[test]
fn a_mistake_for_each_kind_of_thing_outside_the_file_is_warned_of_in_one_run() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("a-file"), "").unwrap();
    let text = outside(directory.path());
    let written = Written::of(&text);
    let (status, shown, errors) = written.check(&[]);
    assert_eq!(status, Some(0), "{errors}");
    let expected = OUTSIDE.iter().filter(|(.., said)| !said.is_empty());
    for (key, _, said) in expected.clone() {
        let line = text.lines().position(|line| line.starts_with(&format!("{key} = "))).unwrap() + 1;
        let begin = format!("{}:{line}:", written.file().display());
        let found = errors.lines().find(|error| error.starts_with(&begin) && error.contains(said));
        let fine = found.is_some_and(|error| error.contains(": warning: ") && error.ends_with(')'));
        assert!(fine, "{key} on line {line} is not warned of, with its cure:\n{errors}");
    }
    let count = expected.count();
    assert_eq!(errors.lines().count(), count, "and of nothing else:\n{errors}");
    assert_eq!(shown.lines().last(), Some(format!("# ok, with {count} warnings").as_str()), "{shown}");
    let (status, shown, strict) = written.check(&["--strict"]);
    assert_eq!((status, shown.as_str()), (Some(78), ""));
    assert!(strict.starts_with(&errors) && strict.ends_with("refused as --strict asks\n"), "{strict}");
}

#[test]
fn mistakes_and_warnings_are_reported_at_once_in_the_order_of_the_file() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("a-file"), "").unwrap();
    let text = outside(directory.path()).replace("gpu = 0", "gpu = \"card0\"");
    let (status, shown, errors) = Written::of(&text).check(&[]);
    assert_eq!((status, shown.as_str()), (Some(78), ""));
    let lines: Vec<usize> = errors.lines().map(|line| line.split(':').nth(1).unwrap().parse().unwrap()).collect();
    assert!(lines.len() > 10 && lines.is_sorted(), "{errors}");
    assert_eq!(errors.lines().filter(|line| !line.contains("warning:")).count(), 1, "{errors}");
}
