//! Every metric there is, as data: its name, type, labels and help. A new metric begins with a row here.

/// One metric's promise to dashboards and alerts.
#[derive(Debug)]
pub struct Metric {
    /// Its row in `ALL`, from 0.
    pub row: usize,
    /// Name as scraped.
    pub name: &'static str,
    /// What a sample is.
    pub kind: Kind,
    /// Label names, in the order in which values are given.
    pub labels: &'static [&'static str],
    /// Help for people; without backslashes and line breaks, so that it needs no escapes.
    pub help: &'static str,
}

impl Metric {
    /// The base unit that its name promises, where it has one.
    pub fn unit(&self) -> Option<&'static str> {
        let name = self.name.strip_suffix("_total").unwrap_or(self.name);
        let units = [
            ("_timestamp_seconds", "seconds since 1970"),
            ("_start_time_seconds", "seconds since 1970"),
            ("_seconds", "seconds"),
            ("_bytes", "bytes"),
            ("_ratio", "0 to 1"),
        ];
        units.iter().find(|(suffix, _)| name.ends_with(suffix)).map(|(_, unit)| *unit)
    }
}

/// What a sample is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// It only grows, from the start of the watchdog.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Durations in seconds, with the upper bounds of the buckets.
    Histogram(&'static [f64]),
}

impl Kind {
    /// The exposition format's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        }
    }
}

/// Buckets for the time from a log line to a decision: 0.25 ms to 10 s.
const DETECTION: Kind = Kind::Histogram(&[
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
]);
/// A whole restart: a small engine's second to a large model's quarter of an hour.
const RECOVERY: Kind = Kind::Histogram(&[
    0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 180.0, 300.0, 600.0, 900.0,
]);
/// A step of it: a signal's millisecond to a model's load.
const STEP: Kind = Kind::Histogram(&[
    0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0,
    300.0, 900.0,
]);
/// A reading: NVML's 10 us to a command that hangs.
const READING: Kind = Kind::Histogram(&[
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
    0.5, 1.0, 2.5, 5.0, 10.0,
]);

/// Declares each row as a static of its own and all of them as `ALL`.
macro_rules! metrics {
    ($($id:ident = $kind:expr, $name:literal, [$($label:literal),*], $help:literal;)+) => {
        #[allow(non_camel_case_types, clippy::upper_case_acronyms, reason = "the rows' own names")]
        enum Row { $($id),+ }

        $(
            #[doc = $help]
            pub static $id: Metric =
                Metric { row: Row::$id as usize, name: $name, kind: $kind, labels: &[$($label),*], help: $help };
        )+

        /// Every row.
        pub static ALL: &[&Metric] = &[$(&$id),+];
    };
}

metrics! {
    // The watchdog itself.
    BUILD_INFO = Kind::Gauge, "mpswarden_build_info", ["version", "revision", "rustc"],
        "What is running; always 1.";
    NODE_INFO = Kind::Gauge, "mpswarden_node_info", ["node"],
        "The node that it runs on, by name: for alerts, whose instance is an address; always 1.";
    STATUS_TIMESTAMP = Kind::Gauge, "mpswarden_status_timestamp_seconds", [],
        "When the core loop last published its status; a scrape fails once it is over 30 s old.";
    RELOAD_SUCCESSFUL = Kind::Gauge, "mpswarden_config_last_reload_successful", [],
        "Whether the last reading of the configuration was applied; 0: the one before it stays in force.";
    RELOAD_SUCCESS_TIME = Kind::Gauge, "mpswarden_config_last_reload_success_timestamp_seconds", [],
        "When a configuration was last applied; at first the start of the watchdog.";
    HOOK_RUNS = Kind::Counter, "mpswarden_hook_runs_total", ["hook", "result"],
        "Runs of the configured hooks, by how they ended: ok, failed, timeout, dropped.";
    INCIDENT_WRITES = Kind::Counter, "mpswarden_incident_writes_total", ["result"],
        "Writings of incidents to disk, by how they ended: ok; failed, to be tried again; dropped, since too many wait.";
    SOURCE_UP = Kind::Gauge, "mpswarden_source_up", ["source", "group", "engine", "gpu", "domain"],
        "Whether what the source shows is known; no sample while it is not asked for, as of what is down on purpose. domain: main, or isolation while a second MPS server runs.";
    SOURCE_STATE = Kind::Gauge, "mpswarden_source_state", ["source", "group", "engine", "gpu", "domain", "state"],
        "How a source stands: it answers, is silent, is not understood, or is not asked, since it is not needed \
         or the watchdog itself can't ask. Only silence is ever evidence about the other side.";
    SOURCE_LAST_SUCCESS = Kind::Gauge, "mpswarden_source_last_success_timestamp_seconds",
        ["source", "group", "engine", "gpu", "domain"], "When the source last answered.";
    SOURCE_DURATION = READING, "mpswarden_source_duration_seconds", ["source"],
        "How long readings took.";
    PROCESS_CPU = Kind::Counter, "process_cpu_seconds_total", [],
        "User and system CPU time of the watchdog.";
    PROCESS_RESIDENT = Kind::Gauge, "process_resident_memory_bytes", [],
        "Resident memory of the watchdog.";
    PROCESS_VIRTUAL = Kind::Gauge, "process_virtual_memory_bytes", [],
        "Virtual memory of the watchdog.";
    PROCESS_OPEN_FDS = Kind::Gauge, "process_open_fds", [], "Open file descriptors of the watchdog.";
    PROCESS_MAX_FDS = Kind::Gauge, "process_max_fds", [], "File descriptors that the watchdog may open.";
    PROCESS_THREADS = Kind::Gauge, "process_threads", [], "Threads of the watchdog.";
    PROCESS_START_TIME = Kind::Gauge, "process_start_time_seconds", [], "When the watchdog was started.";

    // What there is, to join with.
    GROUP_INFO = Kind::Gauge, "mps_group_info", ["group", "gpu", "uuid", "mode", "managed_by"],
        "The group's GPU, whether the watchdog acts (enforce) or only reports (observe), and who runs its control daemon (mpswarden or others); always 1.";
    GPU_INFO = Kind::Gauge, "mps_gpu_info",
        ["gpu", "uuid", "pci_bus_id", "name", "driver_version", "mps_dialect", "simulated"],
        "Which GPU it is, its driver, the first driver branch whose MPS daemon speaks as this one does, and whether it is simulated (true or false); always 1.";
    ENGINE_INFO = Kind::Gauge, "mps_engine_info",
        ["group", "engine", "model_name", "endpoint", "main_pid", "client_pid", "kind", "managed_by", "pod", "namespace", "container"],
        "The engine's processes, where it is reached, which program it is and who runs it; several client pids are joined by commas; always 1.";

    // The control daemon and its server.
    CONTROL_UP = Kind::Gauge, "mps_control_up", ["group"],
        "Whether the MPS control daemon lives and answers; no sample while that is unknown, or while it is down on purpose.";
    CONTROL_COMMANDS = Kind::Counter, "mps_control_commands_total", ["group", "result"],
        "Commands to the MPS control daemon, by how they ended.";
    SERVER_STATE = Kind::Gauge, "mps_server_state", ["group", "state"],
        "1 for the MPS server's state.";
    SERVER_STARTS = Kind::Counter, "mps_server_starts_total", ["group"], "MPS servers seen to start.";
    SERVER_START_TIME = Kind::Gauge, "mps_server_start_time_seconds", ["group"],
        "When the MPS server was first seen; no sample while there is none.";
    CLIENTS = Kind::Gauge, "mps_clients", ["group"], "Clients of the group's MPS server.";
    CLIENTS_LIMIT = Kind::Gauge, "mps_clients_limit", ["group"], "Clients that the MPS server takes.";
    UNKNOWN_CLIENTS = Kind::Gauge, "mps_unknown_clients", ["group"],
        "Clients of the MPS server that no engine of the group owns.";

    // Groups and their recovery.
    GROUP_STATE = Kind::Gauge, "mps_group_state", ["group", "state"], "1 for the group's state.";
    GROUP_GENERATION = Kind::Gauge, "mps_group_generation", ["group"],
        "Starts of the whole group so far.";
    RECOVERY_STEP = Kind::Gauge, "mps_recovery_step", ["group", "step"],
        "1 for the step that the group's recovery is in; all 0 when there is none.";
    GROUP_HELD = Kind::Gauge, "mps_group_held", ["group", "reason"],
        "1 for the reason why the group waits for new facts or a person; all 0 when it does not.";
    ACTION_NEEDED = Kind::Gauge, "mps_action_needed", ["group", "by", "action"],
        "1 while somebody must do this before the group can go on as it should: an operator of mpswarden, or an administrator of the node.";
    HOLD_BEGAN = Kind::Gauge, "mps_group_hold_timestamp_seconds", ["group"],
        "When an operator's hold on the group began; no sample while there is none.";
    HOLD_UNTIL = Kind::Gauge, "mps_group_hold_until_timestamp_seconds", ["group"],
        "When the operator's hold on the group ends; no sample while there is none, or it has no end.";
    ACTIONS_SUPPRESSED = Kind::Counter, "mps_actions_suppressed_total", ["group", "action", "reason"],
        "What would have been done and was not.";
    ISOLATIONS = Kind::Counter, "mps_isolations_total", ["group", "result"],
        "Searches for the engine whose faults repeat that ended, by how.";
    ISOLATION_ACTIVE = Kind::Gauge, "mps_isolation_active", ["group"],
        "1 while the engine whose faults repeat is searched for; 0: it is not.";
    ISOLATION_SECONDS = Kind::Counter, "mps_isolation_seconds_total", ["group"],
        "Time with engines serving on both MPS servers of the group, since suspects or a guilty one run isolated.";
    ISOLATION_TIME_SLICED = Kind::Counter, "mps_isolation_time_sliced_seconds_total", ["group"],
        "Of it, time with requests in flight on both: the two servers share the GPU by time slices, without overlap.";
    RESTARTS = Kind::Counter, "mps_restarts_total", ["group", "engine", "tier", "reason"],
        "Restarts begun, by how far they go and why; engine is empty for whole groups.";
    RECOVERIES = Kind::Counter, "mps_recoveries_total", ["group", "tier", "result"],
        "Restarts ended, by their result.";
    RECOVERY_SECONDS = RECOVERY, "mps_recovery_seconds", ["group", "tier"],
        "From the decision to restart until it is over.";
    RECOVERY_STEP_SECONDS = STEP, "mps_recovery_step_seconds", ["group", "step"],
        "How long the steps of whole-group restarts took.";
    BUDGET_REMAINING = Kind::Gauge, "mps_restart_budget_remaining", ["group"],
        "Whole-group restarts left in the budget's window.";

    // Faults.
    FAULTS = Kind::Counter, "mps_faults_total", ["group", "engine", "fault"],
        "Faults begun; engine is empty for faults of the whole group.";
    FAULT_LAST = Kind::Gauge, "mps_fault_last_timestamp_seconds", ["group", "engine", "fault"],
        "When the fault last began.";
    FAULT_ACTIVE = Kind::Gauge, "mps_fault_active", ["group", "engine", "fault"],
        "1 while the fault is there.";
    FAULT_DETECTION = DETECTION, "mps_fault_detection_seconds", ["group", "fault"],
        "From the evidence's own time to the decision.";

    // Engines.
    ENGINE_STATE = Kind::Gauge, "mps_engine_state", ["group", "engine", "state"],
        "1 for the engine's state.";
    ENGINE_ISOLATED = Kind::Gauge, "mps_engine_isolated", ["group", "engine", "isolation"],
        "1 for what the search for the cause of repeated faults makes of the engine: none, suspect, apart, guilty.";
    ENGINE_ATTACHED = Kind::Gauge, "mps_engine_attached", ["group", "engine"],
        "1: all its GPU processes are clients of the group's server; 0: it runs outside MPS; no sample while unknown, or while it has nothing on the GPU.";
    ENGINE_DEVICE_MEMORY = Kind::Gauge, "mps_engine_device_memory_bytes", ["group", "engine"],
        "Device memory of the engine's whole process tree.";
    ENGINE_DEVICE_MEMORY_LIMIT = Kind::Gauge, "mps_engine_device_memory_limit_bytes", ["group", "engine"],
        "The engine's limit of device memory, where one is set.";
    ENGINE_SM_LIMIT = Kind::Gauge, "mps_engine_sm_limit_ratio", ["group", "engine"],
        "Share of the SMs that MPS lets the engine use, as its processes were really told; 1: all; no sample while unknown, or without a process.";
    ENGINE_UNAVAILABLE = Kind::Counter, "mps_engine_unavailable_seconds_total", ["group", "engine", "reason"],
        "Time in which the engine did not serve, or hung, by the fault that kept it out, operator, start, isolation, unknown or other. Time in which the watchdog was down is not in it.";
    ENGINE_TIME_TO_LIMIT = Kind::Gauge, "mps_engine_memory_time_to_limit_seconds", ["group", "engine"],
        "Until its device memory reaches its limit, or the GPU's end, as it grew lately; no sample while it does not grow.";
    ENGINE_RESIDENT = Kind::Gauge, "mps_engine_resident_memory_bytes", ["group", "engine"],
        "Host memory of the engine's whole process tree.";
    ENGINE_CPU = Kind::Counter, "mps_engine_cpu_seconds_total", ["group", "engine"],
        "User and system CPU time of all the engine's processes that were seen.";
    REQUESTS_RUNNING = Kind::Gauge, "mps_engine_requests_running", ["group", "engine"],
        "Requests that the engine works on, as the engine reports it; no sample while unknown.";
    REQUESTS_WAITING = Kind::Gauge, "mps_engine_requests_waiting", ["group", "engine"],
        "Requests in the engine's queue, as the engine reports it; no sample while unknown.";
    KV_CACHE = Kind::Gauge, "mps_engine_kv_cache_usage_ratio", ["group", "engine"],
        "Share of the engine's KV cache in use, as the engine reports it; no sample while unknown.";
    TOKENS = Kind::Counter, "mps_engine_tokens_total", ["group", "engine", "kind"],
        "Prompt and generation tokens since the engine's start, as the engine reports it; no sample while unknown.";
    ENGINE_EXITS = Kind::Counter, "mps_engine_exits_total", ["group", "engine", "cause"],
        "Ends of the engine's main process, by cause.";
    EVIDENCE_REFUTED = Kind::Counter, "mps_evidence_refuted_total", ["group", "engine", "code", "how"],
        "Error lines of the engine's output that no fact confirmed: refuted by facts, or undecided for a minute; nothing followed from them.";
    ENGINE_UNKNOWN = Kind::Gauge, "mps_engine_unknown", ["group", "engine", "question"],
        "Whether something of a serving engine can't be known; the status says why.";

    // How engines share a GPU.
    LOAD_IMBALANCE = Kind::Gauge, "mps_load_imbalance_ratio", ["group"],
        "How unevenly requests, running and waiting, lie on the serving engines: 0 evenly, 1 all on one.";
    ENGINES_ACTIVE = Kind::Counter, "mps_engines_active_seconds_total", ["group", "active"],
        "Time with exactly so many engines having requests in flight; times with an unknown load are not in it.";
    KERNEL_CONCURRENCY = Kind::Counter, "mps_kernel_concurrency_seconds_total", ["group", "clients"],
        "Sampled time with kernels of exactly so many clients on the GPU, by the kernel probe.";
    KERNEL_BUSY = Kind::Counter, "mps_engine_kernel_busy_seconds_total", ["group", "engine"],
        "Sampled time with a kernel of the engine on the GPU, by the kernel probe.";
    PROBE_SAMPLED = Kind::Counter, "mps_probe_sampled_seconds_total", ["group"],
        "Time that the kernel probe sampled.";
    PROBE_STATE = Kind::Gauge, "mps_engine_probe_state", ["group", "engine", "state"],
        "1 for what the engine's kernel probe does: off, waiting, working, unavailable; only in groups that have one.";
    THROUGHPUT_GAIN = Kind::Gauge, "mps_throughput_gain", ["group"],
        "Sum over the engines of their rate together by their rate alone: 1, sharing brings nothing; n, n engines at full speed; no sample without a baseline at like load.";
    SLOWDOWN = Kind::Gauge, "mps_engine_slowdown_factor", ["group", "engine"],
        "The engine's rate alone by its rate together, at like load; no sample without a baseline at like load.";
    BASELINE_TIME = Kind::Gauge, "mps_baseline_timestamp_seconds", ["group", "engine"],
        "When the engine's rate alone was measured, by the newest of its baselines.";
    BASELINE_SAMPLES = Kind::Gauge, "mps_baseline_samples", ["group", "engine"],
        "Measurements behind the newest of the engine's baselines; 0: the configuration's word.";
    BASELINE_INFO = Kind::Gauge, "mps_baseline_info", ["group", "engine", "source"],
        "Where the newest of the engine's baselines is from: configured, study, learnt; always 1.";
    SHARING_ADVICE = Kind::Gauge, "mps_sharing_advice_active", ["group", "engine", "reason"],
        "1 while sharing the GPU has not paid for long: low_gain, of the group (engine is empty); slowdown, of an engine; no sample without a baseline.";

    // GPUs.
    XID_ERRORS = Kind::Counter, "mps_gpu_xid_errors_total", ["gpu", "xid"],
        "Xids that the driver reported; gpu is empty where the line named none that is known.";
    XID_LAST = Kind::Gauge, "mps_gpu_xid_last_timestamp_seconds", ["gpu", "xid"],
        "When the driver last reported the Xid.";
    GPU_RECOVERY_ACTION = Kind::Gauge, "mps_gpu_recovery_action", ["gpu", "action"],
        "1 for what the driver wants done to the GPU.";
    GPU_MEMORY_USED = Kind::Gauge, "mps_gpu_memory_used_bytes", ["gpu"], "Device memory in use.";
    GPU_MEMORY_TOTAL = Kind::Gauge, "mps_gpu_memory_total_bytes", ["gpu"], "Device memory there is.";
    GPU_BUSY = Kind::Gauge, "mps_gpu_busy_ratio", ["gpu"],
        "Share of time in which any kernel ran, as NVML averages it.";
    GPU_SM_ACTIVE = Kind::Gauge, "mps_gpu_sm_active_ratio", ["gpu"],
        "Share of time in which an SM had a warp, over all SMs, by GPM.";
    GPU_SM_OCCUPANCY = Kind::Gauge, "mps_gpu_sm_occupancy_ratio", ["gpu"],
        "Share of the warps that fit on the SMs, by GPM.";
    GPU_DRAM_ACTIVE = Kind::Gauge, "mps_gpu_dram_active_ratio", ["gpu"],
        "Share of time in which the device memory was read or written, by GPM.";
    GPU_TENSOR_ACTIVE = Kind::Gauge, "mps_gpu_tensor_active_ratio", ["gpu"],
        "Share of time in which the tensor cores worked, by GPM.";
    FOREIGN_PROCESSES = Kind::Gauge, "mps_foreign_processes", ["gpu"],
        "Processes proven to compute on the GPU and to belong to no group (two readings, and a fresh look at all engines' processes); no sample while unknown.";
    GPU_COMPUTE_MODE = Kind::Gauge, "mps_gpu_compute_mode", ["gpu", "mode"],
        "1 for the GPU's compute mode.";
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::collections::BTreeMap;

    use super::{ALL, Kind, Metric};

    /// A name as the interface promises it.
    struct Promise {
        labels: Vec<String>,
        types: String,
    }

    /// Every name in the interface's table. `{...}` repeats the labels of the name before it; a name
    /// without braces has the labels of which the row's meaning says "by".
    fn promises() -> BTreeMap<String, Promise> {
        let table = include_str!("../../../tests/fixtures/metrics.md");
        table.lines().skip(2).flat_map(promises_of_row).collect()
    }

    fn promises_of_row(row: &str) -> Vec<(String, Promise)> {
        // A `|` between cells only: no metric's cell has one inside.
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let (names, types, meaning) = (cells[1], cells[2], cells[3]);
        let by = labels_in_words(meaning);
        let mut before: Vec<String> = Vec::new();
        let mut promises = Vec::new();
        for name in names.split('`').skip(1).step_by(2) {
            let (name, labels) = match name.split_once('{') {
                Some((name, "...}")) => (name, before.clone()),
                Some((name, labels)) => (name, all_labels(&by, split(labels.trim_end_matches('}')))),
                None => (name, by.clone()),
            };
            before.clone_from(&labels);
            promises.push((name.to_owned(), Promise { labels, types: types.to_owned() }));
        }
        promises
    }

    /// Braces either name every label or add to those of the meaning.
    fn all_labels(by: &[String], named: Vec<String>) -> Vec<String> {
        if by.iter().any(|label| named.contains(label)) { named } else { [by, &named].concat() }
    }

    fn labels_in_words(meaning: &str) -> Vec<String> {
        if meaning.starts_with("by group and engine") || meaning.starts_with("read from the engine") {
            split("group,engine")
        } else if meaning.starts_with("by gpu") {
            split("gpu")
        } else {
            Vec::new()
        }
    }

    fn split(labels: &str) -> Vec<String> {
        labels.split(',').map(str::to_owned).collect()
    }

    /// Rows beyond the promised ones.
    const MORE: &[&str] = &[
        "mpswarden_config_last_reload_success_timestamp_seconds",
        "mpswarden_hook_runs_total",
        "mpswarden_incident_writes_total",
        "mpswarden_source_state",
        "mpswarden_node_info",
        "mps_group_hold_timestamp_seconds",
        "mps_group_hold_until_timestamp_seconds",
        "mps_isolations_total",
        "mps_isolation_active",
        "mps_isolation_seconds_total",
        "mps_isolation_time_sliced_seconds_total",
        "mps_engine_isolated",
        "mps_engine_probe_state",
        "mps_engine_unknown",
        "mps_baseline_samples",
        "mps_baseline_info",
        "mps_sharing_advice_active",
    ];

    fn row(name: &str) -> Option<&'static Metric> {
        ALL.iter().copied().find(|metric| metric.name == name)
    }

    #[test]
    fn every_promise_is_kept_with_its_type_and_labels() {
        for (name, promise) in promises().into_iter().filter(|(name, _)| name != "process_*") {
            let metric = row(&name).unwrap_or_else(|| panic!("{name} has no row"));
            assert!(promise.types.contains(metric.kind.as_str()), "{name}: {}", promise.types);
            assert_eq!(metric.labels, promise.labels, "{name}");
        }
    }

    #[test]
    fn every_row_is_promised_or_named_here() {
        let promises = promises();
        for metric in ALL.iter().filter(|metric| !metric.name.starts_with("process_")) {
            assert!(promises.contains_key(metric.name) != MORE.contains(&metric.name), "{}", metric.name);
        }
    }

    #[test]
    fn rows_know_their_place() {
        assert!(ALL.iter().enumerate().all(|(place, metric)| metric.row == place));
    }

    #[test]
    fn names_follow_the_conventions_of_the_field() {
        for metric in ALL {
            let name = metric.name;
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
            assert_eq!(name.ends_with("_total"), metric.kind == Kind::Counter, "{name}: counters end in _total");
            assert!(!name.contains("_milli") && !name.contains("percent"), "{name}: base units");
            assert!(!metric.help.is_empty() && metric.help.ends_with('.'), "{name}: help is a sentence");
            assert!(!metric.help.contains(['\\', '\n']), "{name}: help needs no escapes");
            if !name.ends_with("_info") {
                let long_lived = ["pid", "uuid", "command", "path"];
                assert!(!metric.labels.iter().any(|label| long_lived.contains(label)), "{name}: {:?}", metric.labels);
            }
            assert!(!metric.labels.contains(&"le"), "{name}");
        }
    }

    #[test]
    fn no_name_has_two_rows() {
        let mut names: Vec<&str> = ALL.iter().map(|metric| metric.name).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn buckets_rise_and_are_named_in_seconds() {
        for metric in ALL {
            if let Kind::Histogram(bounds) = metric.kind {
                assert!(bounds.windows(2).all(|pair| pair[0] < pair[1]), "{}", metric.name);
                assert!(metric.name.ends_with("_seconds"), "{}", metric.name);
            }
        }
    }
}
