//! `mpswarden status` for people: a block for each group, then the sources that are down. Pure text.

use std::time::Duration;

use super::figures::{bar, count, share};
use super::sharing_text::{probe, sharing, slowdown};
use crate::control::Seen;
use crate::export::concerns::{Situation, Tone, concerns};
use crate::export::sentence::{blind_words, source_words};
use crate::model::gpu::RecoveryAction;
use crate::model::{
    EngineLoad, EngineState, EngineStatus, GpuStatus, GpuUuid, GroupState, GroupStatus, Mode, ServerState,
    SourceStatus, Unknown,
};
use crate::text::figures::{bytes, bytes_of, plural};
use crate::text::plain::one_line as clean;
use crate::text::screen::{Ink, Screen};
use crate::text::span::age;
use crate::text::table::{Cell, Column, table};

/// Most further concerns that are listed.
const MOST_OTHERS: usize = 6;

/// The whole page. `now` is in seconds since 1970.
pub fn status_text(seen: &Seen, now: f64, screen: &Screen) -> String {
    let mut blocks = vec![worst(seen, now, screen)];
    blocks.extend(seen.status.groups.iter().map(|group| block(seen, group, screen)));
    let down: String = seen
        .status
        .sources
        .iter()
        .filter(|source| source.is_blind())
        .map(|source| is_down(seen, source, screen))
        .collect();
    blocks.push(down);
    blocks.extend(seen.http.iter().filter_map(|place| Some(http_down(place.down.as_deref()?, screen))));
    blocks.retain(|block| !block.is_empty());
    blocks.join("\n")
}

/// The two lines that the page begins with: what is worst, since when and why, and what to do.
fn worst(seen: &Seen, now: f64, screen: &Screen) -> String {
    let age = Duration::try_from_secs_f64(now - seen.timestamp_seconds).unwrap_or_default();
    let boot = seen.timestamp_seconds - seen.status.at.as_secs_f64();
    let situation = Situation { status: &seen.status, since: &seen.since, boot, age, zone: screen.zone.clone() };
    let found = concerns(&situation);
    let Some((worst, others)) = found.split_first() else { return String::new() };
    let (label, ink) = match worst.rank.tone() {
        Tone::Good => ("ok     ", Ink::Good),
        Tone::Dim => ("note   ", Ink::Dim),
        Tone::Wait => ("wait   ", Ink::Warn),
        Tone::Bad => ("BAD    ", Ink::Bad),
    };
    let mut text = screen.prose(label, ink, &situation.headline(worst));
    text.push_str(&screen.prose("to do  ", Ink::Bold, &situation.to_do(&worst.todo)));
    for other in others.iter().take(MOST_OTHERS) {
        text.push_str(&screen.prose("also   ", Ink::Dim, &situation.headline(other)));
        text.push_str(&screen.prose("  to do  ", Ink::Dim, &situation.to_do(&other.todo)));
    }
    if others.len() > MOST_OTHERS {
        text.push_str(&format!("also   {} more, below\n", others.len() - MOST_OTHERS));
    }
    text
}

fn http_down(why: &str, screen: &Screen) -> String {
    screen.prose(
        "HTTP  ",
        Ink::Warn,
        &format!("{why}; it is tried again, and a stranger there may serve false metrics"),
    )
}

fn block(seen: &Seen, group: &GroupStatus, screen: &Screen) -> String {
    let mut text = header(group, screen);
    text.push_str(&gpu_line(seen, group, screen));
    text.push_str(&server_line(seen, group, screen));
    text.push_str(&sharing(seen, group, screen));
    text.push_str(&troubles(seen, group, screen));
    text.push_str(&engines(group, screen));
    text.push_str(&unknown(group, screen));
    text
}

fn header(group: &GroupStatus, screen: &Screen) -> String {
    let ink = state_ink(group.state);
    let name = screen.paint(&clean(group.name.as_str()), Ink::Bold);
    let mode = match group.mode {
        Mode::Enforce => screen.paint("enforce", Ink::Plain),
        Mode::Observe => screen.paint("observe: it only says what it would do", Ink::Warn),
    };
    let budget = format!("{} left", plural(group.budget_remaining as usize, "restart"));
    let budget = screen.paint(&budget, if group.budget_remaining == 0 { Ink::Bad } else { Ink::Plain });
    let state = screen.paint(group.state.as_str(), ink);
    format!("{name}  {state}  {mode}  generation {}  {budget}\n", group.generation)
}

fn gpu_line(seen: &Seen, group: &GroupStatus, screen: &Screen) -> String {
    let line = |uuid: &GpuUuid| {
        let gpu = seen.status.gpus.iter().find(|gpu| gpu.identity.uuid == *uuid);
        screen.prose("  gpu     ", Ink::Dim, &gpu.map_or_else(|| uuid.to_string(), gpu_words))
    };
    group.gpus.iter().map(line).collect()
}

fn gpu_words(gpu: &GpuStatus) -> String {
    let identity = &gpu.identity;
    let mut words = vec![match identity.absent {
        true => format!("{} (NVML can't read it)", identity.label()),
        false => format!("{} {}", identity.label(), identity.product()),
    }];
    words.push(match (gpu.memory_used, identity.memory_total) {
        (Some(used), Some(total)) => format!("memory {}", bytes_of(used, total)),
        (Some(used), None) => format!("memory {}", bytes(used)),
        (None, _) => "memory ?".to_owned(),
    });
    words.extend(gpu.busy.map(|busy| format!("busy {}", share(busy))));
    words.extend(gpu.activity.and_then(|activity| activity.sm_active).map(|sm| format!("SMs active {}", share(sm))));
    words.extend(gpu.foreign_processes.filter(|count| *count > 0).map(|count| format!("foreign processes {count}")));
    let wanted = gpu.recovery_action.filter(|action| *action != RecoveryAction::None);
    words.extend(wanted.map(|action| {
        if action == RecoveryAction::NotUnderstood {
            return "the driver wants something that this mpswarden does not know".to_owned();
        }
        format!("the driver wants {action}")
    }));
    words.join("   ")
}

fn server_line(seen: &Seen, group: &GroupStatus, screen: &Screen) -> String {
    let control = match group.control_up {
        Some(true) => "control daemon up",
        Some(false) => "control daemon DOWN",
        None if group.control.is_none() && group.state != GroupState::Unknown => "no control daemon",
        None => "control daemon ?",
    };
    let pid = group.server_pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
    let since = group.server_since.map(|since| format!(" for {}", age(seen.age(since)))).unwrap_or_default();
    let server = match group.server {
        ServerState::None => "no server".to_owned(),
        state @ (ServerState::Initializing | ServerState::Active | ServerState::Fault | ServerState::Unknown) => {
            format!("server {state}{pid}{since}")
        }
    };
    let clients = group.clients.map_or("?".to_owned(), |clients| clients.to_string());
    let strangers = group.unknown_clients.filter(|count| *count > 0);
    let strangers = strangers.map(|count| format!(", {count} of them of no engine")).unwrap_or_default();
    let limit = group.clients_limit.map_or("?".to_owned(), |limit| limit.to_string());
    let words = format!("{control}   {server}   clients {clients} of {limit}{strangers}");
    screen.prose("  mps     ", Ink::Dim, &words)
}

/// What a person should know first: why it is held, who holds it, what is on its way, what is wrong.
fn troubles(seen: &Seen, group: &GroupStatus, screen: &Screen) -> String {
    let mut text = String::new();
    if let Some(hold) = &group.hold {
        let until = match hold.until {
            Some(until) => format!("for {} more", age(until.since(seen.status.at))),
            None => "until it is resumed".to_owned(),
        };
        let words = format!("since {}, {until}: {}", age(seen.age(hold.since)), hold.reason);
        text.push_str(&screen.prose("  HOLD    ", Ink::Warn, &words));
    } else if let Some((reason, detail)) = &group.held {
        text.push_str(&screen.prose("  HELD    ", Ink::Bad, &format!("{reason}: {detail}")));
    }
    if let Some(recovery) = &group.recovery {
        let why =
            recovery.reason.map_or("first start".to_owned(), |fault| format!("{} because of {fault}", recovery.tier));
        let words = format!("{why}, for {}: step {}", age(seen.age(recovery.since)), recovery.step);
        text.push_str(&screen.prose("  restart ", Ink::Warn, &words));
    }
    if !group.faults.is_empty() {
        let said = group.faults.iter().map(|(engine, fault)| match engine {
            Some(engine) => format!("{fault} of {engine}"),
            None => fault.to_string(),
        });
        text.push_str(&screen.prose("  faults  ", Ink::Bad, &said.collect::<Vec<_>>().join(", ")));
    }
    text
}

fn engines(group: &GroupStatus, screen: &Screen) -> String {
    let of = |cell: fn(&EngineStatus) -> Cell| group.engines.iter().map(cell);
    let columns = vec![
        Column::left("ENGINE", 0, of(|engine| plain(engine.name.as_str()))),
        Column::left("STATE", 0, of(|engine| (engine.state.to_string(), engine_ink(engine.state)))),
        Column::left("KIND", 8, of(|engine| plain(engine.kind.as_str()))),
        Column::left("MPS", 2, of(attached)),
        Column::right("RUNS", 3, of(|engine| figure(engine, |load| load.running.map(count)))),
        Column::right("WAITS", 3, of(|engine| figure(engine, |load| load.waiting.map(count)))),
        Column::right("KV", 4, of(|engine| figure(engine, |load| load.kv_cache.map(share)))),
        Column::right("SLOWED", 4, of(slowdown)),
        Column::left("PROBE", 6, group.engines.iter().map(|engine| probe(group, engine))),
        Column::left("", 7, of(memory_bar)),
        Column::right("DEVICE MEMORY", 1, of(memory)),
        Column::right("HOST", 6, of(|engine| known(engine, engine.resident_memory.map(bytes)))),
        Column::right("STARTS", 5, of(|engine| plain(&engine.incarnation.to_string()))),
        Column::left("NOTE", 0, of(note)),
    ];
    table(columns, "  ", screen)
}

/// What can't be known of the engines, and why.
fn unknown(group: &GroupStatus, screen: &Screen) -> String {
    let of = |engine: &EngineStatus| {
        let words = |unknown: &Unknown| format!("{} of {}: {}", unknown.question, engine.name, unknown.why);
        engine.unknown.iter().map(words).collect::<Vec<String>>()
    };
    let lines = group.engines.iter().flat_map(of);
    lines.map(|line| screen.prose("  unknown ", Ink::Dim, &line)).collect()
}

fn plain(text: &str) -> Cell {
    (text.to_owned(), Ink::Plain)
}

/// A figure of a living engine, `?` where it is unknown, `-` where there is no process.
fn known(engine: &EngineStatus, figure: Option<String>) -> Cell {
    match figure {
        Some(text) => (text, Ink::Plain),
        None if engine.main.is_none() => ("-".to_owned(), Ink::Dim),
        None => ("?".to_owned(), Ink::Odd),
    }
}

fn figure(engine: &EngineStatus, of: impl Fn(&EngineLoad) -> Option<String>) -> Cell {
    known(engine, engine.load.as_ref().and_then(of))
}

fn attached(engine: &EngineStatus) -> Cell {
    match engine.attached {
        Some(true) => plain("attached"),
        Some(false) => ("OUTSIDE".to_owned(), Ink::Bad),
        None => known(engine, None),
    }
}

fn memory(engine: &EngineStatus) -> Cell {
    match (engine.device_memory, engine.device_memory_limit) {
        (Some(used), Some(limit)) => (bytes_of(used, limit), memory_ink(used, limit)),
        (used, _) => known(engine, used.map(bytes)),
    }
}

fn memory_bar(engine: &EngineStatus) -> Cell {
    match (engine.device_memory, engine.device_memory_limit) {
        (Some(used), Some(limit)) if limit > 0 => (bar(used as f64 / limit as f64), memory_ink(used, limit)),
        _ => plain(""),
    }
}

fn memory_ink(used: u64, limit: u64) -> Ink {
    match used as f64 / limit as f64 {
        ..0.9 => Ink::Plain,
        ..0.97 => Ink::Warn,
        _ => Ink::Bad,
    }
}

fn note(engine: &EngineStatus) -> Cell {
    let full = engine.memory_time_to_limit.map(|left| format!("memory is at its limit in {}", age(left)));
    let failures = match engine.failures {
        0 => None,
        1 => Some("1 failure in its own budget".to_owned()),
        more => Some(format!("{more} failures in its own budget")),
    };
    let probe = engine.sharing.probe_note.as_ref().map(|why| format!("no kernel probe: {why}"));
    let words: Vec<String> = engine.note.clone().into_iter().chain(full).chain(failures).chain(probe).collect();
    plain(&words.join("; "))
}

fn is_down(seen: &Seen, source: &SourceStatus, screen: &Screen) -> String {
    let why = source.why.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
    let last = match source.last_success {
        Some(last) => format!("it last answered {} ago", age(seen.age(last))),
        None => "it has not answered yet".to_owned(),
    };
    screen.prose(
        "source down  ",
        Ink::Odd,
        &format!("{} {}{why}; {last}; what it knew is unknown", source_words(&source.scope), blind_words(source.state)),
    )
}

fn state_ink(state: GroupState) -> Ink {
    match state {
        GroupState::Serving => Ink::Good,
        GroupState::Starting | GroupState::Degraded | GroupState::Recovering => Ink::Warn,
        GroupState::Held => Ink::Bad,
        GroupState::Stopped => Ink::Dim,
        GroupState::Unknown => Ink::Odd,
    }
}

fn engine_ink(state: EngineState) -> Ink {
    match state {
        EngineState::Serving => Ink::Good,
        EngineState::Starting | EngineState::Failing | EngineState::Stopping => Ink::Warn,
        EngineState::Quarantined => Ink::Bad,
        EngineState::Stopped => Ink::Dim,
        EngineState::Unknown => Ink::Odd,
    }
}
