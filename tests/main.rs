//! The product from outside. One crate, so that a change of the product links one test program; what needs the core
//! alone is in `tests/core/`.
#![allow(clippy::unwrap_used, clippy::expect_used)]
#![allow(unreachable_pub, clippy::wildcard_enum_match_arm, clippy::too_many_lines)]

mod alerts;
mod architecture;
mod beginning;
mod binary;
mod catalogue;
mod check;
mod configuration;
mod dashboards;
mod deploy;
mod doc_comments;
mod documented;
mod echoes;
mod hosts;
mod json;
mod kubernetes;
mod layers;
mod metrics;
mod page;
mod probe;
mod simulation;
mod soak;
mod study;
mod support;
mod terminal;
mod type_names;
mod web;
