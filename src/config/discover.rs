//! `[discover]`: control daemons of others that come and go, and what is true of each of their engines. Reads and writes
//! text, touches nothing.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use toml::Value;

use super::effective::{Lines, length, list, path, text};
use super::keys::{KINDS, MODES, MPS_CONTROL, leak_after};
use super::reader::{Reading, Section, wrong};
use super::values::{self, METRICS_PATH, program, some_duration, word};
use crate::model::{EngineKind, Mode};

/// What stands for any name, for any letter, or for one of some letters.
const WILD: [char; 3] = ['*', '?', '['];

/// `*` stands for a part of a path, and for no hidden one.
pub const EACH_PART: glob::MatchOptions =
    glob::MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// Which daemons of others are looked for, and what is true of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Discover {
    /// Pipe directories, with `*` for any name. Empty: none is looked for.
    pub pipe_directories: Vec<DirectoryPattern>,
    /// What the watchdog may do in each of their groups.
    pub mode: Mode,
    /// `nvidia-cuda-mps-control`, found on PATH, or a path: it asks the daemons.
    pub binary: PathBuf,
    /// What is true of each engine that is found, also under daemons that the file names.
    pub engine: FoundEngineSettings,
}

impl Default for Discover {
    fn default() -> Self {
        Discover {
            pipe_directories: Vec::new(),
            mode: Mode::Observe,
            binary: MPS_CONTROL.into(),
            engine: FoundEngineSettings::default(),
        }
    }
}

/// What is true of each engine that is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundEngineSettings {
    /// The port where it answers; `None`: it is not asked.
    pub port: Option<u16>,
    /// Which program it is; `None`: its metrics say so.
    pub kind: Option<EngineKind>,
    /// Path of the health check.
    pub health_path: String,
    /// How long its health and its metrics may take to answer.
    pub health_timeout: Duration,
    /// Path of the metrics.
    pub metrics_path: String,
    /// Upper bound from its first client to serving.
    pub start_timeout: Duration,
    /// Requests running and no token, or no answer, for so long: it hangs.
    pub hang_after: Duration,
    /// Memory grows and load does not for so long: it leaks.
    pub leak_after: Duration,
}

impl Default for FoundEngineSettings {
    fn default() -> Self {
        FoundEngineSettings {
            port: None,
            kind: None,
            health_path: "/health".to_owned(),
            health_timeout: Duration::from_secs(10),
            metrics_path: METRICS_PATH.to_owned(),
            start_timeout: Duration::from_secs(600),
            hang_after: Duration::from_secs(120),
            leak_after: Duration::from_secs(180),
        }
    }
}

/// Absolute path in which `*` stands for any name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryPattern(String);

impl DirectoryPattern {
    /// The pattern that this text is; or why it is none.
    pub fn new(text: &str) -> Result<DirectoryPattern, String> {
        let path = Path::new(text);
        if !path.is_absolute() || path.components().any(|part| part == Component::ParentDir) {
            return Err(format!("is not an absolute path without `..`: {text:?}"));
        }
        match glob::Pattern::new(text) {
            Err(error) => Err(format!("is no pattern: {text:?}: {}", error.msg)),
            Ok(_) if text.contains("**") => Err(format!("has `**`, which may be any depth: {text:?}")),
            Ok(_) => Ok(DirectoryPattern(text.trim_end_matches('/').to_owned())),
        }
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this path is one of its directories.
    pub fn matches(&self, path: &Path) -> bool {
        glob::Pattern::new(&self.0).is_ok_and(|pattern| pattern.matches_path_with(path, EACH_PART))
    }

    /// The parts of a path that it leaves open: what tells two of its directories apart.
    pub fn open_parts(&self, directory: &Path) -> PathBuf {
        let parts = Path::new(&self.0).components().zip(directory.components());
        let is_open = |pattern: &Component<'_>| pattern.as_os_str().to_string_lossy().contains(WILD);
        parts.filter(|(pattern, _)| is_open(pattern)).map(|(_, part)| part).collect()
    }
}

pub(super) fn discover(discover: Section) -> Discover {
    let pattern = |value: &toml::de::DeValue<'_>| -> Reading<DirectoryPattern> {
        DirectoryPattern::new(&values::text(value)?).or_else(|what| wrong(what, "\"/run/nvidia/mps/*/pipe\""))
    };
    let configuration = Discover {
        pipe_directories: discover.list("pipe_directories", pattern).unwrap_or_default(),
        mode: discover.optional("mode", |value| word(value, &MODES)).unwrap_or(Mode::Observe),
        binary: discover.optional("binary", program).unwrap_or_else(|| MPS_CONTROL.into()),
        engine: engine(discover.table("engine")),
    };
    discover.finish();
    configuration
}

fn engine(engine: Section) -> FoundEngineSettings {
    let port = |value: &toml::de::DeValue<'_>| values::count(value, 1, u16::MAX.into()).map(|port| port as u16);
    let usual = FoundEngineSettings::default();
    let configuration = FoundEngineSettings {
        port: engine.optional("port", port),
        kind: engine.optional("kind", |value| word(value, &KINDS)),
        health_path: engine.optional("health_path", values::url_path).unwrap_or(usual.health_path),
        health_timeout: engine.optional("health_timeout", some_duration).unwrap_or(usual.health_timeout),
        metrics_path: engine.optional("metrics_path", values::url_path).unwrap_or(usual.metrics_path),
        start_timeout: engine.optional("start_timeout", some_duration).unwrap_or(usual.start_timeout),
        hang_after: engine.optional("hang_after", some_duration).unwrap_or(usual.hang_after),
        leak_after: engine.optional("leak_after", leak_after).unwrap_or(usual.leak_after),
    };
    engine.finish();
    configuration
}

/// The section with every default filled in; nothing where nothing was asked for.
pub(super) fn write(out: &mut Lines, discover: &Discover) {
    if *discover == Discover::default() {
        return;
    }
    out.header("[discover]");
    out.line("pipe_directories", list(discover.pipe_directories.iter().map(DirectoryPattern::as_str)));
    out.line("mode", text(discover.mode.as_str()));
    out.line("binary", path(&discover.binary));
    let engine = &discover.engine;
    out.header("[discover.engine]");
    out.some("port", engine.port.map(|port| Value::Integer(port.into())));
    out.some("kind", engine.kind.map(|kind| text(kind.as_str())));
    out.line("health_path", text(&engine.health_path));
    out.line("health_timeout", length(engine.health_timeout));
    out.line("metrics_path", text(&engine.metrics_path));
    out.line("start_timeout", length(engine.start_timeout));
    out.line("hang_after", length(engine.hang_after));
    out.line("leak_after", length(engine.leak_after));
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn what_a_pattern_leaves_open_tells_its_directories_apart() {
        let open = |pattern: &str, directory: &str| {
            DirectoryPattern::new(pattern).unwrap().open_parts(Path::new(directory)).display().to_string()
        };
        assert_eq!(open("/run/nvidia/mps/*/*/pipe", "/run/nvidia/mps/nvidia.com/gpu/pipe"), "nvidia.com/gpu");
        assert_eq!(open("/var/mps/claim-*/pipe/", "/var/mps/claim-7/pipe"), "claim-7");
        assert_eq!(open("/tmp/nvidia-mps", "/tmp/nvidia-mps"), "");
    }

    #[test]
    fn what_is_no_pattern_of_directories_is_refused_with_the_reason() {
        for (text, why) in [
            ("run/*/pipe", "not an absolute path"),
            ("/run/../etc/*", "not an absolute path"),
            ("/run/**/pipe", "any depth"),
            ("/run/[a/pipe", "no pattern"),
        ] {
            assert!(DirectoryPattern::new(text).unwrap_err().contains(why), "{text}");
        }
    }
}
