//! The page for people: what is wrong and what to do, groups as a picture, their last hour, incidents with their time
//! lines. Made whole from one status and its history; it asks no server, and is complete without its script. All that it
//! names of the watchdog is relative to it, so that it may stand below a proxy's prefix.

mod charts;
mod document;
mod engines;
mod figures;
mod gpu;
mod groups;
mod headline;
mod incidents;
mod sharing;
mod timeline;
mod view;
mod waterfall;

pub use document::{document, fragment};
pub use view::View;
