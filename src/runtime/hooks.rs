//! Which event calls which command, and with what message. Runs nothing itself: `act` does.

use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::sync::mpsc::UnboundedSender;

use crate::act::{Call, Hooks, OwnerMark};
use crate::config;
use crate::export::sentence::sentence;
use crate::host::clock;
use crate::model::{EngineName, Event, Fault, GroupName, HeldReason, Hook, RecoveryResult, Tier, What};
use crate::text::plain;

use super::news::News;

/// The configured commands and who runs them.
pub(super) struct Callers {
    commands: Mutex<config::Hooks>,
    hooks: Hooks,
}

/// What a command reads on its stdin, as JSON in one line.
#[derive(Debug, Serialize)]
struct Message<'a> {
    event: &'static str,
    /// RFC 3339, UTC.
    time: String,
    group: Option<&'a GroupName>,
    engine: Option<&'a EngineName>,
    #[serde(flatten)]
    facts: Facts,
    /// What happened, for people.
    sentence: String,
}

/// What is said of an event beyond its sentence; absent where it does not belong to it.
#[derive(Debug, Default, Serialize)]
struct Facts {
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<Fault>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<HeldReason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tier: Option<Tier>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<RecoveryResult>,
    #[serde(skip_serializing_if = "Option::is_none")]
    took_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failures: Option<u32>,
}

impl Callers {
    /// Starts the thread that runs them; their ends come as news.
    pub(super) fn start(
        commands: config::Hooks,
        state_directory: &Path,
        news: UnboundedSender<News>,
    ) -> io::Result<Self> {
        let owner = OwnerMark { state_directory: state_directory.to_owned() };
        let told = Box::new(move |hook, result, why| {
            // Nobody listens any more only when the watchdog ends.
            let _ = news.send(News::Event(What::HookEnded { hook, result, why }));
        });
        Ok(Callers { commands: Mutex::new(commands), hooks: Hooks::start(owner, told)? })
    }

    /// Other commands from now on.
    pub(super) fn take_up(&self, commands: config::Hooks) {
        *self.commands() = commands;
    }

    /// Calls the event's command, if it has one. Never waits.
    pub(super) fn call(&self, event: &Event) {
        let Some((hook, facts)) = hook_of(&event.what) else { return };
        let Some(command) = self.commands().get(&hook).cloned() else { return };
        let (group, engine) = (event.group.clone(), event.engine.clone());
        self.hooks.call(Call { hook, command, message: message(event, hook, facts), group, engine });
    }

    /// Lets those that run end, within 2 s.
    pub(super) fn finish(&self) {
        self.hooks.finish();
    }

    fn commands(&self) -> MutexGuard<'_, config::Hooks> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "no other event has a hook")]
fn hook_of(what: &What) -> Option<(Hook, Facts)> {
    let none = Facts::default();
    match what {
        What::Held { reason, .. } => Some((Hook::OnHeld, Facts { reason: Some(*reason), ..none })),
        What::FaultBegan { fault, .. } => Some((Hook::OnFault, Facts { fault: Some(*fault), ..none })),
        What::RestartEnded { tier, result: result @ (RecoveryResult::Serving | RecoveryResult::Partly), took } => {
            let took_seconds = Some(took.as_secs_f64());
            Some((Hook::OnRecovered, Facts { tier: Some(*tier), result: Some(*result), took_seconds, ..none }))
        }
        What::EngineQuarantined { failures } => {
            Some((Hook::OnQuarantined, Facts { failures: Some(*failures), ..none }))
        }
        _ => None,
    }
}

fn message(event: &Event, hook: Hook, facts: Facts) -> String {
    let time = jiff::Timestamp::try_from(clock::wall_of(event.at)).unwrap_or_default();
    let message = Message {
        event: hook.event(),
        time: format!("{time:.3}"),
        group: event.group.as_ref(),
        engine: event.engine.as_ref(),
        facts,
        sentence: sentence(event),
    };
    // Names, numbers and text: nothing in it can't be written.
    plain::json(&serde_json::to_string(&message).unwrap_or_default()) + "\n"
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn told(what: What) -> serde_json::Value {
        let at = clock::now();
        let event = Event { at, group: Some("g".into()), engine: None, what };
        let (hook, facts) = hook_of(&event.what).unwrap();
        let mut value: serde_json::Value = serde_json::from_str(&message(&event, hook, facts)).unwrap();
        let time: jiff::Timestamp = value["time"].as_str().unwrap().parse().unwrap();
        assert!(time.as_second() > 1_700_000_000);
        value.as_object_mut().unwrap().remove("time");
        value
    }

    #[test]
    fn a_message_says_what_happened_in_fields_and_in_words() {
        let held = What::Held { reason: HeldReason::MemoryNotBack, detail: "2 GiB \"missing\"\nstill".to_owned() };
        let expected = serde_json::json!({
            "event": "held", "group": "g", "engine": null, "reason": "memory_not_back",
            "sentence": "memory_not_back: 2 GiB \"missing\" still",
        });
        assert_eq!(told(held), expected);
        let took = Duration::from_millis(1500);
        let value = told(What::RestartEnded { tier: Tier::Clients, result: RecoveryResult::Partly, took });
        let fields = ["event", "tier", "result", "took_seconds"].map(|field| value[field].to_string());
        assert_eq!(fields, ["\"recovered\"", "\"clients\"", "\"partly\"", "1.5"]);
    }

    #[test]
    fn a_restart_that_did_not_recover_and_a_hook_of_our_own_call_nobody() {
        let took = Duration::ZERO;
        assert!(hook_of(&What::RestartEnded { tier: Tier::Daemon, result: RecoveryResult::Held, took }).is_none());
        let ended = What::HookEnded { hook: Hook::OnHeld, result: crate::model::HookResult::Ok, why: String::new() };
        assert!(hook_of(&ended).is_none());
    }
}
