//! Events as log lines on stderr, through tracing: for people, for the journal, or as JSON.

use std::fmt;
use std::io;
use std::os::linux::fs::MetadataExt;
use std::sync::OnceLock;

pub use tracing::Level;
use tracing::Subscriber;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::log_queue::{LogGuard, LogQueue};
use super::sentence::{TimeOfDay, place, sentence, sentence_now, word};
use crate::model::{Event, ExitCause, HookResult, IsolationResult, RecoveryResult, What};
use crate::text::screen::no_color;

/// The shape of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Lines for people and the journal.
    Text,
    /// An object a line.
    Json,
}

/// How the log says times of day; before [`init`] it says none.
static TIME_OF_DAY: OnceLock<TimeOfDay> = OnceLock::new();

/// Sends log lines of `level` and above to stderr from here on, through a queue that never blocks the
/// caller. A second call changes nothing. Keep the guard: its drop waits for the last lines.
///
/// Where stderr is the journal, text lines carry a priority in place of time and colour.
pub fn init(level: Level, format: Format, time_of_day: TimeOfDay) -> io::Result<LogGuard> {
    // The only error is that it is known already.
    let _ = TIME_OF_DAY.set(time_of_day);
    let queue = LogQueue::to(io::stderr())?;
    let guard = queue.guard();
    let builder = tracing_subscriber::fmt().with_max_level(level).with_writer(move || queue.clone());
    let done = match format {
        Format::Json => builder.json().flatten_event(true).with_target(false).try_init(),
        Format::Text if stderr_is_journal() => builder.with_ansi(false).event_format(Journal).try_init(),
        Format::Text => builder.with_target(false).with_ansi(stderr_is_coloured()).try_init(),
    };
    // The only error is that logging is set up already.
    drop(done);
    Ok(guard)
}

/// Writes the event's line: what was done and why, with the group and the engine as fields.
pub fn log_event(event: &Event) {
    let group = event.group.as_ref().map(|group| group.as_str());
    let engine = event.engine.as_ref().map(|engine| engine.as_str());
    let (word, message) = (word(event), message(event));
    match level(event) {
        Level::ERROR => tracing::error!(group, engine, event = word, "{message}"),
        Level::WARN => tracing::warn!(group, engine, event = word, "{message}"),
        Level::INFO => tracing::info!(group, engine, event = word, "{message}"),
        _ => tracing::debug!(group, engine, event = word, "{message}"),
    }
}

/// How much an event matters: error, a fault or the end of what can be done; warn, a decision or a
/// trouble; info, the ordinary course; debug, each step.
pub fn level(event: &Event) -> Level {
    match &event.what {
        What::FaultBegan { .. } | What::Held { .. } | What::EngineQuarantined { .. } | What::Proven { .. } => {
            Level::ERROR
        }
        What::RestartEnded { result: RecoveryResult::Held, .. } => Level::ERROR,
        What::RestartEnded { result: RecoveryResult::Partly, .. } => Level::WARN,
        What::EngineExited {
            cause: ExitCause::Clean | ExitCause::Evicted | ExitCause::GroupRestart | ExitCause::Removed,
            ..
        } => Level::INFO,
        What::RestartBegan { .. }
        | What::FaultChanged { .. }
        | What::Suspected { .. }
        | What::Suppressed { .. }
        | What::Isolating { .. }
        | What::AdviceBegan { .. }
        | What::IsolationEnded { result: IsolationResult::Contradiction, .. }
        | What::EngineFailing { .. }
        | What::EngineExited { .. }
        | What::BackoffBegan { .. }
        | What::Xid { .. }
        | What::DriverWants { .. }
        | What::SourceDown { .. }
        | What::ActionFailed { .. }
        | What::HoldBegan { .. }
        | What::ReloadFailed { .. }
        | What::HttpDown { .. } => Level::WARN,
        // Words: any user that may send a prompt can have them printed.
        What::CudaError { .. } | What::Doubted { .. } => Level::INFO,
        What::FaultEnded { .. }
        | What::RestartEnded { .. }
        | What::Released { .. }
        | What::IsolationEnded { .. }
        | What::AdviceEnded { .. }
        | What::ControlStarted { .. }
        | What::ServerStarted { .. }
        | What::EngineStarted { .. }
        | What::EngineFound { .. }
        | What::EngineServing { .. }
        | What::Draining { .. }
        | What::Drained { .. }
        | What::SourceUp { .. }
        | What::Stopped
        | What::WorkDone
        | What::DriverLetGo
        | What::Ordered { .. }
        | What::HoldEnded { .. }
        | What::Reloaded { .. }
        | What::HttpUp { .. } => Level::INFO,
        What::HookEnded { result: HookResult::Ok, .. } => Level::DEBUG,
        What::HookEnded { .. } => Level::WARN,
        What::StepEnded { .. } | What::Command { .. } => Level::DEBUG,
    }
}

/// `gpu_fault in small-llms: server 624 is handling a fatal GPU error`.
fn message(event: &Event) -> String {
    let sentence = match TIME_OF_DAY.get() {
        Some(time_of_day) => sentence_now(event, *time_of_day),
        None => sentence(event),
    };
    let (word, place) = (word(event), place(event));
    if place.is_empty() { format!("{word}: {sentence}") } else { format!("{word} in {place}: {sentence}") }
}

fn stderr_is_coloured() -> bool {
    use std::io::IsTerminal;
    std::io::stderr().is_terminal() && !no_color()
}

/// JOURNAL_STREAM names the journal's socket as `device:inode` (systemd.exec(5)); it is inherited, so
/// only a stderr that is that very socket counts.
fn stderr_is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    std::fs::metadata("/proc/self/fd/2")
        .is_ok_and(|stderr| stream == format!("{}:{}", stderr.st_dev(), stderr.st_ino()))
}

/// Lines as the journal likes them: `<4>message field=value`; it adds the time itself.
struct Journal;

impl<S, N> FormatEvent<S, N> for Journal
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &tracing::Event<'_>,
    ) -> fmt::Result {
        write!(writer, "<{}>", priority(*event.metadata().level()))?;
        context.format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

/// syslog(3)'s number.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::model::{Fault, Moment};

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn fault() -> Event {
        let because = "server 624 is handling a fatal GPU error".to_owned();
        let what = What::FaultBegan { fault: Fault::GpuFault, evidence_at: Moment::ZERO, because };
        Event { at: Moment::ZERO, group: Some("small-llms".into()), engine: None, what }
    }

    fn told(subscriber: impl Subscriber + Send + Sync + 'static, written: &Written) -> String {
        tracing::subscriber::with_default(subscriber, || log_event(&fault()));
        String::from_utf8(written.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn the_journal_gets_a_priority_and_one_line_without_time_or_colour() {
        let written = Written::default();
        let writer = written.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .event_format(Journal)
            .finish();
        assert_eq!(
            told(subscriber, &written),
            "<3>gpu_fault in small-llms: server 624 is handling a fatal GPU error group=\"small-llms\" event=\"gpu_fault\"\n"
        );
    }

    #[test]
    fn json_lines_have_the_group_as_a_field() {
        let written = Written::default();
        let writer = written.clone();
        let subscriber =
            tracing_subscriber::fmt().with_writer(move || writer.clone()).json().flatten_event(true).finish();
        let line: serde_json::Value = serde_json::from_str(&told(subscriber, &written)).unwrap();
        assert_eq!((line["group"].as_str(), line["event"].as_str()), (Some("small-llms"), Some("gpu_fault")));
        assert_eq!(line["level"], "ERROR");
    }

    #[test]
    fn a_first_restart_matters_more_than_its_steps() {
        let step = What::Stopped;
        assert!(level(&fault()) < level(&Event { what: step, ..fault() }));
    }
}
