//! The page for people: groups as a picture, incidents with their time lines. Made whole from one status; it asks no
//! server, and is complete without its script. All that it names is relative to it, so that it may stand below a
//! proxy's prefix.

mod document;
mod figures;
mod groups;
mod incidents;
mod sharing;
mod view;

pub use document::{document, fragment};
pub use view::View;
