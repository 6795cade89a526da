//! gpu_fault: this server's fatal line, its FAULT state, or engines that lost their contexts together.
//! An Xid says nothing about which group it hit: it only makes the watchdog ask the server.

use super::Finding;
use super::together::lost_together;
use crate::decide::facts::scene::Scene;
use crate::decide::facts::words::is_of_a_lost_server;
use crate::model::{Fault, Moment};

pub(super) fn find(scene: &Scene) -> Option<Finding> {
    let (at, because) = line(scene).or_else(|| state(scene)).or_else(|| siblings(scene))?;
    Some(Finding::of_group(Fault::GpuFault, at, because))
}

fn line(scene: &Scene) -> Option<(Moment, String)> {
    let fatal = scene.server.fatal?;
    let blamed = fatal.blamed.map_or_else(String::new, |client| {
        format!("; its log names client {client}, which is no proof: it names the one that connected first")
    });
    Some((fatal.at, format!("server {} is handling a fatal GPU error{blamed}", fatal.server)))
}

fn state(scene: &Scene) -> Option<(Moment, String)> {
    let server = &scene.server;
    if server.dying.is_some() {
        return None;
    }
    let at = server.says_fault()?;
    // What engines printed before it is confirmed by it: the fault is as old as that.
    Some((scene.confirmed_word().map_or(at, |said| said.min(at)), format!("{} says FAULT", server.words())))
}

fn siblings(scene: &Scene) -> Option<(Moment, String)> {
    lost_together(scene, |code| !is_of_a_lost_server(code))
}
