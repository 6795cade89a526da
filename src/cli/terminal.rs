//! The client commands as a person sees them: what goes to stdout, what to stderr, and how a command ends.

use std::io::Write;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use super::choice::Numbered;
use super::incident_text::{incident_text, incidents_text};
use super::order::{Ordering, reach};
use super::status_text::status_text;
use crate::control::Client;
use crate::control::Seen;
use crate::control::{Call, Failure};
use crate::model::{Incident, Plan};
use crate::text::plain::{json as tame, one_line as clean};
use crate::text::screen::Screen;
use crate::text::status_line::StatusLine;

/// How a command ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// What was asked is done.
    Done,
    /// Ctrl-C came while it waited.
    Interrupted,
}

/// A person, or a program, at the control socket.
pub struct Terminal {
    client: Client,
    screen: Screen,
    /// JSON in place of text.
    json: bool,
}

impl Terminal {
    /// A terminal for the watchdog at `socket`, on the process' own stdout and stderr.
    pub fn at(socket: &Path, json: bool) -> Terminal {
        Terminal { client: Client::of(socket), screen: Screen::of(&std::io::stdout()), json }
    }

    /// Shows the status.
    pub(super) async fn status(&self) -> Result<Ended, Failure> {
        Ok(show(&self.status_text(&self.screen).await?))
    }

    /// The status, as it is now, for this screen.
    pub(super) async fn status_text(&self, screen: &Screen) -> Result<String, Failure> {
        let document = self.client.call(Call::Status).await?;
        if self.json {
            return Ok(format!("{}\n", tame(document.get())));
        }
        let seen: Seen = self.client.read(&document)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        Ok(status_text(&seen, now, screen))
    }

    /// Whether programs read it.
    pub(super) fn is_for_programs(&self) -> bool {
        self.json
    }

    /// Shows one incident.
    pub(super) fn show_incident(&self, incident: &Incident) -> Ended {
        show(&incident_text(incident, &self.screen))
    }

    /// Shows a list of incidents; `which` follows the word where there is none.
    pub(super) fn show_incidents(&self, listed: &[Numbered], which: &str) -> Ended {
        match listed.is_empty() {
            true => show(&format!("no incident{} is remembered\n", clean(which))),
            false => show(&incidents_text(listed, &self.screen)),
        }
    }

    /// Says what was done, in a line.
    pub fn say(&self, text: &str) {
        show(&format!("{}\n", clean(text)));
    }

    /// Says what is amiss, in a line on stderr.
    pub fn warn(&self, text: &str) {
        tell(&format!("mpswarden: {text}"));
    }

    /// Gives an order, and waits for its end where that is wanted.
    pub async fn order(&self, ordering: &Ordering) -> Result<Ended, Failure> {
        let (answer, plan) = ordering.give(&self.client).await.inspect_err(|failure| self.json_failure(failure))?;
        if self.json {
            self.json(answer.get());
        } else {
            show(&plan_text(&plan, ordering.dry_run));
        }
        let Some(bound) = ordering.wait.filter(|_| !ordering.dry_run) else { return Ok(Ended::Done) };
        let mut line = StatusLine::default();
        let mut progress = |what: &str| line.show(what);
        let reached = tokio::select! {
            reached = reach(&plan, bound, &self.client, &mut progress) => Some(reached),
            _ = tokio::signal::ctrl_c() => None,
        };
        line.clear();
        match reached {
            None => {
                tell("no longer waiting: the order stays in place, see `mpswarden status`");
                Ok(Ended::Interrupted)
            }
            Some(reached) => {
                let reached = reached?;
                if self.json {
                    tell(&reached);
                } else {
                    show(&format!("{}\n", clean(&reached)));
                }
                Ok(Ended::Done)
            }
        }
    }

    /// Prints a document for programs.
    pub(super) fn json(&self, document: &str) -> Ended {
        show(&format!("{}\n", tame(document)))
    }

    /// A program reads the refusal where it would have read the plan.
    pub(super) fn json_failure(&self, failure: &Failure) {
        if self.json {
            let text = serde_json::json!({ "error": failure }).to_string();
            self.json(&text);
        }
    }
}

/// What went wrong, as one line on stderr.
pub(super) fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", clean(text));
}

impl Failure {
    /// Says it on stderr.
    pub fn tell(&self) {
        tell(&format!("mpswarden: {self}"));
    }
}

fn plan_text(plan: &Plan, dry_run: bool) -> String {
    let head = if dry_run { "it would:" } else { "ordered:" };
    let steps = plan.steps.iter().map(|step| format!("  - {}\n", clean(step)));
    match plan.steps.is_empty() {
        true => format!("{head} nothing is to be done\n"),
        false => format!("{head}\n{}", steps.collect::<String>()),
    }
}

/// Writes to stdout; a reader that went away (a pager) is no failure.
fn show(text: &str) -> Ended {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    Ended::Done
}
