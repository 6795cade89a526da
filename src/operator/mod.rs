//! The control socket and the terminal: orders come in here, and a person reads here what the watchdog knows.
//! It decides nothing: an order is the core's to plan and to refuse.

mod answers;
mod client;
mod figures;
mod goals;
mod incident_text;
mod listen;
mod order;
mod screen;
mod seen;
mod serve;
mod sharing_text;
mod status_text;
mod table;
mod terminal;
mod words;

pub use client::Client;
pub use incident_text::{incident_text, incidents_text};
pub use listen::{BindError, Listening, bind};
pub use order::Ordering;
pub use screen::Screen;
pub use seen::{Incidents, Seen};
pub use serve::{Asked, ControlSocket, SetupSource, Wanted, serve};
pub use status_text::status_text;
pub use terminal::{Ended, Terminal};
pub use words::{Call, Failure, Kind};
