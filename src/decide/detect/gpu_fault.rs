//! gpu_fault: this server's fatal line, its FAULT state, or engines that lost their contexts together.
//! An Xid says nothing about which group it hit: it only makes the watchdog ask the server.

use std::time::Duration;

use crate::decide::engine::Stage;
use crate::decide::group::Group;
use crate::model::{Fault, Moment, ServerState};

use super::Finding;

/// Two engines whose contexts die within this time died of one fault.
const TOGETHER: Duration = Duration::from_secs(2);

pub(super) fn find(group: &Group) -> Option<Finding> {
    let (at, because) = line(group).or_else(|| state(group)).or_else(|| siblings(group))?;
    Some(Finding::of_group(Fault::GpuFault, at, because))
}

fn line(group: &Group) -> Option<(Moment, String)> {
    let fatal = group.server.fatal?;
    let blamed = fatal.blamed.map_or_else(String::new, |client| {
        format!("; its log names client {client}, which is no proof: it names the one that connected first")
    });
    Some((fatal.at, format!("server {} is handling a fatal GPU error{blamed}", fatal.server)))
}

fn state(group: &Group) -> Option<(Moment, String)> {
    let server = &group.server;
    (server.state.last() == Some(&ServerState::Fault)).then(|| {
        let pid = server.pid.map_or_else(|| "?".to_owned(), |pid| pid.to_string());
        (server.state.at().unwrap_or_default(), format!("server {pid} says FAULT"))
    })
}

fn siblings(group: &Group) -> Option<(Moment, String)> {
    let mut errors: Vec<(Moment, u32, &str)> = group
        .engines
        .iter()
        .filter(|engine| engine.alive() || engine.stage == Stage::Fallen)
        .filter_map(|engine| engine.error.map(|(at, code)| (at, code, engine.name().as_str())))
        .collect();
    errors.sort();
    let pair = errors.windows(2).find(|pair| pair[1].0.since(pair[0].0) <= TOGETHER)?;
    let because = format!(
        "engines {} and {} lost their contexts together (CUDA errors {} and {})",
        pair[0].2, pair[1].2, pair[0].1, pair[1].1
    );
    Some((pair[1].0, because))
}
