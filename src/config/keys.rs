//! Every key of the file: its type, its default, whether it must be there. Reads text, touches nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use crate::decide::policy::{
    Backoff, CleanEnd, IsolationMode, IsolationPolicy, OverlapPolicy, Quarantine, RecoveryPolicy, Spread, StartOrder,
    UnknownClients, WhenSpent,
};
use crate::model::{Baseline, BaselineSource, EngineKind, EngineName, Fault, GpuUuid, Hook, Mode, Taken};

use super::check;
use super::configuration::{
    Configuration, DEFAULT_LISTEN, EngineConfiguration, GpuChoice, GpuNaming, GroupConfiguration, Hooks,
    MpsConfiguration, RunBy, Web,
};
use super::discover::discover;
use super::external;
use super::guess::{fixes_its_memory, guess_kind};
use super::problem::{Problem, Problems};
use super::reader::{Document, Reading, Section, wrong};
use super::values::{self, count, duration, integer, number, path, program, some_duration, text, word};

pub(super) const MODES: [(&str, Mode); 2] = [("enforce", Mode::Enforce), ("observe", Mode::Observe)];

const CLEAN_ENDS: [(&str, CleanEnd); 2] = [("restart", CleanEnd::Restart), ("stop", CleanEnd::Stop)];
const STARTS: [(&str, StartOrder); 3] =
    [("sequential", StartOrder::Sequential), ("parallel", StartOrder::Parallel), ("staggered", StartOrder::Staggered)];

/// The engines that are known, by the word that the file has for each.
pub(super) static KINDS: LazyLock<Vec<(&str, EngineKind)>> =
    LazyLock::new(|| EngineKind::ALL.iter().map(|kind| (kind.as_str(), *kind)).collect());
/// The control daemon's program where the configuration names no other.
pub const MPS_CONTROL: &str = "nvidia-cuda-mps-control";
/// NVML where the configuration names no other.
pub const DEFAULT_NVML_LIBRARY: &str = "libnvidia-ml.so.1";
/// Where a control daemon has its sockets unless it was told otherwise.
const PIPE_OF_OTHERS: &str = "/tmp/nvidia-mps";
/// Where it has its logs unless it was told otherwise.
pub const LOGS_OF_OTHERS: &str = "/var/log/nvidia-mps";
/// Least time after which growth of memory says something.
const SHORTEST_LEAK: Duration = Duration::from_secs(20);
/// CUDA names GPUs by it.
const VISIBLE: &str = "CUDA_VISIBLE_DEVICES";

/// What mpswarden itself puts into an engine's environment, and the key that it comes from.
const OWN_VARIABLES: [(&str, &str); 7] = [
    (VISIBLE, "set `gpu` of the group, or of the engine; for an engine that wants a number, gpu_named_by = \"index\""),
    ("CUDA_MPS_PIPE_DIRECTORY", "set `pipe_directory` of the group"),
    ("CUDA_MPS_LOG_DIRECTORY", "set `log_directory` of the group"),
    ("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", "set `sm_percentage`"),
    ("CUDA_MPS_PINNED_DEVICE_MEM_LIMIT", "set `device_memory_limit`"),
    ("CUDA_DEVICE_ORDER", "a group's GPUs are named by UUID"),
    ("MPSWARDEN_PROBE_SOCKET", "set `overlap = \"probe\"`"),
];

/// The configuration that `text` holds, or everything that is wrong with it. `file` is its name in
/// messages. Looks at the text alone: see [`super::load`] for what is on this machine.
pub fn parse(text: &str, file: &Path) -> Result<Configuration, Problems> {
    let (configuration, mistakes) = read_whole(text, file);
    Problems::or(file, mistakes, configuration)
}

/// The configuration as far as it can be read, with everything that is wrong with it: where a value is, its default
/// stands, or one that nothing else is said of.
pub(super) fn read_whole(text: &str, file: &Path) -> (Configuration, Vec<Problem>) {
    let (document, tree) = Document::parse(text, file);
    let mut configuration = whole(document.root(tree.get_ref()));
    let (places, mut mistakes, _) = document.finish();
    configuration.places = places;
    mistakes.extend(check::contradictions(&configuration));
    (configuration, mistakes)
}

/// Every key that the file may hold, as a dotted path: what its documentation must name.
pub fn known_keys() -> BTreeSet<String> {
    let (document, tree) = Document::parse("[[group]]\n[[group.engine]]\n[[group.engine.baseline]]\n", Path::new(""));
    whole(document.root(tree.get_ref()));
    document.finish().2
}

fn whole(root: Section) -> Configuration {
    let state_directory = root.optional("state_directory", path).unwrap_or_else(|| "/var/lib/mpswarden".into());
    let groups: Vec<_> = root.tables("group").into_iter().map(|section| group(section, &state_directory)).collect();
    let looked_for = root.table("discover");
    if groups.is_empty() && !root.has("group") && !looked_for.has("pipe_directories") {
        root.missing("no [[group]]", "a group is one GPU, one control daemon and its engines");
    }
    let configuration = Configuration {
        nvml_library: root.optional("nvml_library", text).unwrap_or_else(|| DEFAULT_NVML_LIBRARY.to_owned()),
        kernel_log: root.optional("kernel_log", path).unwrap_or_else(|| "/dev/kmsg".into()),
        state_directory,
        web: web(root.table("web")),
        hooks: hooks(root.table("hooks")),
        discover: discover(looked_for),
        groups,
        places: Default::default(),
    };
    root.finish();
    configuration
}

fn web(web: Section) -> Web {
    let listen_addresses = web.list("listen_addresses", |value| {
        let text = text(value)?;
        match values::listen_address(&text) {
            Some(address) => Ok(address),
            None => wrong(format!("is not an address: {text:?}"), "an IP address and a port: \"127.0.0.1:10677\""),
        }
    });
    if listen_addresses.as_ref().is_some_and(Vec::is_empty) {
        web.refuse("listen_addresses", "names no address", "leave the key out for 127.0.0.1:10677");
    }
    web.finish();
    Web { listen_addresses: listen_addresses.unwrap_or_else(|| vec![DEFAULT_LISTEN]) }
}

fn hooks(hooks: Section) -> Hooks {
    let mut commands = Hooks::new();
    for hook in Hook::ALL {
        let Some(command) = hooks.list(hook.as_str(), values::any_text) else { continue };
        if command.first().is_none_or(String::is_empty) {
            hooks.refuse(hook.as_str(), "names no program", "leave the key out for none");
        }
        commands.insert(*hook, command);
    }
    hooks.finish();
    commands
}

fn group(group: Section, state_directory: &Path) -> GroupConfiguration {
    let name = group.required("name", "name = \"small-llms\"", values::name).unwrap_or_default();
    let mode_hint = "choose: \"observe\" only says what it would do, \"enforce\" does it";
    let (faults, unknown_clients) = policy(group.table("policy"));
    let (engines, given): (Vec<_>, Vec<_>) = group.tables("engine").into_iter().map(engine).unzip();
    let (overlap, baselines) = overlap(group.table("overlap"), given.concat());
    let mps = mps(group.table("mps"), &name);
    if engines.is_empty() && !group.has("engine") && mps.run_by == RunBy::Us {
        group.missing("the group has no [[group.engine]]", "add the engines that share the GPU");
    }
    let gpus = group.required("gpu", "a UUID of nvidia-smi -L, an index, or a list of these", gpus);
    let gpus = gpus.unwrap_or_else(|| vec![GpuChoice::Index(0)]);
    let ours = mps.run_by == RunBy::Us && engines.iter().all(|engine| engine.external.is_none());
    let may_isolate = ours && gpus.len() == 1;
    let configuration = GroupConfiguration {
        gpus,
        mode: group.required("mode", mode_hint, |value| word(value, &MODES)).unwrap_or(Mode::Enforce),
        faults,
        unknown_clients,
        spread: spread(&group),
        isolation: isolation(group.table("isolation"), may_isolate),
        mps,
        overlap,
        baselines: baselines.unwrap_or_else(|| Configuration::default_baselines(state_directory, &name)),
        recovery: recovery(group.table("recovery"), &engines),
        engines,
        name: name.into(),
    };
    group.finish();
    configuration
}

/// One GPU, or a list of some.
fn gpus(value: &toml::de::DeValue<'_>) -> Reading<Vec<GpuChoice>> {
    let Some(list) = value.as_array() else { return Ok(vec![gpu(value)?]) };
    let mut all = Vec::new();
    for one in list.iter() {
        let one = gpu(one.get_ref())?;
        if all.contains(&one) {
            return wrong("names a GPU twice", "name each GPU once");
        }
        all.push(one);
    }
    if all.is_empty() { wrong("is empty", "name at least one GPU") } else { Ok(all) }
}

/// What a fault on some of the GPUs is to the engines on the others.
fn spread(group: &Section) -> Spread {
    let choices = [("wait", Spread::Wait), ("restart_all", Spread::RestartAll)];
    group.optional("spread", |value| word(value, &choices)).unwrap_or_default()
}

fn gpu(value: &toml::de::DeValue<'_>) -> Reading<GpuChoice> {
    if let Some(index) = integer(value).and_then(|index| u32::try_from(index).ok()) {
        return Ok(GpuChoice::Index(index));
    }
    match value.as_str() {
        Some(uuid) if uuid.starts_with("GPU-") => Ok(GpuChoice::Uuid(GpuUuid::from(uuid))),
        Some(uuid) if uuid.starts_with("MIG-") => wrong("is a MIG device", "not supported yet: name a whole GPU"),
        _ => wrong("is neither a UUID nor an index", "\"GPU-...\" of nvidia-smi -L, or an index without quotes"),
    }
}

fn mps(mps: Section, group: &str) -> MpsConfiguration {
    let ways = [RunBy::Us, RunBy::Others].map(|way| (way.as_str(), way));
    let run_by = mps.optional("control", |value| word(value, &ways)).unwrap_or_default();
    let usual = |ours: &str, others: &str| match run_by {
        RunBy::Us => PathBuf::from(ours).join(group),
        RunBy::Others => PathBuf::from(others),
    };
    let [pipe, log] = [usual("/run/mpswarden", PIPE_OF_OTHERS), usual("/var/log/mpswarden", LOGS_OF_OTHERS)];
    let configuration = MpsConfiguration {
        run_by,
        binary: mps.optional("binary", program).unwrap_or_else(|| MPS_CONTROL.into()),
        pipe_directory: mps.optional("pipe_directory", path).unwrap_or(pipe),
        log_directory: mps.optional("log_directory", path).unwrap_or(log),
        restart_by: external::restart_of_the_daemon(&mps, run_by),
        // In a directory of others there is nothing of ours unless that was asked for.
        gate: mps.optional("gate", values::boolean).unwrap_or(run_by == RunBy::Us),
    };
    mps.finish();
    configuration
}

fn policy(policy: Section) -> (BTreeMap<Fault, Mode>, UnknownClients) {
    let mode = |fault: &Fault| {
        // A hang is judged by load alone, and that newcomers hang was never measured: they are trusted once an operator says so.
        let observed = matches!(fault, Fault::Hang | Fault::NewcomersHang);
        let usual = if observed { Mode::Observe } else { Mode::Enforce };
        (*fault, policy.optional(fault.as_str(), |value| word(value, &MODES)).unwrap_or(usual))
    };
    let faults = Fault::ALL.iter().map(mode).collect();
    let choices = [("report", UnknownClients::Report), ("kill_on_fault", UnknownClients::KillOnFault)];
    let unknown_clients = policy.optional("unknown_clients", |value| word(value, &choices));
    policy.finish();
    (faults, unknown_clients.unwrap_or(UnknownClients::Report))
}

/// Isolation: off where others run the control daemon or an engine, and over several GPUs, unless the file says otherwise.
fn isolation(isolation: Section, may_isolate: bool) -> IsolationPolicy {
    let modes = [("enforce", IsolationMode::Enforce), ("observe", IsolationMode::Observe), ("off", IsolationMode::Off)];
    let quarantines =
        [("apart", Quarantine::Apart), ("outside", Quarantine::Outside), ("stopped", Quarantine::Stopped)];
    let usual = match may_isolate {
        true => IsolationPolicy::default(),
        false => IsolationPolicy { mode: IsolationMode::Off, ..IsolationPolicy::default() },
    };
    let configuration = IsolationPolicy {
        mode: isolation.optional("mode", |value| word(value, &modes)).unwrap_or(usual.mode),
        window: isolation.optional("window", some_duration).unwrap_or(usual.window),
        quarantine: isolation.optional("quarantine", |value| word(value, &quarantines)).unwrap_or(usual.quarantine),
    };
    isolation.finish();
    configuration
}

/// What is measured of sharing, and the file of baselines, where one is named.
fn overlap(overlap: Section, baselines: Vec<Baseline>) -> (OverlapPolicy, Option<PathBuf>) {
    let gain = |value: &_| number(value, "a number from 0 to 100", |number| (0.0..=100.0).contains(&number));
    let factor = |value: &_| number(value, "over 1, at most 1000", |number| number > 1.0 && number <= 1000.0);
    let usual = OverlapPolicy::default();
    let policy = OverlapPolicy {
        window: overlap.optional("window", window).unwrap_or(usual.window),
        period: overlap.optional("period", some_duration).unwrap_or(usual.period),
        baselines,
        low_gain: overlap.optional("low_gain", gain).unwrap_or(usual.low_gain),
        most_slowdown: overlap.optional("most_slowdown", factor),
        advice_after: overlap.optional("advice_after", some_duration).unwrap_or(usual.advice_after),
    };
    let file = overlap.optional("baselines", path);
    overlap.finish();
    (policy, file)
}

/// Memory is read once a second: less time has too few readings.
pub(super) fn leak_after(value: &toml::de::DeValue<'_>) -> Reading<Duration> {
    match duration(value)? {
        length if length >= SHORTEST_LEAK => Ok(length),
        _ => wrong("is too short to be judged", "at least 20s"),
    }
}

fn window(value: &toml::de::DeValue<'_>) -> Reading<Duration> {
    match duration(value)? {
        length if (10..=500).contains(&length.as_millis()) => Ok(length),
        _ => wrong("is too short or too long", "from 10ms to 500ms"),
    }
}

fn recovery(recovery: Section, engines: &[EngineConfiguration]) -> RecoveryPolicy {
    let spent = [("slow", WhenSpent::Slow), ("hold", WhenSpent::Hold)];
    let usual = RecoveryPolicy::default();
    let configuration = RecoveryPolicy {
        budget: recovery.optional("budget", |value| count(value, 0, 1000)).unwrap_or(usual.budget),
        budget_window: recovery.optional("budget_window", some_duration).unwrap_or(usual.budget_window),
        stable_after: recovery.optional("stable_after", some_duration).unwrap_or(usual.stable_after),
        when_spent: recovery.optional("when_spent", |value| word(value, &spent)).unwrap_or(usual.when_spent),
        backoff: backoff(recovery.table("backoff")),
        engine_budget: recovery.optional("engine_budget", |value| count(value, 1, 1000)).unwrap_or(usual.engine_budget),
        memory_timeout: recovery.optional("memory_timeout", some_duration).unwrap_or(usual.memory_timeout),
        wedge_grace: recovery.optional("wedge_grace", duration).unwrap_or(usual.wedge_grace),
        start: start(&recovery).unwrap_or_else(|| usual_start(engines)),
    };
    recovery.finish();
    configuration
}

/// Order of the starts, under its name or the older one, which is warned of.
fn start(recovery: &Section) -> Option<StartOrder> {
    if recovery.has("start") {
        recovery.refuse("start_order", "and `start` are one key", "write one of them");
        return recovery.optional("start", |value| word(value, &STARTS));
    }
    recovery.optional("start_order", |value| word(value, &STARTS))
}

/// Engines that measure free memory when they start must not start at once; of those that are not known that is not known either.
fn usual_start(engines: &[EngineConfiguration]) -> StartOrder {
    match !engines.is_empty() && engines.iter().all(|engine| fixes_its_memory(engine.kind, &engine.command)) {
        true => StartOrder::Parallel,
        false => StartOrder::Sequential,
    }
}

fn backoff(backoff: Section) -> Backoff {
    let usual = Backoff::default();
    let factor = |value: &_| number(value, "a number from 1 to 100", |number| (1.0..=100.0).contains(&number));
    let jitter = |value: &_| number(value, "a number from 0 to 1", |number| (0.0..=1.0).contains(&number));
    let configuration = Backoff {
        first: backoff.optional("first", duration).unwrap_or(usual.first),
        next: backoff.optional("next", some_duration).unwrap_or(usual.next),
        factor: backoff.optional("factor", factor).unwrap_or(usual.factor),
        most: backoff.optional("most", some_duration).unwrap_or(usual.most),
        jitter: backoff.optional("jitter", jitter).unwrap_or(usual.jitter),
    };
    backoff.finish();
    configuration
}

/// An engine, and the configuration's word on how fast it is alone.
fn engine(engine: Section) -> (EngineConfiguration, Vec<Baseline>) {
    let percentage = |value: &_| number(value, "over 0, at most 100", |number| number > 0.0 && number <= 100.0);
    let url_hint = "url = \"http://127.0.0.1:8001\", where its /health answers";
    let name = engine.required("name", "name = \"qwen-a\"", values::name).unwrap_or_default().into();
    let external = external::external(&engine);
    let command = command(&engine);
    let kind = engine.optional("kind", |value| word(value, &KINDS)).unwrap_or_else(|| guess_kind(&command));
    let mut environment = engine.map("environment", variable);
    let says_index = environment.remove(VISIBLE).is_some();
    if engine.has("metrics_url") {
        engine.refuse("metrics_path", "and `metrics_url` exclude each other", "write the path in metrics_url");
    }
    let or = |key, seconds, read: fn(&toml::de::DeValue<'_>) -> Reading<Duration>| {
        engine.optional(key, read).unwrap_or(Duration::from_secs(seconds))
    };
    let configuration = EngineConfiguration {
        name,
        command,
        external,
        kind,
        user: engine.optional("user", text),
        working_directory: engine.optional("working_directory", path),
        environment,
        environment_file: engine.optional("environment_file", path),
        gpus: engine.optional("gpu", gpus).unwrap_or_default(),
        gpu_named_by: gpu_named_by(&engine, kind, says_index),
        url: engine.required("url", url_hint, values::url).unwrap_or_default(),
        health_path: engine.optional("health_path", values::url_path).unwrap_or_else(|| "/health".to_owned()),
        health_timeout: or("health_timeout", 10, some_duration),
        metrics_path: engine
            .optional("metrics_path", values::url_path)
            .unwrap_or_else(|| values::METRICS_PATH.to_owned()),
        metrics_url: engine.optional("metrics_url", values::metrics_url),
        probe_request: engine.optional("probe_request", values::boolean).unwrap_or(false),
        on_clean_end: engine.optional("on_clean_end", |value| word(value, &CLEAN_ENDS)).unwrap_or_default(),
        sm_percentage: engine.optional("sm_percentage", percentage),
        device_memory_limit: engine.optional("device_memory_limit", values::size),
        probe: engine.optional("overlap", |value| word(value, &[("probe", true), ("off", false)])).unwrap_or(false),
        memory_max: engine.optional("memory_max", values::size),
        start_timeout: or("start_timeout", 600, some_duration),
        drain_timeout: or("drain_timeout", 60, duration),
        stop_timeout: or("stop_timeout", 30, duration),
        hang_after: or("hang_after", 120, some_duration),
        leak_after: or("leak_after", 180, leak_after),
    };
    let given =
        engine.tables("baseline").into_iter().filter_map(|given| baseline(given, &configuration.name)).collect();
    engine.finish();
    (configuration, given)
}

/// How CUDA_VISIBLE_DEVICES names the GPU. An environment that says "0" means the number.
fn gpu_named_by(engine: &Section, kind: EngineKind, says_index: bool) -> GpuNaming {
    let ways = [GpuNaming::Uuid, GpuNaming::Index].map(|way| (way.as_str(), way));
    let given = engine.optional("gpu_named_by", |value| word(value, &ways));
    if says_index && given == Some(GpuNaming::Uuid) {
        let what = "= \"uuid\" and CUDA_VISIBLE_DEVICES = \"0\" in `environment` exclude each other";
        engine.refuse("gpu_named_by", what, "leave one of them out");
    }
    let usual = if says_index { GpuNaming::Index } else { GpuNaming::of(kind) };
    given.unwrap_or(usual)
}

fn baseline(given: Section, engine: &EngineName) -> Option<Baseline> {
    let positive = |value: &_| number(value, "a number over 0", |number| number.is_finite() && number > 0.0);
    let tokens = |value: &_| number(value, "a number from 0 up", |number| number.is_finite() && number >= 0.0);
    let running = given.required("running", "requests that it works on at once: running = 8.0", positive);
    let prompt = given.required("prompt_tokens", "tokens of a prompt, on average: prompt_tokens = 512.0", tokens);
    let generation = given.required("generation_tokens", "generated for a request: generation_tokens = 128.0", tokens);
    let rate = given.required("tokens_per_second", "prompt and generated: tokens_per_second = 2600.0", positive);
    given.finish();
    Some(Baseline {
        engine: engine.clone(),
        running: running?,
        prompt_tokens: prompt?,
        generation_tokens: generation?,
        tokens_per_second: rate?,
        samples: 0,
        source: BaselineSource::Configured,
        taken: Taken::Unix(0),
    })
}

/// Program and arguments; none of an engine that others run.
fn command(engine: &Section) -> Vec<String> {
    if !engine.has("command") && !engine.has("external") {
        engine.missing("`command` is missing", "command = [\"vllm\", \"serve\", ...]");
    }
    let Some(command) = engine.list("command", values::any_text) else { return Vec::new() };
    if command.first().is_none_or(String::is_empty) && !engine.has("external") {
        engine.refuse("command", "names no program", "command = [\"program\", \"argument\", ...]");
    }
    command
}

fn variable(name: &str, value: &toml::de::DeValue<'_>) -> Reading<String> {
    if name.is_empty() || name.contains(['=', '\0']) {
        return wrong("is no name for a variable", "a name without = in it, as in HF_HOME");
    }
    // Of the GPUs that the control daemon shows an engine there is one.
    if name == VISIBLE && value.as_str() == Some("0") {
        return values::any_text(value);
    }
    if let Some((_, hint)) = OWN_VARIABLES.iter().find(|(own, _)| *own == name) {
        return wrong("is set by mpswarden", *hint);
    }
    values::any_text(value)
}
