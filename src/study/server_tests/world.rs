//! Whole studies of such engines: two on one GPU, in every arrangement, over several repeats, with runs that differ as
//! real ones do.

use std::time::Duration;

use super::super::analysis::{Analysis, CellFigures, analyses};
use super::super::limits::Used;
use super::super::load::Rules;
use super::super::results::{Arrangement, Cell, Measured, Plan, Run, StudiedEngine, Study};
use super::server::{Model, Part, Work, run};

/// How single runs differ from what is true: factors of their speed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Differ {
    /// Runs differ by a few percent, and repeats as a whole by a few more.
    Usually,
    /// Runs are nearly the same.
    Hardly,
    /// One run in three is slower by a third.
    ByAThird,
}

/// Two engines of a kind on one GPU.
#[derive(Clone, Copy, Debug)]
pub(super) struct World {
    pub(super) model: Model,
    pub(super) work: Work,
    /// Share of the whole GPU's speed that each has when both work, under MPS and time-sliced.
    pub(super) mps: f64,
    pub(super) sliced: f64,
    pub(super) differ: Differ,
    /// Upper bound of the seconds before what counts, and of those that count.
    pub(super) longest: f64,
    /// Seconds that count, at least.
    pub(super) seconds: f64,
}

impl World {
    /// Usual work for engines that work so.
    pub(super) fn of(model: Model) -> World {
        let work = Work { prompt: 32, output: 16, concurrency: 8 };
        World { model, work, mps: 0.8, sliced: 0.55, differ: Differ::Usually, longest: 20.0, seconds: 2.0 }
    }

    fn rules(&self, seconds: f64, concurrency: u32) -> Rules {
        let [warm_up, counts, longest] = [0.5, seconds, self.longest.max(seconds)].map(Duration::from_secs_f64);
        Rules { warm_up, counts, longest, concurrency }
    }

    /// One run of an arrangement; `speeds` are those of its engines, as factors.
    fn arranged(
        &self,
        arrangement: &Arrangement,
        speeds: [f64; 2],
        seconds: f64,
        random: &mut fastrand::Rng,
    ) -> Result<Vec<Measured>, String> {
        let part = |at: usize, speed: f64| -> Part { (["a", "b"][at], self.model, speed * speeds[at]) };
        let both = |speed: f64| vec![part(0, speed), part(1, speed)];
        let (parts, loads) = match arrangement {
            Arrangement::Alone(name) if name == "b" => (vec![part(1, 1.0)], 1),
            Arrangement::Alone(_) => (vec![part(0, 1.0)], 1),
            Arrangement::Consolidated(_) => (vec![part(0, 1.0)], 2),
            Arrangement::Mps => (both(self.mps), 1),
            Arrangement::TimeSliced => (both(self.sliced), 1),
        };
        let work = Work { concurrency: self.work.concurrency * loads, ..self.work };
        run(&parts, work, &self.rules(seconds, work.concurrency), random)
    }

    /// A study of three repeats.
    pub(super) fn study(&self, seed: u64) -> Study {
        self.study_of(&arrangements(), seed)
    }

    /// A study of three repeats of the first engine alone twice: the second time in place of what it does under MPS.
    pub(super) fn twice(&self, seed: u64) -> Study {
        let mut study = self.study_of(&arrangements()[..2], seed);
        study.engines.truncate(1);
        for run in study.cells[0].runs.iter_mut().filter(|run| run.arrangement == arrangements()[1]) {
            run.arrangement = Arrangement::Mps;
            run.engines.iter_mut().for_each(|part| part.engine = "a".to_owned());
        }
        study
    }

    fn study_of(&self, all: &[Arrangement], seed: u64) -> Study {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut runs = Vec::new();
        for repeat in 0..3 {
            // What runs under MPS runs later, when all else is over.
            let drifts = [(); 2].map(|()| self.differ.repeat(&mut random));
            for arrangement in all.iter().cloned() {
                let drift = drifts[usize::from(arrangement == Arrangement::Mps)];
                let speeds = [(); 2].map(|()| drift * self.differ.run(&mut random));
                let measured = self.arranged(&arrangement, speeds, self.seconds, &mut random);
                let (engines, not_measured) = measured.map_or_else(|why| (Vec::new(), Some(why)), |all| (all, None));
                runs.push(Run { arrangement, variant: None, repeat, engines, used: Used::default(), not_measured });
            }
        }
        self.with(runs)
    }

    /// A study of one long run of each arrangement, all of them as fast as they are in truth, twice so that it has
    /// ratios.
    pub(super) fn truth(&self) -> CellFigures {
        let mut random = fastrand::Rng::with_seed(99);
        let mut runs = Vec::new();
        for arrangement in arrangements() {
            let engines = self.arranged(&arrangement, [1.0; 2], 200.0, &mut random).unwrap();
            let run = Run { arrangement, variant: None, repeat: 0, engines, used: Used::default(), not_measured: None };
            runs.extend([run.clone(), Run { repeat: 1, ..run }]);
        }
        figures(&self.with(runs))
    }

    fn with(&self, runs: Vec<Run>) -> Study {
        let Work { prompt, output, concurrency } = self.work;
        let engine =
            |name: &str| StudiedEngine { name: name.to_owned(), model: Some("m".to_owned()), sm_percentage: None };
        Study {
            version: String::new(),
            began: 0,
            took: 0.0,
            group: "g".to_owned(),
            gpu: String::new(),
            simulated: true,
            ended_early: false,
            driver: None,
            engines: ["a", "b"].map(engine).to_vec(),
            plan: Plan {
                prompts: vec![prompt],
                outputs: vec![output],
                concurrencies: vec![concurrency],
                seconds: self.seconds,
                warm_up: 0.5,
                longest: self.longest,
                repeats: 3,
                rate: None,
                engines_swept: Vec::new(),
                percentages: Vec::new(),
            },
            cells: vec![Cell { prompt, output, concurrency, runs }],
            problems: Vec::new(),
            baselines: Vec::new(),
        }
    }
}

fn arrangements() -> [Arrangement; 5] {
    let alone = |name: &str| Arrangement::Alone(name.to_owned());
    let one = Arrangement::Consolidated("a".to_owned());
    [alone("a"), alone("b"), Arrangement::TimeSliced, one, Arrangement::Mps]
}

impl Differ {
    fn repeat(self, random: &mut fastrand::Rng) -> f64 {
        match self {
            Differ::Usually => (0.05 * normal(random)).exp(),
            Differ::Hardly | Differ::ByAThird => 1.0,
        }
    }

    fn run(self, random: &mut fastrand::Rng) -> f64 {
        match self {
            Differ::Usually => (0.03 * normal(random)).exp(),
            Differ::Hardly => (0.002 * normal(random)).exp(),
            Differ::ByAThird => {
                let slow = if random.u8(0..3) == 0 { 2.0 / 3.0 } else { 1.0 };
                slow * (0.02 * normal(random)).exp()
            }
        }
    }
}

fn normal(random: &mut fastrand::Rng) -> f64 {
    (0..12).map(|_| random.f64()).sum::<f64>() - 6.0
}

/// What the only load of a study comes to.
pub(super) fn figures(study: &Study) -> CellFigures {
    let Analysis { mut cells, .. } = analyses(study).remove(0);
    cells.remove(0)
}
