//! What a study's numbers come to: hand-made studies with known answers, in the terminal, in the report and in words.
//! Pure text in, pure text out; the report is also looked at in a real Chromium.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code)]
#[path = "../page/browser.rs"]
mod browser;
mod figures;
mod made;
#[path = "../needs/mod.rs"]
mod needs;
mod report;
mod tables;
mod words;
