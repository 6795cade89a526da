//! The dashboards, held to the conventions of the field, to the metric catalogue, and to a real Prometheus that
//! scrapes a demo. Grafana itself is not needed.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod catalogued;
mod conventions;
mod data;
mod documented;
mod expressions;
#[path = "../outside/http.rs"]
#[allow(dead_code)]
mod http;
mod layout;
#[path = "../needs/mod.rs"]
mod needs;
#[path = "../pages/mod.rs"]
mod pages;
#[path = "../binary/processes.rs"]
#[allow(dead_code)]
mod processes;
#[path = "../outside/running.rs"]
#[allow(dead_code)]
mod running;
mod shipped;
mod stand_in;
mod states;
#[path = "../outside/words.rs"]
mod words;
