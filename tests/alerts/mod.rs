//! The alert rules, their tests, runbooks and the example Alertmanager, held to each other, to the metric
//! catalogue, and to real Prometheus programs. Rules of Prometheus are tested by promtool, not here.

mod alertmanager;
mod catalogued;
mod conventions;
mod end_to_end;
mod index;
mod inhibitions;
mod promtool;
mod shipped;
mod webhook;
