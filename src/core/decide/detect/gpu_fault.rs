//! gpu_fault: this server's fatal line, its FAULT state, or engines that lost their contexts together.
//! An Xid says nothing about which group it hit: it only makes the watchdog ask the server.

use crate::decide::domain::Domain;
use crate::decide::facts::words::is_of_a_lost_server;
use crate::model::{Fault, Moment};

use super::Finding;
use super::together::lost_together;

pub(super) fn find(group: &Domain) -> Option<Finding> {
    let (at, because) = line(group).or_else(|| state(group)).or_else(|| siblings(group))?;
    Some(Finding::of_group(Fault::GpuFault, at, because))
}

fn line(group: &Domain) -> Option<(Moment, String)> {
    let fatal = group.server.fatal?;
    let blamed = fatal.blamed.map_or_else(String::new, |client| {
        format!("; its log names client {client}, which is no proof: it names the one that connected first")
    });
    Some((fatal.at, format!("server {} is handling a fatal GPU error{blamed}", fatal.server)))
}

fn state(group: &Domain) -> Option<(Moment, String)> {
    let server = &group.server;
    if server.dying.is_some() {
        return None;
    }
    let at = server.says_fault()?;
    // What engines printed before it is confirmed by it: the fault is as old as that.
    Some((group.confirmed_word().map_or(at, |said| said.min(at)), format!("{} says FAULT", server.words())))
}

fn siblings(group: &Domain) -> Option<(Moment, String)> {
    lost_together(group, |code| !is_of_a_lost_server(code))
}
