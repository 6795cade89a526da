//! An engine for programs, with its load and what it costs to share the GPU.

use schemars::JsonSchema;
use serde::Serialize;

use super::machine::ProcessDocument;
use super::times::{Wall, finite, rfc3339, seconds};
use super::word::Word;
use crate::model::{
    Baseline, BaselineSource, ContainerName, Doubt, EngineIsolation, EngineKind, EngineLoad, EngineSharing,
    EngineState, EngineStatus, ManagedBy, ProbeState, Question, Taken, Unknown,
};

/// One engine.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "Engine")]
pub(super) struct EngineDocument {
    /// Its name, unique within its group.
    name: String,
    /// Where it answers HTTP: `http://host:port`, `https://host:port` or `unix:/path`.
    address: String,
    /// Who starts and stops it.
    managed_by: Word<ManagedBy>,
    /// What those who run it call its container; null: it is in none, or that is not known.
    container: Option<ContainerDocument>,
    /// Which program it is.
    kind: Word<EngineKind>,
    /// How the engine stands.
    state: Word<EngineState>,
    /// Why it does not serve, in words.
    note: Option<String>,
    /// Whether all of it is clients of its group's server; false: it computes outside MPS.
    attached: Option<bool>,
    /// Device memory of its whole tree of processes.
    device_memory_bytes: Option<u64>,
    /// Device memory that it may have.
    device_memory_limit_bytes: Option<u64>,
    /// Time until its device memory reaches its limit, as it grew lately; null: it does not grow.
    memory_time_to_limit_seconds: Option<f64>,
    /// Share of the SMs that MPS lets it use, as its processes were told.
    sm_limit_ratio: Option<f64>,
    /// Host memory of its whole tree of processes.
    resident_memory_bytes: Option<u64>,
    /// CPU time of all its processes that were seen, since the watchdog's start.
    cpu_seconds: f64,
    /// What it says of its load.
    load: Option<LoadDocument>,
    /// The engine's main process.
    main: Option<ProcessDocument>,
    /// Pids of its processes that are clients of the server.
    clients: Vec<u32>,
    /// Starts so far.
    incarnation: u32,
    /// Failures in the window of its budget.
    failures: u32,
    /// When its next start, or the next try to end it, is due; null: nothing waits for a time.
    #[schemars(extend("format" = "date-time"))]
    next_try: Option<String>,
    /// When its next start, or the next try to end it, is due, in seconds since 1970.
    next_try_timestamp_seconds: Option<f64>,
    /// What can't be known of it.
    unknown: Vec<UnknownDocument>,
    /// Error lines of its output that no fact confirmed, since the watchdog's start.
    doubted: Vec<DoubtedDocument>,
    /// What the search for the cause of repeated faults makes of it.
    isolation: Word<EngineIsolation>,
    /// Its kernels, and how fast it is beside the others.
    sharing: SharingDocument,
}

/// What an engine says of its own load. Null is what its metrics do not show.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "Load")]
struct LoadDocument {
    /// Requests that it works on.
    requests_running: Option<f64>,
    /// Requests that wait in its queue.
    requests_waiting: Option<f64>,
    /// Requests that ended since its start, well or not.
    requests_ended_total: Option<f64>,
    /// Share of its KV cache in use.
    kv_cache_usage_ratio: Option<f64>,
    /// Prompt tokens since its start.
    prompt_tokens_total: Option<f64>,
    /// Generated tokens since its start.
    generation_tokens_total: Option<f64>,
    /// A figure that changes while it works on requests, whatever it counts.
    steps: Option<f64>,
    /// Whether its model is put to sleep.
    asleep: Option<bool>,
    /// The model that it serves.
    model: Option<String>,
    /// The program whose names the figures have.
    kind: Option<Word<EngineKind>>,
    /// Why it has no metrics; null: it has.
    no_metrics: Option<String>,
}

/// A question about an engine that has no answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "Unknown")]
struct UnknownDocument {
    /// What is not known.
    question: Word<Question>,
    /// Why it is not known.
    why: String,
}

/// Error lines of an engine that no fact confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "Doubted")]
struct DoubtedDocument {
    /// The CUDA error that they name.
    code: u32,
    /// What became of them.
    doubt: Word<Doubt>,
    /// How many there were.
    count: u64,
}

/// An engine's kernels, and how fast it is beside the others.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "Sharing")]
struct SharingDocument {
    /// What its kernel probe does.
    probe: Word<ProbeState>,
    /// Why its kernel probe does not work.
    probe_note: Option<String>,
    /// Sampled time in which it had a kernel on the GPU, since the watchdog's start.
    kernel_busy_seconds: f64,
    /// Its rate alone over its rate of late: 1 is as fast as alone.
    slowdown_factor: Option<f64>,
    /// The newest of its baselines.
    baseline: Option<BaselineDocument>,
    /// How many baselines it has.
    baselines: u32,
}

/// How fast an engine is alone on the GPU, at one load.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "Baseline")]
struct BaselineDocument {
    /// Requests that it worked on at once, on average.
    requests_running: Option<f64>,
    /// Tokens of a prompt, on average.
    prompt_tokens: Option<f64>,
    /// Tokens generated for a request, on average.
    generation_tokens: Option<f64>,
    /// Prompt and generated tokens together.
    tokens_per_second: Option<f64>,
    /// Measurements behind it; 0: the configuration says so.
    samples: u32,
    /// Where the baseline is from.
    source: Word<BaselineSource>,
    /// When it was measured.
    #[schemars(extend("format" = "date-time"))]
    taken: Option<String>,
    /// When it was measured, in seconds since 1970.
    taken_timestamp_seconds: f64,
}

/// A container, as those who run it call it.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "Container")]
struct ContainerDocument {
    /// Name of its pod; null: it is in none, or that is not known.
    pod: Option<String>,
    /// Namespace of its pod.
    namespace: Option<String>,
    /// Its own name, or its short id.
    container: Option<String>,
}

impl ContainerDocument {
    fn of(name: &ContainerName) -> Option<ContainerDocument> {
        let known = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        let ContainerName { pod, namespace, container } = name;
        (*name != ContainerName::default()).then(|| ContainerDocument {
            pod: known(pod),
            namespace: known(namespace),
            container: known(container),
        })
    }
}

impl EngineDocument {
    pub(super) fn of(engine: &EngineStatus, wall: Wall) -> EngineDocument {
        #[rustfmt::skip]
        let EngineStatus {
            name, custody, container, address, state, attached, device_memory, device_memory_limit, memory_time_to_limit, resident_memory,
            cpu, load, kind, unknown, doubted, main, clients, incarnation, failures, isolation, sharing, note,
            sm_limit, next_try, missing: _,
        } = engine;
        let question =
            |Unknown { question, why }: &Unknown| UnknownDocument { question: Word(*question), why: why.clone() };
        let doubt = |(code, doubt, count): &(u32, Doubt, u64)| DoubtedDocument {
            code: *code,
            doubt: Word(*doubt),
            count: *count,
        };
        let (next_try, next_try_timestamp_seconds) = wall.both_of(*next_try);
        EngineDocument {
            name: name.to_string(),
            address: address.to_string(),
            managed_by: Word(custody.managed_by()),
            container: ContainerDocument::of(container),
            kind: Word(*kind),
            state: Word(*state),
            note: note.clone(),
            attached: *attached,
            device_memory_bytes: *device_memory,
            device_memory_limit_bytes: *device_memory_limit,
            memory_time_to_limit_seconds: memory_time_to_limit.map(seconds),
            sm_limit_ratio: finite(*sm_limit),
            resident_memory_bytes: *resident_memory,
            cpu_seconds: seconds(*cpu),
            load: load.as_ref().map(LoadDocument::of),
            main: main.map(ProcessDocument::of),
            clients: clients.clone(),
            incarnation: *incarnation,
            failures: *failures,
            next_try,
            next_try_timestamp_seconds,
            unknown: unknown.iter().map(question).collect(),
            doubted: doubted.iter().map(doubt).collect(),
            isolation: Word(*isolation),
            sharing: SharingDocument::of(sharing, wall),
        }
    }
}

impl LoadDocument {
    fn of(load: &EngineLoad) -> LoadDocument {
        #[rustfmt::skip]
        let EngineLoad {
            running, waiting, kv_cache, prompt_tokens, generation_tokens, requests, steps, asleep, model, kind, no_metrics,
        } = load;
        LoadDocument {
            requests_running: finite(*running),
            requests_waiting: finite(*waiting),
            requests_ended_total: finite(*requests),
            kv_cache_usage_ratio: finite(*kv_cache),
            prompt_tokens_total: finite(*prompt_tokens),
            generation_tokens_total: finite(*generation_tokens),
            steps: finite(*steps),
            asleep: *asleep,
            model: model.clone(),
            kind: kind.map(Word),
            no_metrics: no_metrics.clone(),
        }
    }
}

impl SharingDocument {
    fn of(sharing: &EngineSharing, wall: Wall) -> SharingDocument {
        let EngineSharing { probe, probe_note, kernel_busy, slowdown, baseline, baselines } = sharing;
        SharingDocument {
            probe: Word(*probe),
            probe_note: probe_note.clone(),
            kernel_busy_seconds: seconds(*kernel_busy),
            slowdown_factor: finite(*slowdown),
            baseline: baseline.as_ref().map(|baseline| BaselineDocument::of(baseline, wall)),
            baselines: *baselines,
        }
    }
}

impl BaselineDocument {
    fn of(baseline: &Baseline, wall: Wall) -> BaselineDocument {
        // The engine is the one that it stands in.
        let Baseline {
            engine: _,
            running,
            prompt_tokens,
            generation_tokens,
            tokens_per_second,
            samples,
            source,
            taken,
        } = baseline;
        let taken = match taken {
            Taken::At(moment) => wall.seconds(*moment),
            Taken::Unix(seconds) => *seconds as f64,
        };
        BaselineDocument {
            requests_running: finite(Some(*running)),
            prompt_tokens: finite(Some(*prompt_tokens)),
            generation_tokens: finite(Some(*generation_tokens)),
            tokens_per_second: finite(Some(*tokens_per_second)),
            samples: *samples,
            source: Word(*source),
            taken: rfc3339(taken),
            taken_timestamp_seconds: taken,
        }
    }
}
