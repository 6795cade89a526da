//! hang: an engine that served stands still for `hang_after`: a client waits for it and nothing comes out (`stall`), or
//! it answers nothing though it lives. Several that stand still while none makes progress are one fault of the group:
//! it is not known whose it is.
//!
//! Its limits: without a client that waits there is none; counters and connections that can't be seen are unknown, so an
//! engine without them hangs only by its silence, or by a token that it does not give.

use std::time::Duration;

use super::{Finding, starved};
use crate::decide::facts::GpuFacts;
use crate::decide::facts::engine::Engine;
use crate::decide::facts::scene::Scene;
use crate::decide::facts::stall::{Stall, Stands};
use crate::model::{Fault, Moment};

pub(super) fn find(scene: &Scene, gpu: &GpuFacts, now: Moment) -> Vec<Finding> {
    let stalls: Vec<(&Engine, Stall)> =
        scene.engines.iter().filter_map(|engine| Some((engine, engine.stall(now)?))).collect();
    let hangs = |(engine, stall): &&(&Engine, Stall)| stall.lasts >= engine.policy.hang_after;
    let excused = |(engine, stall): &&(&Engine, Stall)| {
        stall.stands != Stands::Silent && starved::taker(engine, scene, gpu, now).is_some()
    };
    let hung: Vec<_> = stalls.iter().filter(hangs).filter(|stalled| !excused(stalled)).collect();
    // The others of one fault stand still almost as long: their times differ by what they were at.
    let stands = |(engine, stall): &&(&Engine, Stall)| stall.lasts >= engine.policy.hang_after * 3 / 4;
    let standing = stalls.iter().filter(stands).count();
    match hung.as_slice() {
        [(first, stall), ..] if standing > 1 && !scene.engines.iter().any(|engine| engine.gets_on(now)) => {
            let all: Vec<String> =
                stalls.iter().filter(stands).map(|(engine, stall)| sentence(engine, stall)).collect();
            vec![Finding { acts: stall.fresh, ..Finding::of_group(Fault::Hang, since(first, stall), all.join("; ")) }]
        }
        each => each.iter().map(|(engine, stall)| alone(engine, stall)).collect(),
    }
}

fn alone(engine: &Engine, stall: &Stall) -> Finding {
    let because = format!("{}{}", says(engine, stall), frozen(engine));
    Finding { acts: stall.fresh, ..Finding::of_engine(Fault::Hang, engine, since(engine, stall), because) }
}

/// Time at which it became a hang: the evidence was complete.
fn since(engine: &Engine, stall: &Stall) -> Moment {
    stall.since.after(engine.policy.hang_after)
}

fn sentence(engine: &Engine, stall: &Stall) -> String {
    format!("{}: {}{}", engine.name(), says(engine, stall), frozen(engine))
}

fn says(engine: &Engine, stall: &Stall) -> String {
    let seconds = Duration::as_secs(&stall.lasts);
    match engine.instance.figures.running() {
        _ if stall.stands == Stands::Silent => {
            format!("neither its health endpoint nor its metrics answered for {seconds} s, and it lives")
        }
        _ if stall.stands == Stands::Token => format!("it was asked for one token and gave none for {seconds} s"),
        Some(running) => format!("{running} requests running and no token for {seconds} s"),
        None => format!("requests running and no token for {seconds} s"),
    }
}

/// Processes of it that can't run, as /proc says.
fn frozen(engine: &Engine) -> String {
    let of = |(process, state): &(_, char)| match state {
        'D' => format!("; its process {process} is in the kernel and can't be ended (state D)"),
        state => format!("; its process {process} is stopped (state {state})"),
    };
    engine.instance.figures.frozen().iter().map(of).collect()
}
