//! The keys of engines and daemons that others run: where an engine is found, and through whom it is restarted. Reads text,
//! touches nothing.

use toml::de::DeValue;

use super::configuration::RunBy;
use super::reader::{Reading, Section, kind, wrong};
use super::suggest::nearest;
use super::values::{self, text};
use crate::model::{External, ExternalAt, RestartBy};
use crate::text::pattern::command_pattern;

/// Keys that only the start of an engine can carry out, and why they are nothing here.
const OF_A_START: [(&str, &str); 9] = [
    ("command", "and `external` exclude each other"),
    ("working_directory", "is set by those who run the engine"),
    ("environment", "is set by those who run the engine"),
    ("environment_file", "is set by those who run the engine"),
    ("gpu_named_by", "is set by those who run the engine: in its CUDA_VISIBLE_DEVICES"),
    ("sm_percentage", "is set by those who run the engine: in its CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"),
    ("device_memory_limit", "is set by those who run the engine: in its CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"),
    ("memory_max", "is set by those who run the engine: in its unit, its container or its cgroup"),
    ("on_clean_end", "is for those who run the engine: they start it again, or do not"),
];
/// What else is said of them.
const LEAVE_OUT: &str = "leave it out, or let mpswarden start the engine by its `command`";
/// The words of `restart_by`.
const WORDS: [(&str, RestartBy); 3] =
    [("nobody", RestartBy::Nobody), ("signal", RestartBy::Signal), ("supervisor", RestartBy::Supervisor)];

/// Where an engine is found that others run, and through whom it is restarted; `None`: mpswarden starts it.
pub(super) fn external(engine: &Section<'_, '_>) -> Option<External> {
    let at = place(engine);
    let restart_by = engine.optional("restart_by", restart_by);
    if !engine.has("external") {
        engine.refuse("restart_by", "is for engines that others run", "write `external`, or leave it out");
        return None;
    }
    for (key, why) in OF_A_START {
        engine.refuse(key, why, LEAVE_OUT);
    }
    if engine.optional("overlap", text).as_deref() == Some("probe") {
        let what = "= \"probe\" is for engines that mpswarden starts: the kernel probe is loaded at the start";
        engine.refuse("overlap", what, LEAVE_OUT);
    }
    let external = External { at: at?, restart_by: restart_by.unwrap_or_default() };
    who_acts(engine, &external);
    Some(external)
}

/// What can't be done for an engine that is found like this.
fn who_acts(engine: &Section<'_, '_>, external: &External) {
    let user = engine.optional("user", text);
    let (at, key) = (&external.at, external.at.key());
    if user.is_none() && !engine.has("user") && !at.has_a_supervisor() {
        let hint = format!("`user` says whose processes {key} may lead to: no other one's are taken for the engine");
        engine.missing("`user` is missing", &hint);
    }
    match external.restart_by {
        RestartBy::Supervisor if !at.has_a_supervisor() => engine.refuse(
            "restart_by",
            &format!("= \"supervisor\" is for a systemd_unit or a container: {key} names nobody who can be asked"),
            "name its unit or its container, or write restart_by = { stop = [...], start = [...] }",
        ),
        RestartBy::Signal if user.as_deref() == Some("root") => engine.refuse(
            "restart_by",
            "= \"signal\" is not for processes of root: they are never signalled",
            "let it run as another user, or write \"supervisor\" or { stop = [...], start = [...] }",
        ),
        RestartBy::Signal if user.is_none() && !engine.has("user") => engine.refuse(
            "restart_by",
            "= \"signal\" needs the engine's `user`: no other one's processes are signalled",
            "write user = \"...\"",
        ),
        RestartBy::Nobody | RestartBy::Signal | RestartBy::Supervisor | RestartBy::Commands { .. } => {}
    }
}

fn place(engine: &Section<'_, '_>) -> Option<ExternalAt> {
    let table = engine.table("external");
    let ways = [
        table.optional("systemd_unit", unit).map(ExternalAt::SystemdUnit),
        table.optional("container", container).map(ExternalAt::Container),
        table.optional("cgroup", cgroup).map(ExternalAt::Cgroup),
        table.optional("pid_file", values::path).map(ExternalAt::PidFile),
        table.optional("command_matches", pattern).map(ExternalAt::CommandMatches),
    ];
    let keys = ["systemd_unit", "container", "cgroup", "pid_file", "command_matches"];
    let named: Vec<&&str> = keys.iter().filter(|key| table.has(key)).collect();
    if engine.has("external") && named.is_empty() {
        table.missing(
            "`external` names nothing",
            "external = { systemd_unit = \"vllm@a.service\" }, or one of its other keys",
        );
    }
    if let [_, second, ..] = named.as_slice() {
        table.refuse(second, "is one place too many", "an engine is found in one way: name one of them");
    }
    table.finish();
    ways.into_iter().flatten().next()
}

/// The word for it, or commands.
pub(super) fn restart_by(value: &DeValue<'_>) -> Reading<RestartBy> {
    if let Some(word) = value.as_str() {
        if let Some((_, known)) = WORDS.iter().find(|(known, _)| *known == word) {
            return Ok(known.clone());
        }
        let hint = match nearest(word, WORDS.iter().map(|(known, _)| *known)) {
            Some(known) => format!("did you mean \"{known}\"?"),
            None => "\"supervisor\", \"signal\", \"nobody\", or { stop = [...], start = [...] }".to_owned(),
        };
        return wrong(format!("can't be {word:?}"), hint);
    }
    let Some(table) = value.as_table() else {
        return wrong(format!("is {}", kind(value)), "write a word, or { stop = [...], start = [...] }");
    };
    let command = |key: &str| -> Option<Vec<String>> {
        let words = table.get(key)?.get_ref().as_array()?.iter().map(|word| word.get_ref().as_str().map(str::to_owned));
        let words: Option<Vec<String>> = words.collect();
        words.filter(|words| words.first().is_some_and(|program| !program.is_empty()))
    };
    match (command("stop"), command("start"), table.len()) {
        (Some(stop), Some(start), 2) => Ok(RestartBy::Commands { stop, start }),
        _ => wrong("has not exactly the commands `stop` and `start`", "{ stop = [\"program\", ...], start = [...] }"),
    }
}

/// Through whom the control daemon of others is restarted: its processes are root's, and never signalled.
pub(super) fn restart_of_the_daemon(mps: &Section<'_, '_>, run_by: RunBy) -> RestartBy {
    let given = mps.optional("restart_by", restart_by).unwrap_or_default();
    if run_by == RunBy::Us {
        mps.refuse(
            "restart_by",
            "is for a control daemon that others run",
            "write control = \"attach\", or leave it out",
        );
    } else if given == RestartBy::Signal {
        let hint = "write \"supervisor\", or { stop = [...], start = [...] }";
        mps.refuse("restart_by", "= \"signal\" is not for a control daemon, which is never signalled", hint);
    }
    given
}

/// The name of a unit, with its ending.
fn unit(value: &DeValue<'_>) -> Reading<String> {
    let unit = text(value)?;
    let fine = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    let ends = [".service", ".scope"].iter().any(|ending| unit.len() > ending.len() && unit.ends_with(ending));
    match ends && unit.len() < 256 && unit.chars().all(fine) && !unit.starts_with('-') {
        true => Ok(unit),
        false => wrong(format!("is not the name of a unit: {unit:?}"), "with its ending, as in \"vllm@a.service\""),
    }
}

/// The name or the id of a container.
fn container(value: &DeValue<'_>) -> Reading<String> {
    let name = text(value)?;
    let fine = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    match name.len() < 256 && name.chars().all(fine) && !name.starts_with(['-', '.']) {
        true => Ok(name),
        false => wrong(format!("is not the name of a container: {name:?}"), "as `docker ps` or `podman ps` shows it"),
    }
}

/// The path of a cgroup, below the root.
fn cgroup(value: &DeValue<'_>) -> Reading<String> {
    let path = values::path(value)?;
    match path.components().count() {
        0 | 1 => wrong("is the root, which holds every process", "name the engine's own cgroup"),
        _ => Ok(path.display().to_string()),
    }
}

fn pattern(value: &DeValue<'_>) -> Reading<String> {
    let pattern = text(value)?;
    match command_pattern(&pattern) {
        Ok(_) => Ok(pattern),
        Err(why) => wrong(format!("is no regular expression: {why}"), "as in \"vllm serve .* --port 8001\""),
    }
}
