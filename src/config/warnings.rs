//! What is right and may not be meant. Reported by `check`, at the start and at a reload; only `check --strict` minds it.
//! Pure.

use std::path::{Component, Path, PathBuf};

use super::configuration::{Configuration, EngineConfiguration, GroupConfiguration, RunBy};
use super::guess::words;
use super::problem::{Places, Problem, Problems};
use super::values::{authority, host_of};
use crate::decide::policy::IsolationMode;
use crate::model::Mode;

/// Where CUDA and NVIDIA's container tools look for a control daemon unless it is set otherwise, or what they mount
/// into containers by default.
const PIPES_OF_OTHERS: [&str; 4] = ["/tmp/nvidia-mps", "/run/nvidia/mps", "/run/nvidia-mps", "/mps"];
/// Where control daemons write their logs unless it is set otherwise.
const LOGS_OF_OTHERS: [&str; 4] = ["/var/log/nvidia-mps", "/tmp/nvidia-log", "/run/nvidia/mps", "/mps"];
/// A percentage up to this one is more probably meant as a ratio.
const LEAST_PERCENTAGE: f64 = 1.0;
/// Words that start a container; `PUBLISHING` may then give its port another number outside.
const CONTAINERS: [&str; 3] = ["docker", "podman", "nerdctl"];
const PUBLISHING: [&str; 2] = ["-p", "--publish"];

impl Configuration {
    /// A line for each, with its place and its cure.
    pub fn warnings(&self) -> Vec<String> {
        let line = |doubt| Problems { file: self.places.file.clone(), list: vec![doubt] }.to_string();
        self.doubts().into_iter().map(line).collect()
    }

    /// The same as problems of the weight of a warning.
    pub(super) fn doubts(&self) -> Vec<Problem> {
        let of_group = |(index, group)| of_group(&self.places, &format!("group[{index}]"), group);
        self.groups.iter().enumerate().flat_map(of_group).collect()
    }
}

fn of_group(places: &Places, path: &str, group: &GroupConfiguration) -> Vec<Problem> {
    let mut warnings = match group.mps.run_by {
        RunBy::Us => directories_of_others(places, path, group),
        RunBy::Others => Vec::new(),
    };
    warnings.extend(observed_policies(places, path, group));
    warnings.extend(old_names(places, path));
    for (index, engine) in group.engines.iter().enumerate() {
        let path = format!("{path}.engine[{index}]");
        warnings.extend(port(places, &path, engine));
        warnings.extend(percentage(places, &path, engine));
    }
    warnings
}

/// Keys that have another name now.
fn old_names(places: &Places, path: &str) -> Option<Problem> {
    let key = format!("{path}.recovery.start");
    let written = places.at.contains_key(&key);
    let what = "`start` is called `start_order` now: the old name will go".to_owned();
    written.then(|| places.warning(&key, what, "write start_order"))
}

fn directories_of_others(places: &Places, path: &str, group: &GroupConfiguration) -> Vec<Problem> {
    let name = &group.name;
    let pipe = group.mps.pipe_directory.as_path();
    let pipe = within(pipe, &PIPES_OF_OTHERS).map(|known| {
        let what = format!(
            "pipe_directory {} of group {name} is one that CUDA programs and containers use by default ({known}): \
             whatever starts here without CUDA_MPS_PIPE_DIRECTORY, or in a container that mounts it, becomes a client \
             of this group, and its faults are the group's",
            pipe.display()
        );
        places.warning(
            &format!("{path}.mps.pipe_directory"),
            what,
            "leave pipe_directory out, or name one that is this group's own",
        )
    });
    let log = group.mps.log_directory.as_path();
    let log = within(log, &LOGS_OF_OTHERS).map(|known| {
        let what = format!(
            "log_directory {} of group {name} is one that other control daemons and containers use by default \
             ({known}): what they write there stands beside this group's logs",
            log.display()
        );
        places.warning(
            &format!("{path}.mps.log_directory"),
            what,
            "leave log_directory out, or name one that is this group's own",
        )
    });
    pipe.into_iter().chain(log).collect()
}

/// Policies that say "enforce" in a group that observes everything.
fn observed_policies(places: &Places, path: &str, group: &GroupConfiguration) -> Option<Problem> {
    let enforced = group.faults.iter().filter(|(_, mode)| **mode == Mode::Enforce);
    let keys = enforced.map(|(fault, _)| format!("{path}.policy.{fault}"));
    let isolation = (group.isolation.mode == IsolationMode::Enforce).then(|| format!("{path}.isolation.mode"));
    let mut written: Vec<String> = keys.chain(isolation).filter(|key| places.at.contains_key(key)).collect();
    written.sort_by_key(|key| places.at.get(key).copied());
    let first = written.first().filter(|_| group.mode == Mode::Observe)?;
    let names: Vec<&str> = written.iter().map(|key| key[path.len() + 1..].trim_start_matches("policy.")).collect();
    let (names, verb) = (names.join(", "), if names.len() == 1 { "is" } else { "are" });
    let what = format!(
        "{names} {verb} \"enforce\", and the mode of group {} is \"observe\": nothing is done, it is only reported",
        group.name
    );
    Some(places.warning(first, what, "set mode = \"enforce\", or leave these keys out"))
}

/// A port in the command that is not the one of `url`.
fn port(places: &Places, path: &str, engine: &EngineConfiguration) -> Option<Problem> {
    let (_, asked) = host_of(&engine.url).and_then(authority)?;
    let words: Vec<&str> = words(&engine.command).collect();
    let has = |known: &[&str]| words.iter().any(|word| known.contains(&word.split('=').next().unwrap_or_default()));
    if has(&CONTAINERS) && has(&PUBLISHING) {
        return None;
    }
    let next = words.iter().skip(1).copied().chain([""]);
    let ports = words.iter().zip(next).filter_map(|(word, next)| {
        let value = if *word == "--port" { next } else { word.strip_prefix("--port=")? };
        value.parse::<u16>().ok()
    });
    let ports: Vec<u16> = ports.collect();
    let last = ports.last().filter(|_| !ports.contains(&asked))?;
    let what = format!("the url of {} asks port {asked}, and its command says --port {last}", engine.name);
    Some(places.warning(&format!("{path}.url"), what, "write the same port in both"))
}

/// A share that was meant as a ratio.
fn percentage(places: &Places, path: &str, engine: &EngineConfiguration) -> Option<Problem> {
    let share = engine.sm_percentage.filter(|share| *share <= LEAST_PERCENTAGE)?;
    let what = format!("sm_percentage = {share} of {} is {share} % of the SMs", engine.name);
    let hint = format!("for that share of the whole GPU write {}", share * 100.0);
    Some(places.warning(&format!("{path}.sm_percentage"), what, &hint))
}

/// The one of `known` that `path` is, or is in.
fn within<'a>(path: &Path, known: &[&'a str]) -> Option<&'a str> {
    let path = plain(path);
    known.iter().copied().find(|known| path.starts_with(known))
}

/// The path without `.` and `..`, and with /var/run as what it is a link to.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            part @ (Component::Prefix(_) | Component::RootDir | Component::Normal(_)) => plain.push(part),
        }
    }
    plain.strip_prefix("/var/run").map(|below| Path::new("/run").join(below)).unwrap_or(plain)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::config::parse;

    fn warnings_of(mode: &str, group: &str, engine: &str) -> Vec<String> {
        let text = format!(
            "[[group]]\nname = \"g\"\ngpu = 0\nmode = {mode:?}\n{group}\n[[group.engine]]\nname = \"a\"\n{engine}\n"
        );
        parse(&text, Path::new("x.toml")).unwrap().warnings()
    }

    const ENGINE: &str = "command = [\"x\"]\nurl = \"http://127.0.0.1:8001\"";

    fn warnings(mps: &str) -> Vec<String> {
        warnings_of("observe", &format!("[group.mps]\n{mps}"), ENGINE)
    }

    fn one(told: &[String], parts: &[&str]) {
        assert!(told.len() == 1 && parts.iter().all(|part| told[0].contains(part)), "{told:?} lacks one of {parts:?}");
    }

    #[test]
    fn directories_that_containers_use_by_default_are_warned_of() {
        for path in [
            "/tmp/nvidia-mps",
            "/tmp/nvidia-mps/",
            "/run/nvidia/mps/pipe",
            "/var/run/nvidia/mps",
            "/mps/nvidia.com/gpu/pipe",
        ] {
            let told = warnings(&format!("pipe_directory = \"{path}\""));
            one(&told, &["x.toml:6:18: warning: pipe_directory", "of group g", "leave pipe_directory out"]);
        }
        one(&warnings("log_directory = \"/var/log/nvidia-mps\""), &["x.toml:6:17: warning: log_directory"]);
    }

    #[test]
    fn directories_of_a_groups_own_are_right() {
        for path in ["/run/mpswarden/g", "/tmp/nvidia-mps-g", "/mpsx", "/srv/mps"] {
            assert_eq!(warnings(&format!("pipe_directory = \"{path}\"")), [] as [&str; 0]);
        }
        assert_eq!(warnings(""), [] as [&str; 0]);
    }

    #[test]
    fn policies_that_an_observing_group_does_not_carry_out_are_warned_of() {
        let policies = "[group.policy]\ngpu_fault = \"enforce\"\nhang = \"enforce\"\nserver_died = \"observe\"";
        let told = warnings_of("observe", policies, ENGINE);
        one(&told, &["x.toml:6:13: warning: gpu_fault, hang are \"enforce\"", "group g is \"observe\""]);
        let told = warnings_of("observe", "isolation = { mode = \"enforce\" }", ENGINE);
        one(&told, &["x.toml:5:22: warning: isolation.mode is \"enforce\""]);
        assert_eq!(warnings_of("enforce", policies, ENGINE), [] as [&str; 0]);
        assert_eq!(warnings_of("observe", "", ENGINE), [] as [&str; 0]);
    }

    fn of_engine(command: &str, lines: &str) -> Vec<String> {
        warnings_of("observe", "", &format!("command = {command}\nurl = \"http://127.0.0.1:8001\"\n{lines}"))
    }

    #[test]
    fn a_port_in_the_command_that_the_url_does_not_ask_is_warned_of() {
        for command in [
            r#"["vllm", "serve", "m", "--port", "8002"]"#,
            r#"["vllm", "serve", "m", "--port=8002"]"#,
            r#"["sh", "-c", "exec vllm serve m --port 8002"]"#,
            r#"["podman", "run", "--network=host", "vllm/vllm-openai", "--port", "8002"]"#,
        ] {
            let told = of_engine(command, "");
            one(&told, &["x.toml:9:7: warning: the url of a asks port 8001, and its command says --port 8002"]);
        }
        for command in [
            r#"["vllm", "serve", "m", "--port", "8001"]"#,
            r#"["vllm", "serve", "m"]"#,
            r#"["sh", "-c", "vllm serve m --port $PORT"]"#,
            r#"["proxy", "--port", "8001", "--", "vllm", "--port", "8002"]"#,
            r#"["docker", "run", "-p", "8001:8000", "vllm/vllm-openai", "--port", "8000"]"#,
        ] {
            assert_eq!(of_engine(command, ""), [] as [&str; 0], "{command}");
        }
    }

    #[test]
    fn a_percentage_that_looks_like_a_ratio_is_warned_of() {
        let told = of_engine("[\"x\"]", "sm_percentage = 0.5");
        one(&told, &["x.toml:10:17: warning: sm_percentage = 0.5 of a is 0.5 % of the SMs", "write 50"]);
        assert_eq!(of_engine("[\"x\"]", "sm_percentage = 1.5"), [] as [&str; 0]);
    }
}
