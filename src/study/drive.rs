//! The experiment: brings the group into each setting, runs every cell's load in it, and keeps what was measured. A run
//! that fails is reported and costs nothing but itself.

use std::time::Duration;

use tokio::time::interval;

use super::actions::Actions;
use super::arrangement::{GroupUnderStudy, Manner, Patience, Setting};
use super::client::Target;
use super::limits::{Used, limits};
use super::load::{LoadOrder, LoadProcess, Loaded, Pace, Step, Worker};
use super::progress::Progress;
use super::request::Lengths;
use super::results::{Arrangement, Plan, Run, StudiedEngine, Study, Variant};
use super::sampling::{Sampled, SampledGpu, Working};
use super::schedule::{Job, cells, schedule};
use crate::act::{OwnerMark, PrepareError};
use crate::host::clock;
use crate::model::{EngineLaunch, GroupLaunch};

/// Time between two looks whether an engine ended.
const LOOK: Duration = Duration::from_millis(200);
/// Most starts of a setting in all: engines that die again and again end the study of it.
const STARTS: u32 = 3;

/// The group that is studied.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Its engines and their control daemon.
    pub launch: GroupLaunch,
    /// Bounds of each engine, in order.
    pub patience: Vec<Patience>,
    /// The GPU's name.
    pub gpu: String,
    /// It is a simulated one.
    pub simulated: bool,
    /// The driver's version, where it is known.
    pub driver: Option<String>,
    /// Where the GPU's activity is read.
    pub sampled: Option<SampledGpu>,
}

/// A study under way.
#[derive(Debug)]
pub struct Experiment {
    group: GroupUnderStudy,
    targets: Vec<Target>,
    gpu: Option<SampledGpu>,
    study: Study,
    progress: Progress,
}

impl Experiment {
    /// Makes the group's directories; starts nothing. Within a runtime.
    pub fn new(subject: Subject, plan: Plan, owner: OwnerMark, progress: Progress) -> Result<Experiment, PrepareError> {
        let Subject { launch, patience, gpu, simulated, driver, sampled } = subject;
        let engine = |engine: &EngineLaunch| StudiedEngine {
            name: engine.member.engine.to_string(),
            model: None,
            sm_percentage: engine.sm_percentage,
        };
        let study = Study {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            began: clock::since_1970().as_secs(),
            took: 0.0,
            group: launch.domain.group.to_string(),
            gpu,
            simulated,
            ended_early: false,
            driver,
            engines: launch.engines.iter().map(engine).collect(),
            cells: cells(&plan),
            plan,
            problems: Vec::new(),
            baselines: Vec::new(),
        };
        let actions = Actions::new(&launch, owner)?;
        let group = GroupUnderStudy::new(actions, launch, patience);
        Ok(Experiment { group, targets: Vec::new(), gpu: sampled, study, progress })
    }

    /// Measures everything. It may be dropped at any time; then comes [`Experiment::end`].
    pub async fn run(&mut self) {
        for setting in schedule(&self.study.plan, &self.names(), false).into_iter().map(|(setting, _)| setting) {
            let mut done = 0;
            for start in 1..=STARTS {
                let over = self.once(setting, &mut done).await;
                // Nothing starts beside what does not die.
                if self.take_down().await.is_err() {
                    return;
                }
                if over {
                    break;
                }
                if start == STARTS {
                    self.problem(format!("{}: given up after {STARTS} starts", words(setting)));
                }
            }
        }
    }

    /// One start, and what is still to be done. Whether another start is of no use.
    async fn once(&mut self, setting: Setting, done: &mut usize) -> bool {
        if let Err(why) = self.begin(setting).await {
            self.problem(format!("{}: {why}", words(setting)));
            return true;
        }
        let jobs = self.jobs(setting);
        self.work(&jobs, done).await;
        *done == jobs.len()
    }

    /// Ends every process, proven; after a run that was dropped, and for certain after one that was not.
    pub async fn end(&mut self, manner: Manner) -> Result<(), String> {
        self.progress.now("ending the engines");
        let ended = self.group.end(manner).await;
        self.progress.clear();
        ended
    }

    /// What was measured up to now. Its baselines are still to be made.
    pub fn finish(mut self) -> Study {
        self.study.took = clock::since_1970().as_secs().saturating_sub(self.study.began) as f64;
        self.study
    }

    /// A signal came before everything was measured.
    pub fn ended_early(&mut self) {
        self.study.ended_early = true;
        self.problem("ended early by a signal: what is missing was not measured".to_owned());
    }

    /// Something that people must know about what was measured; reported once.
    fn problem(&mut self, what: String) {
        if !self.study.problems.contains(&what) {
            self.progress.tell(&what);
            self.study.problems.push(what);
        }
    }

    async fn take_down(&mut self) -> Result<(), String> {
        let ended = self.group.end(Manner::InOrder).await;
        if let Err(why) = &ended {
            self.problem(format!("the engines can't be ended: {why}"));
        }
        ended
    }

    async fn begin(&mut self, setting: Setting) -> Result<(), String> {
        self.progress.now(&format!("starting the engines {}", words(setting)));
        for problem in self.group.begin(setting).await? {
            self.problem(problem);
        }
        self.targets.clear();
        for (index, engine) in self.group.launch().engines.clone().iter().enumerate() {
            let name = &engine.member.engine;
            let target = Target::meet(&engine.url, api_key(engine)).await.map_err(|why| format!("{name}: {why}"))?;
            if let Some(lacks) = target.lacks() {
                self.problem(format!("{name} {lacks}"));
            }
            self.study.engines[index].model.clone_from(&target.model);
            self.targets.push(target);
        }
        Ok(())
    }

    fn names(&self) -> Vec<String> {
        self.study.engines.iter().map(|engine| engine.name.clone()).collect()
    }

    fn jobs(&mut self, setting: Setting) -> Vec<Job> {
        let first = self.study.engines.first().and_then(|engine| engine.model.as_ref());
        let same = first.is_some() && self.study.engines.iter().all(|engine| engine.model.as_ref() == first);
        let settings = schedule(&self.study.plan, &self.names(), same);
        self.progress.expect(settings.iter().map(|(_, jobs)| jobs.len()).sum());
        settings.into_iter().filter(|(of, _)| *of == setting).flat_map(|(_, jobs)| jobs).collect()
    }

    /// Runs what is not done yet, up to where an engine is lost: that run counts for nothing.
    async fn work(&mut self, jobs: &[Job], done: &mut usize) {
        while let Some(job) = jobs.get(*done) {
            let run = self.measure(job).await;
            self.progress.step();
            *done += 1;
            let lost = self.group.lost();
            if !lost.is_empty() {
                lost.into_iter().for_each(|lost| self.problem(lost));
                return;
            }
            self.study.cells[job.cell].runs.extend(run);
        }
    }

    /// Measures one job; `None`: an engine did nothing, and that was reported.
    async fn measure(&mut self, job: &Job) -> Option<Run> {
        let cell = &self.study.cells[job.cell];
        let what = format!("prompt {}, output {}, {} in flight", cell.prompt, cell.output, cell.concurrency);
        let concurrency = cell.concurrency;
        self.progress.now(&format!("{}: {what}", job.words()));
        let (loaded, used) = match self.load(job).await {
            Ok(loaded) => loaded,
            Err(why) => {
                self.problem(format!("{what}: {why}"));
                return None;
            }
        };
        let limits = limits(&used, concurrency * job.loads(self.targets.len()));
        limits.into_iter().for_each(|limit| self.problem(format!("{what}, {}: {limit}", job.words())));
        for (engine, why) in &loaded.failures {
            self.problem(format!("{what}: requests to {engine} failed: {why}"));
        }
        if let Some(why) = &loaded.not_measured {
            self.problem(format!("{what}, {}: not measured: {why}", job.words()));
        }
        let Job { arrangement, variant, repeat, .. } = job.clone();
        let Loaded { engines, not_measured, .. } = loaded;
        Some(Run { arrangement, variant, repeat, engines, used, not_measured })
    }

    /// Runs a job's load; what came of it, and what it used while it counted. An engine that is lost ends it.
    async fn load(&mut self, job: &Job) -> Result<(Loaded, Used), String> {
        let mut load = LoadProcess::start(&self.order(job))?;
        let working: Vec<Working> = self.working(job).into_iter().map(|index| self.sampled(index)).collect();
        let sampled = Sampled { working: &working, load: load.pid(), gpu: self.gpu.as_ref() };
        let (mut began, mut used, mut looks) = (None, Used::default(), interval(LOOK));
        loop {
            let step = tokio::select! {
                step = load.next() => step?,
                _ = looks.tick() => {
                    if self.group.has_lost() {
                        return Err("an engine ended".to_owned());
                    }
                    continue;
                }
            };
            match (step, &began) {
                (Step::Counts, _) => began = Some(sampled.begin().await),
                (Step::Counted, Some(began)) => used = sampled.since(began).await,
                (Step::Counted, None) => {}
                (Step::Done(loaded), _) => return Ok((loaded, used)),
            }
        }
    }

    fn sampled(&self, index: usize) -> Working {
        let engine = &self.group.launch().engines[index];
        let metrics = engine.metrics_at().map(|(url, path)| (url.to_owned(), path.to_owned()));
        Working { engine: engine.member.engine.to_string(), pids: self.group.pids(engine), metrics }
    }

    fn order(&self, job: &Job) -> LoadOrder {
        let (cell, plan) = (&self.study.cells[job.cell], &self.study.plan);
        let concurrency = cell.concurrency * job.loads(self.targets.len());
        let worker = |index: usize| Worker {
            engine: self.study.engines[index].name.clone(),
            target: self.targets[index].clone(),
            concurrency,
        };
        let pace =
            plan.rate.map_or(Pace::Closed, |rate| Pace::Open { rate: rate * f64::from(job.loads(self.targets.len())) });
        LoadOrder {
            engines: self.working(job).into_iter().map(worker).collect(),
            lengths: Lengths { prompt: cell.prompt, output: cell.output },
            pace,
            warm_up: plan.warm_up,
            seconds: plan.seconds,
            longest: plan.longest.max(plan.seconds),
        }
    }

    /// Places of the engines that have work.
    fn working(&self, job: &Job) -> Vec<usize> {
        let together = job.variant.map_or(self.targets.len(), |variant| variant.engines);
        let works = |index: &usize| match &job.arrangement {
            Arrangement::Alone(only) | Arrangement::Consolidated(only) => *only == self.study.engines[*index].name,
            Arrangement::Mps | Arrangement::TimeSliced => *index < together,
        };
        (0..self.study.engines.len()).filter(works).collect()
    }
}

impl Job {
    /// How many engines' load each working engine has, of `all`.
    fn loads(&self, all: usize) -> u32 {
        match self.arrangement {
            Arrangement::Consolidated(_) => self.variant.map_or(all, |variant| variant.engines) as u32,
            Arrangement::Alone(_) | Arrangement::Mps | Arrangement::TimeSliced => 1,
        }
    }

    fn words(&self) -> String {
        match (&self.arrangement, self.variant) {
            (Arrangement::Alone(engine), _) => format!("{engine} alone"),
            (Arrangement::Consolidated(engine), _) => format!("{engine} with the load of all"),
            (Arrangement::TimeSliced, _) => "time-sliced".to_owned(),
            (Arrangement::Mps, Some(Variant { engines, percentage: Some(percentage) })) => {
                format!("under MPS, {engines} engines with {percentage} % each")
            }
            (Arrangement::Mps, _) => "under MPS".to_owned(),
        }
    }
}

fn words(setting: Setting) -> String {
    match setting {
        Setting::Outside => "outside MPS".to_owned(),
        Setting::UnderMps { percentage: None } => "under MPS".to_owned(),
        Setting::UnderMps { percentage: Some(percentage) } => format!("under MPS with {percentage} % each"),
    }
}

/// What vLLM takes as its key: `--api-key`, or VLLM_API_KEY.
fn api_key(engine: &EngineLaunch) -> Option<String> {
    let mut words = engine.command.iter();
    let option = words.find_map(|word| match word.strip_prefix("--api-key") {
        Some("") => Some(None),
        Some(rest) => rest.strip_prefix('=').map(|key| Some(key.to_owned())),
        None => None,
    });
    let option = option.map(|key| key.or_else(|| words.next().cloned()));
    option.flatten().or_else(|| engine.environment.get("VLLM_API_KEY").cloned())
}
