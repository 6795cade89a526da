//! Hand-made studies: engines, a grid, and how fast each engine is in each way.

use mpswarden::study::results::{Arrangement, Cell, Measured, Percentiles, Plan, Run, StudiedEngine, Study};

/// Seconds that count of every run.
pub const SECONDS: f64 = 10.0;

/// One load's speeds: tokens a second of each engine in each repeat, and how long first tokens take.
#[derive(Clone, Debug, Default)]
pub struct Speeds {
    /// Speeds alone, by engine, then by repeat.
    pub alone: Vec<Vec<f64>>,
    /// Speeds under MPS, by engine, then by repeat.
    pub mps: Vec<Vec<f64>>,
    /// Speeds with time-slicing, by engine, then by repeat.
    pub sliced: Vec<Vec<f64>>,
    /// Speeds of the first engine with the load of all, by repeat.
    pub one: Vec<f64>,
    /// TTFT p99 alone and under MPS, seconds.
    pub ttft: Option<(f64, f64)>,
}

/// A study of these engines, with nothing measured yet.
pub fn study(engines: &[&str]) -> Study {
    let engine = |name: &&str| StudiedEngine {
        name: (*name).to_owned(),
        model: Some("Qwen2.5-0.5B".to_owned()),
        sm_percentage: None,
    };
    Study {
        version: "0.1.0".to_owned(),
        began: 1_795_388_702,
        took: 1_450.0,
        group: "small-llms".to_owned(),
        gpu: "NVIDIA H200".to_owned(),
        simulated: false,
        ended_early: false,
        driver: Some("580.159.04".to_owned()),
        engines: engines.iter().map(engine).collect(),
        plan: Plan {
            prompts: vec![16, 256, 1024],
            outputs: vec![1, 32, 128],
            concurrencies: vec![1, 4, 16],
            seconds: SECONDS,
            warm_up: 2.0,
            longest: 60.0,
            repeats: 3,
            rate: None,
            engines_swept: Vec::new(),
            percentages: Vec::new(),
        },
        cells: Vec::new(),
        problems: Vec::new(),
        baselines: Vec::new(),
    }
}

/// The study with one more load.
pub fn with(mut study: Study, (prompt, output, concurrency): (u32, u32, u32), speeds: &Speeds) -> Study {
    let names: Vec<String> = study.engines.iter().map(|engine| engine.name.clone()).collect();
    let mut cell = Cell { prompt, output, concurrency, runs: Vec::new() };
    let (alone, mps) = speeds.ttft.unwrap_or((0.040, 0.055));
    for (name, rates) in names.iter().zip(&speeds.alone) {
        for (repeat, rate) in rates.iter().enumerate() {
            let part = measured(&cell, name, *rate, alone);
            cell.runs.push(run(Arrangement::Alone(name.clone()), repeat, vec![part]));
        }
    }
    for (arrangement, rates, ttft) in
        [(Arrangement::Mps, &speeds.mps, mps), (Arrangement::TimeSliced, &speeds.sliced, mps * 1.2)]
    {
        for repeat in 0..rates.first().map_or(0, Vec::len) {
            let parts =
                names.iter().zip(rates).map(|(name, rates)| measured(&cell, name, rates[repeat], ttft)).collect();
            cell.runs.push(run(arrangement.clone(), repeat, parts));
        }
    }
    for (repeat, rate) in speeds.one.iter().enumerate() {
        let part = measured(&cell, &names[0], *rate, alone * 2.0);
        cell.runs.push(run(Arrangement::Consolidated(names[0].clone()), repeat, vec![part]));
    }
    study.cells.push(cell);
    study
}

fn run(arrangement: Arrangement, repeat: usize, engines: Vec<Measured>) -> Run {
    Run {
        arrangement,
        variant: None,
        repeat: repeat as u32,
        engines,
        used: mpswarden::study::limits::Used::default(),
        not_measured: None,
    }
}

/// An engine that gets so many tokens a second done, prompts and outputs in the cell's proportion.
fn measured(cell: &Cell, engine: &str, rate: f64, ttft: f64) -> Measured {
    let of_each = f64::from(cell.prompt + cell.output);
    let tokens = (rate * SECONDS).round() as u64;
    let generated = (tokens as f64 * f64::from(cell.output) / of_each).round() as u64;
    Measured {
        engine: engine.to_owned(),
        seconds: SECONDS,
        requests: (tokens as f64 / of_each).round() as u64,
        whole: 20 * u64::from(cell.concurrency),
        failed: 0,
        prompt_tokens: tokens - generated,
        generation_tokens: generated,
        running: f64::from(cell.concurrency),
        ttft: Some(Percentiles { p50: ttft / 2.0, p90: ttft * 0.8, p99: ttft }),
        tpot: (cell.output > 1).then_some(Percentiles { p50: 0.002, p90: 0.0025, p99: 0.004 }),
    }
}

/// The same rate in three repeats.
pub fn steady(rate: f64) -> Vec<f64> {
    vec![rate; 3]
}

/// Three repeats around a rate, one percent apart.
pub fn around(rate: f64) -> Vec<f64> {
    vec![rate, rate * 0.99, rate * 1.01]
}

/// Engines alone at 1000 tokens a second that together keep `kept` of it each, time-sliced `sliced`.
pub fn sharing(engines: usize, kept: f64, sliced: f64) -> Speeds {
    Speeds {
        alone: vec![around(1000.0); engines],
        mps: vec![around(1000.0 * kept); engines],
        sliced: vec![around(1000.0 * sliced); engines],
        ..Speeds::default()
    }
}

/// Every load of the plan, each with its speeds.
pub fn grid(study: Study, speeds: impl Fn(u32, u32, u32) -> Speeds) -> Study {
    let Plan { prompts, outputs, concurrencies, .. } = study.plan.clone();
    let pairs = outputs.iter().flat_map(|output| prompts.iter().map(move |prompt| (*prompt, *output)));
    let loads = pairs.flat_map(|(prompt, output)| concurrencies.iter().map(move |some| (prompt, output, *some)));
    loads.fold(study, |study, load| with(study, load, &speeds(load.0, load.1, load.2)))
}

/// Two engines like those that this is for: they wait for their CPU when they decode for few, and prefill fills the GPU.
pub fn typical() -> Study {
    let names = study(&["qwen-a", "qwen-b"]);
    grid(names, |prompt, output, concurrency| {
        let fill = (f64::from(prompt) / 1024.0).powf(0.6) * if output == 1 { 1.0 } else { 0.45 };
        let busy = (fill + f64::from(concurrency) / 60.0).min(1.0);
        let (kept, sliced) = (0.96 - 0.47 * busy, 0.60 - 0.11 * busy);
        let alone =
            400.0 * f64::from(concurrency).powf(0.8) * (1.0 + f64::from(prompt) / f64::from(output).sqrt() / 16.0);
        let of = |share: f64, other: f64| vec![around(alone * share), around(alone * share * other)];
        Speeds {
            alone: of(1.0, 0.97),
            mps: of(kept, 0.95),
            sliced: of(sliced, 0.96),
            one: around(alone * (1.0 + 0.35 * (1.0 - busy))),
            ttft: Some((0.004 + f64::from(prompt) * 2e-5, 0.006 + f64::from(prompt) * f64::from(concurrency) * 1.2e-5)),
        }
    })
}
