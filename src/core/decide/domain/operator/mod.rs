//! Orders of people: what an order would come to (`plan` and `plan_engine`), how it is carried out (`take_up`), engines
//! that are to have no process or a new one (`rest`), holds (`hold`) and changed configurations (`change`).
//!
//! An order says what is wanted and leaves a mark in the group or the engine; every turn then goes a step
//! towards it. So a fault in between, a crash or a second order needs no case of its own.

pub(crate) mod change;
pub(crate) mod plan;
pub(crate) mod plan_engine;
pub(crate) mod rest;
pub(crate) mod take_up;

use crate::model::{EngineKey, GroupName, Request, Verb};

/// The group that an order is for; `None`: every group.
pub(crate) fn group_of(request: &Request) -> Option<&GroupName> {
    match request {
        Request::Stop | Request::StopNow | Request::StopGroups | Request::StartGroups => None,
        Request::Restart { group, .. } | Request::StopGroup(group) | Request::StartGroup(group) => Some(group),
        Request::Hold { group, .. } | Request::Resume { group } => group.as_ref(),
        Request::StopEngine(_)
        | Request::StartEngine(_)
        | Request::Evict(_)
        | Request::Quarantine(_)
        | Request::Release(_) => engine_of(request).map(|key| &key.group),
    }
}

/// The engine that an order is for, where it is for one.
pub(crate) fn engine_of(request: &Request) -> Option<&EngineKey> {
    match request {
        Request::StopEngine(key)
        | Request::StartEngine(key)
        | Request::Evict(key)
        | Request::Quarantine(key)
        | Request::Release(key) => Some(key),
        Request::Stop
        | Request::StopNow
        | Request::Restart { .. }
        | Request::StopGroup(_)
        | Request::StartGroup(_)
        | Request::StopGroups
        | Request::StartGroups
        | Request::Hold { .. }
        | Request::Resume { .. } => None,
    }
}

/// The verb of an order.
pub(crate) fn verb_of(request: &Request) -> Verb {
    match request {
        Request::Stop | Request::StopNow => Verb::End,
        Request::StopGroup(_) | Request::StopGroups | Request::StopEngine(_) => Verb::Stop,
        Request::Restart { .. } => Verb::Restart,
        Request::StartGroup(_) | Request::StartGroups | Request::StartEngine(_) => Verb::Start,
        Request::Evict(_) => Verb::Evict,
        Request::Quarantine(_) => Verb::Quarantine,
        Request::Release(_) => Verb::Release,
        Request::Hold { .. } => Verb::Hold,
        Request::Resume { .. } => Verb::Resume,
    }
}
