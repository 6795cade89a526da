//! The dashboards, held to the conventions of the field, to the metric catalogue, and to a real Prometheus that
//! scrapes a demo. Grafana itself is not needed.

mod catalogued;
mod conventions;
mod data;
mod documented;
mod expressions;
mod layout;
mod shipped;
mod stand_in;
mod states;
