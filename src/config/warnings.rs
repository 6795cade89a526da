//! What is right and may not be meant. Reported by `check`, at the start and at a reload; it changes no exit status. Pure.

use std::path::{Component, Path, PathBuf};

use super::configuration::{Configuration, GroupConfiguration};

/// Where CUDA and NVIDIA's container tools look for a control daemon unless it is set otherwise, or what they mount
/// into containers by default.
const PIPES_OF_OTHERS: [&str; 4] = ["/tmp/nvidia-mps", "/run/nvidia/mps", "/run/nvidia-mps", "/mps"];
/// Where control daemons write their logs unless it is set otherwise.
const LOGS_OF_OTHERS: [&str; 4] = ["/var/log/nvidia-mps", "/tmp/nvidia-log", "/run/nvidia/mps", "/mps"];

impl Configuration {
    /// A sentence for each, with its cure.
    pub fn warnings(&self) -> Vec<String> {
        self.groups.iter().flat_map(of_group).collect()
    }
}

fn of_group(group: &GroupConfiguration) -> Vec<String> {
    let name = &group.name;
    let pipe = group.mps.pipe_directory.as_path();
    let pipe = within(pipe, &PIPES_OF_OTHERS).map(|known| {
        let path = pipe.display();
        format!(
            "group {name}: pipe_directory {path} is one that CUDA programs and containers use by default ({known}): \
             whatever starts here without CUDA_MPS_PIPE_DIRECTORY, or in a container that mounts it, becomes a client \
             of this group, and its faults are the group's; leave pipe_directory out, or name one that is this group's own"
        )
    });
    let log = group.mps.log_directory.as_path();
    let log = within(log, &LOGS_OF_OTHERS).map(|known| {
        format!(
            "group {name}: log_directory {} is one that other control daemons and containers use by default ({known}): \
             what they write there stands beside this group's logs; leave log_directory out, or name one that is this \
             group's own",
            log.display()
        )
    });
    pipe.into_iter().chain(log).collect()
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

    fn warnings(mps: &str) -> Vec<String> {
        let text = format!(
            "[[group]]\nname = \"g\"\ngpu = 0\nmode = \"observe\"\n[group.mps]\n{mps}\n[[group.engine]]\nname = \"a\"\n\
             command = [\"x\"]\nurl = \"http://127.0.0.1:8001\"\n"
        );
        parse(&text, Path::new("x.toml")).unwrap().warnings()
    }

    #[test]
    fn directories_that_containers_use_by_default_are_told_of() {
        for path in [
            "/tmp/nvidia-mps",
            "/tmp/nvidia-mps/",
            "/run/nvidia/mps/pipe",
            "/var/run/nvidia/mps",
            "/mps/nvidia.com/gpu/pipe",
        ] {
            let told = warnings(&format!("pipe_directory = \"{path}\""));
            assert!(
                told.len() == 1 && told[0].contains("group g: pipe_directory") && told[0].contains("leave"),
                "{told:?}"
            );
        }
        let told = warnings("log_directory = \"/var/log/nvidia-mps\"");
        assert!(told.len() == 1 && told[0].contains("log_directory"), "{told:?}");
    }

    #[test]
    fn directories_of_a_groups_own_are_right() {
        for path in ["/run/mpswarden/g", "/tmp/nvidia-mps-g", "/mpsx", "/srv/mps"] {
            assert_eq!(warnings(&format!("pipe_directory = \"{path}\"")), [] as [&str; 0]);
        }
        assert_eq!(warnings(""), [] as [&str; 0]);
    }
}
