//! The alert rules, their tests, runbooks and the example Alertmanager, held to each other, to the metric
//! catalogue, and to real Prometheus programs. Rules of Prometheus are tested by promtool, not here.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod alertmanager;
mod catalogued;
mod conventions;
mod end_to_end;
#[path = "../outside/http.rs"]
mod http;
mod index;
mod inhibitions;
#[path = "../needs/mod.rs"]
mod needs;
#[path = "../binary/processes.rs"]
#[allow(dead_code)]
mod processes;
mod promtool;
#[path = "../outside/running.rs"]
mod running;
mod shipped;
mod webhook;
#[path = "../outside/words.rs"]
mod words;
