//! The file of baselines that a study writes and the configuration reads: `{"baselines": [...]}`. What they mean is
//! not decided here.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::files::{self, Links};
use crate::model::{Baseline, BaselineSource, Taken};

/// The largest file that is read.
const LARGEST: u64 = 1 << 20;

#[derive(Serialize, Deserialize)]
struct Content {
    baselines: Vec<Baseline>,
}

/// The baselines in `path`, as a study's; `None`: there is no such file that this user can see. The error says what is
/// wrong with it.
pub fn read_baselines(path: &Path) -> Result<Option<Vec<Baseline>>, String> {
    let bytes = match files::read(path, Links::Followed, LARGEST) {
        Ok(bytes) => bytes,
        Err(error) if is_hidden(&error) => return Ok(None),
        Err(error) => return Err(format!("can't be read: {error}")),
    };
    let content: Content = serde_json::from_slice(&bytes).map_err(|error| format!("holds no baselines: {error}"))?;
    let studied = |baseline| Baseline { source: BaselineSource::Study, ..baseline };
    let baselines: Vec<Baseline> = content.baselines.into_iter().map(studied).collect();
    match baselines.iter().find(|baseline| !is_fine(baseline)) {
        Some(wrong) => Err(format!("holds a baseline of {} that can't be: {}", wrong.engine, in_words(wrong))),
        None => Ok(Some(baselines)),
    }
}

/// Not there, or below what is no directory, or closed to this user: the user that checks a file need not be the one
/// that runs it.
fn is_hidden(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    matches!(error.kind(), NotFound | NotADirectory | PermissionDenied)
}

/// Writes `baselines` in the place of what was there, and the directory above it; a crash at any line leaves the old
/// file or the new one whole.
pub fn write_baselines(path: &Path, baselines: &[Baseline]) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let text = serde_json::to_vec_pretty(&Content { baselines: baselines.to_vec() })?;
    files::replace(path, &path.with_extension("tmp"), &text, 0o644, true)
}

/// Numbers that can be, and a time that means something in another boot.
fn is_fine(baseline: &Baseline) -> bool {
    let positive = |number: f64| number.is_finite() && number > 0.0;
    let tokens = |number: f64| number.is_finite() && number >= 0.0;
    positive(baseline.running)
        && positive(baseline.tokens_per_second)
        && tokens(baseline.prompt_tokens)
        && tokens(baseline.generation_tokens)
        && matches!(baseline.taken, Taken::Unix(_))
}

fn in_words(baseline: &Baseline) -> String {
    let Baseline { running, prompt_tokens, generation_tokens, tokens_per_second, taken, .. } = baseline;
    format!(
        "{tokens_per_second} tokens a second at {running} running, {prompt_tokens} and {generation_tokens} tokens, taken {taken:?}"
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::model::{EngineName, Moment};

    fn baseline() -> Baseline {
        Baseline {
            engine: EngineName::from("qwen-a"),
            running: 8.0,
            prompt_tokens: 512.0,
            generation_tokens: 0.0,
            tokens_per_second: 2600.5,
            samples: 3,
            source: BaselineSource::Study,
            taken: Taken::Unix(1_790_000_000),
        }
    }

    fn read(text: &str) -> Result<Option<Vec<Baseline>>, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("baselines.json");
        fs::write(&path, text).unwrap();
        read_baselines(&path)
    }

    #[test]
    fn below_a_file_there_is_none() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(read_baselines(&file.path().join("baselines/g.json")), Ok(None));
    }

    #[test]
    fn what_was_written_reads_back_and_nothing_else_is_left() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("baselines/small-llms.json");
        assert_eq!(read_baselines(&path), Ok(None));
        write_baselines(&path, &[baseline()]).unwrap();
        write_baselines(&path, &[baseline(), baseline()]).unwrap();
        assert_eq!(read_baselines(&path), Ok(Some(vec![baseline(), baseline()])));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn whoever_wrote_it_they_are_a_studys() {
        let text = serde_json::to_string(&Content {
            baselines: vec![Baseline { source: BaselineSource::Learnt, ..baseline() }],
        });
        assert_eq!(read(&text.unwrap()), Ok(Some(vec![baseline()])));
    }

    #[test]
    fn garbage_is_refused_in_words() {
        for text in ["", "[]", "{}", "{\"baselines\": [{}]}", "\0\0"] {
            assert!(read(text).unwrap_err().starts_with("holds no baselines: "), "{text}");
        }
        for wrong in [
            Baseline { running: 0.0, ..baseline() },
            Baseline { tokens_per_second: -1.0, ..baseline() },
            Baseline { taken: Taken::At(Moment::ZERO), ..baseline() },
        ] {
            let text = serde_json::to_string(&Content { baselines: vec![wrong] }).unwrap();
            assert!(read(&text).unwrap_err().contains("of qwen-a that can't be"), "{text}");
        }
    }

    #[test]
    fn what_never_ends_or_is_no_file_is_not_read() {
        let refused = |why: &str| Err(format!("can't be read: it is {why}"));
        assert_eq!(read(&" ".repeat(1 << 21)), refused("over 1 MiB"));
        assert_eq!(read_baselines(Path::new("/dev/zero")), refused("a device, not a regular file"));
        assert_eq!(read_baselines(Path::new("/proc")), refused("a directory, not a regular file"));
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(read_baselines(&fifo), refused("a FIFO, not a regular file"));
    }
}
