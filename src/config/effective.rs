//! Writes a configuration as TOML with every default filled in. Pure; hides nothing.

use std::fmt::Display;
use std::path::Path;
use std::time::Duration;

use toml::Value;

use super::configuration::{Configuration, EngineConfiguration, GpuChoice, GroupConfiguration, RunBy};
use super::discover;
use super::units::{write_duration, write_size};
use crate::decide::policy::{
    CleanEnd, IsolationMode, IsolationPolicy, Quarantine, RecoveryPolicy, Spread, StartOrder, UnknownClients, WhenSpent,
};
use crate::model::{Baseline, BaselineSource, RestartBy};

impl Configuration {
    /// The whole configuration as TOML that reads back as the same.
    pub fn effective(&self) -> String {
        let mut out = Lines::default();
        out.line("nvml_library", text(&self.nvml_library));
        out.line("kernel_log", path(&self.kernel_log));
        out.line("state_directory", path(&self.state_directory));
        out.header("[web]");
        out.line("listen_addresses", list(self.web.listen_addresses.iter()));
        if !self.hooks.is_empty() {
            out.header("[hooks]");
        }
        for (hook, command) in &self.hooks {
            out.line(hook.as_str(), list(command.iter()));
        }
        discover::write(&mut out, &self.discover);
        for configuration in &self.groups {
            group(&mut out, configuration);
        }
        out.0
    }
}

#[derive(Default)]
pub(super) struct Lines(String);

impl Lines {
    pub(super) fn header(&mut self, header: &str) {
        self.0.push_str(&format!("\n{header}\n"));
    }

    pub(super) fn line(&mut self, key: &str, value: impl Display) {
        self.0.push_str(&format!("{key} = {value}\n"));
    }

    pub(super) fn some(&mut self, key: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.line(key, value);
        }
    }
}

pub(super) fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

pub(super) fn path(path: &Path) -> Value {
    Value::String(path.display().to_string())
}

pub(super) fn length(length: Duration) -> Value {
    Value::String(write_duration(length))
}

fn bytes(bytes: u64) -> Value {
    Value::String(write_size(bytes))
}

pub(super) fn list(items: impl Iterator<Item = impl ToString>) -> Value {
    Value::Array(items.map(|item| Value::String(item.to_string())).collect())
}

/// One GPU by itself, several as a list.
fn gpus(choices: &[GpuChoice]) -> Value {
    let one = |choice: &GpuChoice| match choice {
        GpuChoice::Uuid(uuid) => text(uuid.as_str()),
        GpuChoice::Index(index) => Value::Integer(i64::from(*index)),
    };
    match choices {
        [only] => one(only),
        all => Value::Array(all.iter().map(one).collect()),
    }
}

fn group(out: &mut Lines, group: &GroupConfiguration) {
    out.header("[[group]]");
    out.line("name", text(group.name.as_str()));
    out.line("gpu", gpus(&group.gpus));
    out.line("mode", text(group.mode.as_str()));
    let spread = match group.spread {
        Spread::Wait => "wait",
        Spread::RestartAll => "restart_all",
    };
    out.line("spread", text(spread));
    out.header("[group.mps]");
    out.line("binary", path(&group.mps.binary));
    out.line("control", text(group.mps.run_by.as_str()));
    out.line("pipe_directory", path(&group.mps.pipe_directory));
    out.line("log_directory", path(&group.mps.log_directory));
    if group.mps.run_by == RunBy::Others {
        out.line("restart_by", restart_by(&group.mps.restart_by));
    }
    out.line("gate", group.mps.gate);
    out.header("[group.policy]");
    for (fault, mode) in &group.faults {
        out.line(fault.as_str(), text(mode.as_str()));
    }
    let unknown_clients = match group.unknown_clients {
        UnknownClients::Report => "report",
        UnknownClients::KillOnFault => "kill_on_fault",
    };
    out.line("unknown_clients", text(unknown_clients));
    isolation(out, group.isolation);
    overlap(out, group);
    recovery(out, &group.recovery);
    for configuration in &group.engines {
        engine(out, configuration);
        given_baselines(out, group, configuration);
    }
}

fn isolation(out: &mut Lines, isolation: IsolationPolicy) {
    let mode = match isolation.mode {
        IsolationMode::Enforce => "enforce",
        IsolationMode::Observe => "observe",
        IsolationMode::Off => "off",
    };
    let quarantine = match isolation.quarantine {
        Quarantine::Apart => "apart",
        Quarantine::Outside => "outside",
        Quarantine::Stopped => "stopped",
    };
    out.header("[group.isolation]");
    out.line("mode", text(mode));
    out.line("window", length(isolation.window));
    out.line("quarantine", text(quarantine));
}

fn overlap(out: &mut Lines, group: &GroupConfiguration) {
    let overlap = &group.overlap;
    out.header("[group.overlap]");
    out.line("window", length(overlap.window));
    out.line("period", length(overlap.period));
    out.line("baselines", path(&group.baselines));
    let studied = overlap.baselines.iter().filter(|baseline| baseline.source == BaselineSource::Study).count();
    if studied > 0 {
        out.0.push_str(&format!("# {studied} were read from it\n"));
    }
    out.line("low_gain", Value::Float(overlap.low_gain));
    out.some("most_slowdown", overlap.most_slowdown.map(Value::Float));
    out.line("advice_after", length(overlap.advice_after));
}

fn given_baselines(out: &mut Lines, group: &GroupConfiguration, engine: &EngineConfiguration) {
    let given = |baseline: &&Baseline| baseline.source == BaselineSource::Configured && baseline.engine == engine.name;
    for baseline in group.overlap.baselines.iter().filter(given) {
        out.header("[[group.engine.baseline]]");
        out.line("running", Value::Float(baseline.running));
        out.line("prompt_tokens", Value::Float(baseline.prompt_tokens));
        out.line("generation_tokens", Value::Float(baseline.generation_tokens));
        out.line("tokens_per_second", Value::Float(baseline.tokens_per_second));
    }
}

fn recovery(out: &mut Lines, recovery: &RecoveryPolicy) {
    let when_spent = match recovery.when_spent {
        WhenSpent::Slow => "slow",
        WhenSpent::Hold => "hold",
    };
    let start = match recovery.start {
        StartOrder::Sequential => "sequential",
        StartOrder::Staggered => "staggered",
        StartOrder::Parallel => "parallel",
    };
    let backoff = &recovery.backoff;
    out.header("[group.recovery]");
    out.line("budget", recovery.budget);
    out.line("budget_window", length(recovery.budget_window));
    out.line("stable_after", length(recovery.stable_after));
    out.line("when_spent", text(when_spent));
    out.line("engine_budget", recovery.engine_budget);
    out.line("memory_timeout", length(recovery.memory_timeout));
    out.line("wedge_grace", length(recovery.wedge_grace));
    out.line("start_order", text(start));
    out.header("[group.recovery.backoff]");
    out.line("first", length(backoff.first));
    out.line("next", length(backoff.next));
    out.line("factor", Value::Float(backoff.factor));
    out.line("most", length(backoff.most));
    out.line("jitter", Value::Float(backoff.jitter));
}

/// What counts at the start of an engine.
fn started(out: &mut Lines, engine: &EngineConfiguration) {
    let environment = engine.environment.iter().map(|(name, value)| (name.clone(), text(value)));
    out.some("working_directory", engine.working_directory.as_deref().map(path));
    out.line("environment", Value::Table(environment.collect()));
    out.some("environment_file", engine.environment_file.as_deref().map(path));
    if !engine.gpus.is_empty() {
        out.line("gpu", gpus(&engine.gpus));
    }
    out.line("gpu_named_by", text(engine.gpu_named_by.as_str()));
}

/// What becomes of it at its end, and its limits.
fn limited(out: &mut Lines, engine: &EngineConfiguration) {
    out.line(
        "on_clean_end",
        text(match engine.on_clean_end {
            CleanEnd::Restart => "restart",
            CleanEnd::Stop => "stop",
        }),
    );
    out.some("sm_percentage", engine.sm_percentage.map(Value::Float));
    out.some("device_memory_limit", engine.device_memory_limit.map(bytes));
    out.line("overlap", text(if engine.probe { "probe" } else { "off" }));
    out.some("memory_max", engine.memory_max.map(bytes));
}

/// A word, or commands.
fn restart_by(restart_by: &RestartBy) -> Value {
    match restart_by {
        RestartBy::Nobody => text("nobody"),
        RestartBy::Signal => text("signal"),
        RestartBy::Supervisor => text("supervisor"),
        RestartBy::Commands { stop, start } => {
            let commands = [("stop", stop), ("start", start)];
            Value::Table(commands.map(|(key, words)| (key.to_owned(), list(words.iter()))).into_iter().collect())
        }
    }
}

fn engine(out: &mut Lines, engine: &EngineConfiguration) {
    out.header("[[group.engine]]");
    out.line("name", text(engine.name.as_str()));
    match &engine.external {
        None => out.line("command", list(engine.command.iter())),
        Some(external) => {
            let place = [(external.at.key().to_owned(), text(&external.at.value()))];
            out.line("external", Value::Table(place.into_iter().collect()));
            out.line("restart_by", restart_by(&external.restart_by));
        }
    }
    out.line("kind", text(engine.kind.as_str()));
    out.some("user", engine.user.as_deref().map(text));
    if engine.external.is_none() {
        started(out, engine);
    }
    out.line("url", text(&engine.url));
    out.line("health_path", text(&engine.health_path));
    out.line("health_timeout", length(engine.health_timeout));
    match &engine.metrics_url {
        Some(url) => out.line("metrics_url", text(&url.to_string())),
        None => out.line("metrics_path", text(&engine.metrics_path)),
    }
    out.line("probe_request", engine.probe_request);
    if engine.external.is_none() {
        limited(out, engine);
    }
    out.line("start_timeout", length(engine.start_timeout));
    out.line("drain_timeout", length(engine.drain_timeout));
    out.line("stop_timeout", length(engine.stop_timeout));
    out.line("hang_after", length(engine.hang_after));
    out.line("leak_after", length(engine.leak_after));
}
