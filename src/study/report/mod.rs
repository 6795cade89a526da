//! A study as one HTML file that needs nothing else: no network, no script. What it says is what the terminal says.

mod axis;
mod chart;
mod charts;
mod comparison;
mod document;
mod heat;
mod tables;

pub use document::html;
