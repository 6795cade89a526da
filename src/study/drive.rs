//! The experiment: brings the group into each setting, runs every cell's load in it, and keeps what was measured. A run
//! that fails is reported and costs nothing but itself.

use std::time::Duration;

use tokio::sync::watch;

use super::actions::Actions;
use super::arrangement::{GroupUnderStudy, Manner, Patience, Setting};
use super::client::Target;
use super::load::{LoadRun, Loaded};
use super::progress::Progress;
use super::request::Lengths;
use super::results::{Arrangement, Measured, Plan, Run, StudiedEngine, Study};
use super::schedule::{Job, cells, schedule};
use crate::act::{OwnerMark, PrepareError};
use crate::host::clock;
use crate::model::{EngineLaunch, GroupLaunch};

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
}

/// A study under way.
#[derive(Debug)]
pub struct Experiment {
    group: GroupUnderStudy,
    targets: Vec<Target>,
    study: Study,
    progress: Progress,
}

impl Experiment {
    /// Makes the group's directories; starts nothing. Within a runtime.
    pub fn new(subject: Subject, plan: Plan, owner: OwnerMark, progress: Progress) -> Result<Experiment, PrepareError> {
        let Subject { launch, patience, gpu, simulated, driver } = subject;
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
            driver,
            engines: launch.engines.iter().map(engine).collect(),
            cells: cells(&plan),
            plan,
            problems: Vec::new(),
            baselines: Vec::new(),
        };
        let actions = Actions::new(&launch, owner)?;
        Ok(Experiment { group: GroupUnderStudy::new(actions, launch, patience), targets: Vec::new(), study, progress })
    }

    /// Measures everything. It may be dropped at any time; then comes [`Experiment::end`].
    pub async fn run(&mut self) {
        for setting in [Setting::Outside, Setting::UnderMps] {
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

    /// Something that people must know about what was measured; reported once.
    pub fn problem(&mut self, what: String) {
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

    fn jobs(&mut self, setting: Setting) -> Vec<Job> {
        let names: Vec<String> = self.study.engines.iter().map(|engine| engine.name.clone()).collect();
        let first = self.study.engines.first().and_then(|engine| engine.model.as_ref());
        let same = first.is_some() && self.study.engines.iter().all(|engine| engine.model.as_ref() == first);
        let settings = schedule(&self.study.plan, &names, same);
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
        let setting = if job.arrangement == Arrangement::Mps { Setting::UnderMps } else { Setting::Outside };
        self.progress.now(&format!("{}: {what}", words(setting)));
        // Lets go of the loads when this is dropped.
        let (_alive, ended) = watch::channel(());
        let runs: Vec<_> = self.loads(job).into_iter().map(|load| tokio::spawn(load.run(ended.clone()))).collect();
        let mut measured = Vec::new();
        for run in runs {
            let loaded = run.await.map_err(|error| error.to_string()).and_then(|loaded| loaded);
            measured.push(self.judge(&what, loaded));
        }
        let engines = measured.into_iter().collect::<Option<Vec<_>>>()?;
        Some(Run { arrangement: job.arrangement.clone(), repeat: job.repeat, engines })
    }

    /// What counts of a load: one in which nothing came is none.
    fn judge(&mut self, what: &str, loaded: Result<Loaded, String>) -> Option<Measured> {
        let Loaded { measured, failure } = match loaded {
            Ok(loaded) => loaded,
            Err(why) => {
                self.problem(format!("{what}: {why}"));
                return None;
            }
        };
        let nothing = measured.prompt_tokens == 0 && measured.generation_tokens == 0;
        match failure {
            Some(why) => self.problem(format!("{what}: requests to {} failed: {why}", measured.engine)),
            None if nothing => self.problem(format!(
                "{what}: nothing came from {} within {} s: give each run more --seconds",
                measured.engine, self.study.plan.seconds
            )),
            None => {}
        }
        (!nothing).then_some(measured)
    }

    fn loads(&self, job: &Job) -> Vec<LoadRun> {
        let cell = &self.study.cells[job.cell];
        let all = self.targets.len() as u32;
        let concurrency = match job.arrangement {
            Arrangement::Consolidated(_) => cell.concurrency * all,
            Arrangement::Alone(_) | Arrangement::Mps | Arrangement::TimeSliced => cell.concurrency,
        };
        let load = |index: usize| LoadRun {
            engine: self.study.engines[index].name.clone(),
            target: self.targets[index].clone(),
            lengths: Lengths { prompt: cell.prompt, output: cell.output },
            concurrency,
            warm_up: Duration::from_secs_f64(self.study.plan.warm_up),
            counts: Duration::from_secs_f64(self.study.plan.seconds),
        };
        self.working(&job.arrangement).into_iter().map(load).collect()
    }

    /// Places of the engines that have work.
    fn working(&self, arrangement: &Arrangement) -> Vec<usize> {
        let works = |name: &str| match arrangement {
            Arrangement::Alone(only) | Arrangement::Consolidated(only) => only == name,
            Arrangement::Mps | Arrangement::TimeSliced => true,
        };
        (0..self.study.engines.len()).filter(|index| works(&self.study.engines[*index].name)).collect()
    }
}

fn words(setting: Setting) -> &'static str {
    match setting {
        Setting::Outside => "outside MPS",
        Setting::UnderMps => "under MPS",
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
