//! `mpswarden study`: from a configuration to a study's report. Refuses what a watchdog
//! serves; ends whatever it has started, whether it comes to its end or a signal comes first.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use tokio::runtime::Builder;
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::{LocalSet, spawn_local};

use crate::cli::{LogFormat, LogOptions, StudyOptions};
use crate::config::{self, Configuration, GroupConfiguration};
use crate::control::{Call, Client, DEFAULT_SOCKET};
use crate::host::leftovers::Lock;
use crate::host::reaper;
use crate::model::gpu::ComputeMode;
use crate::model::{DomainId, GpuIdentity, Request, Status};
use crate::study::results::{Plan, Study};
use crate::study::{self, Experiment, Manner, Patience, Progress, SampledGpu, StudyFiles, Subject};
use crate::text::span::age;

use super::prepare::{Prepared, prepare};
use super::refusal::Refusal;
use super::run::open_log;
use super::signals;
use super::study_order::StudyOrder;

/// Exit status of a shell for what Ctrl-C ended.
const INTERRUPTED: u8 = 130;
/// Seed where nothing random is decided.
const SEED: u64 = 0;
/// Columns of a table that goes to no terminal.
const WIDTH: usize = 120;
/// Least width of a table.
const NARROWEST: usize = 80;

/// Studies a group of `configuration`, unless the watchdog at `socket` serves it.
pub fn study(configuration: Configuration, options: &StudyOptions, socket: Option<PathBuf>) -> ExitCode {
    logged(|| {
        let socket = socket.unwrap_or_else(|| DEFAULT_SOCKET.into());
        on_runtime(StudyOrder::of_group(configuration, options)?, Some(&socket))
    })
}

/// Studies what `study` does, with a log of its own, and says there why it did not begin.
pub(super) fn logged(study: impl FnOnce() -> Result<ExitCode, Refusal>) -> ExitCode {
    let guard = match open_log(&LogOptions { level: tracing::Level::WARN, format: LogFormat::Text }) {
        Ok(guard) => guard,
        Err(status) => return status.into(),
    };
    let code = study().unwrap_or_else(|refusal| {
        tracing::error!("{refusal}");
        refusal.status.into()
    });
    drop(guard);
    code
}

/// Makes the study, and ends what it started, on a runtime of its own. `socket`: where a watchdog may listen.
pub(super) fn on_runtime(order: StudyOrder, socket: Option<&Path>) -> Result<ExitCode, Refusal> {
    let runtime =
        Builder::new_current_thread().enable_all().build().map_err(|error| Refusal::io("make the runtime", &error))?;
    let ended = LocalSet::new().block_on(&runtime, conduct(order, socket));
    // A thread that hangs in the driver must not keep the process.
    runtime.shutdown_background();
    ended
}

async fn conduct(order: StudyOrder, socket: Option<&Path>) -> Result<ExitCode, Refusal> {
    let StudyOrder { configuration, plan, files, baselines, driver } = order;
    let (sender, mut stops) = unbounded_channel();
    // A study reads its configuration once: SIGHUP does not end it.
    signals::follow(sender, Arc::new(Notify::new())).map_err(|error| Refusal::io("follow signals", &error))?;
    if let Some(socket) = socket {
        refuse_served(socket, &configuration.groups[0]).await?;
    }
    let (mut experiment, _lock) = ready(&configuration, plan, driver).await?;
    let ended = tokio::select! {
        biased;
        _ = stops.recv() => false,
        () = experiment.run() => true,
    };
    if !ended {
        experiment.ended_early();
    }
    let gone = end(&mut experiment, &mut stops).await;
    let mut study = experiment.finish();
    study.baselines = study::baselines(&study);
    tell(&study, &files, baselines.filter(|_| ended))?;
    gone.map_err(Refusal::unavailable)?;
    let measured = study.cells.iter().any(|cell| !cell.runs.is_empty());
    match (ended, measured) {
        (false, _) => Ok(ExitCode::from(INTERRUPTED)),
        (true, true) => Ok(ExitCode::SUCCESS),
        (true, false) => Err(Refusal::unavailable("nothing could be measured: the reasons are above")),
    }
}

/// Looks at all that must be there, ends what an earlier run left, and says how long it will take.
async fn ready(
    configuration: &Configuration,
    plan: Plan,
    driver: Option<String>,
) -> Result<(Experiment, Lock), Refusal> {
    let Prepared { policy, launches, owner, gpus, driver: nvml, lock, .. } = prepare(configuration, SEED).await?;
    let group = &configuration.groups[0];
    if let Some(gpu) = policy.gpus.iter().find(|gpu| gpu.absent) {
        return Err(Refusal::unavailable(format!(
            "NVML can't read the GPU {}: see `nvidia-smi -L` and `dmesg`",
            gpu.uuid
        )));
    }
    let launch = launches.into_iter().find(|launch| launch.domain == DomainId::main(&group.name));
    if launch.as_ref().is_some_and(|launch| launch.gpus.are_several()) {
        let what = "is over several GPUs: a study compares engines that share one; write a group over that one";
        return Err(Refusal::configuration(format!("group `{}` {what}", group.name)));
    }
    let mut launch = launch.ok_or_else(|| Refusal::unavailable(format!("group `{}` can't be started", group.name)))?;
    // Nobody listens to the kernel probe here, and nothing may stand beside what is measured.
    launch.engines.iter_mut().for_each(|engine| engine.probe = false);
    spawn_local(async {
        if let Err(error) = reaper::reap_orphans().await {
            tracing::error!("engines' orphans are not reaped: {error}");
        }
    });
    let (length, engines) = (study::estimate(&plan, launch.engines.len()), launch.engines.len());
    let starts = 1 + plan.percentages.len().max(1);
    let gpu = gpus.into_iter().find(|gpu| gpu.uuid == *launch.gpus.first());
    refuse_exclusive(gpu.as_ref(), engines)?;
    let simulated = gpu.as_ref().is_some_and(GpuIdentity::is_simulated);
    let gpu = gpu.and_then(|gpu| gpu.name).unwrap_or_default();
    let patience =
        group.engines.iter().map(|engine| Patience { start: engine.start_timeout, stop: engine.stop_timeout });
    let sampled = Some(SampledGpu { driver: nvml, gpu: launch.gpus.first().clone() });
    let subject = Subject { patience: patience.collect(), launch, gpu, simulated, driver, sampled };
    let mut progress = Progress::for_stderr();
    progress.tell(&format!(
        "studying group `{}`: at least {}, often twice that, since rates must be steady and enough requests must end, and \
         the time that its {engines} engines take to start {starts} times",
        group.name,
        age(length)
    ));
    let experiment = Experiment::new(subject, plan, owner, progress).map_err(Refusal::unavailable)?;
    Ok((experiment, lock))
}

/// Ends all in order; a second signal ends them at once.
async fn end(experiment: &mut Experiment, stops: &mut UnboundedReceiver<Request>) -> Result<(), String> {
    let in_order = tokio::select! {
        biased;
        _ = stops.recv() => None,
        ended = experiment.end(Manner::InOrder) => Some(ended),
    };
    match in_order {
        Some(ended) => ended,
        None => experiment.end(Manner::AtOnce).await,
    }
}

/// The table and the recommendation to stdout, everything to files.
fn tell(study: &Study, files: &StudyFiles, baselines: Option<PathBuf>) -> Result<(), Refusal> {
    // Whatever becomes of the files, what was measured is printed.
    say(&study::table(study, width()));
    files.write(study).map_err(|error| Refusal::io("write the study's files", &error))?;
    say(&format!("\nThe report: {}\n", files.report().display()));
    let Some(path) = baselines.filter(|_| !study.baselines.is_empty()) else { return Ok(()) };
    let kept = config::write_baselines(&path, &study.baselines);
    kept.map_err(|error| Refusal::io(&format!("keep the baselines in `{}`", path.display()), &error))?;
    say(&format!("The baselines, for `mpswarden run` from its next start or reload on: {}\n", path.display()));
    Ok(())
}

/// Columns of a table on stdout.
pub(super) fn width() -> usize {
    let size = rustix::termios::tcgetwinsize(io::stdout());
    size.map_or(WIDTH, |size| usize::from(size.ws_col)).max(NARROWEST)
}

/// Prints to stdout; goes on where the reader is gone.
pub(super) fn say(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// A watchdog with another state directory may serve the group all the same.
async fn refuse_served(socket: &Path, group: &GroupConfiguration) -> Result<(), Refusal> {
    // Without an answer no watchdog serves it that could be asked; the locks are still to be taken.
    let Ok(status) = Client::of(socket).ask::<Status>(Call::State).await else { return Ok(()) };
    if status.groups.iter().all(|served| served.name != group.name) {
        return Ok(());
    }
    Err(Refusal::unavailable(format!(
        "group `{}` is served by the mpswarden that listens on {}: stop that one first, a study starts and ends the \
         engines itself",
        group.name,
        socket.display()
    )))
}

/// Refuses such a GPU for several engines: without MPS it takes one process.
fn refuse_exclusive(gpu: Option<&GpuIdentity>, engines: usize) -> Result<(), Refusal> {
    match gpu {
        Some(gpu) if gpu.compute_mode == ComputeMode::ExclusiveProcess && engines > 1 => {
            Err(Refusal::configuration(format!(
                "GPU {} is in compute mode EXCLUSIVE_PROCESS, where engines can't be compared with what they do without \
                 MPS: nvidia-smi -c DEFAULT",
                gpu.uuid
            )))
        }
        _ => Ok(()),
    }
}
