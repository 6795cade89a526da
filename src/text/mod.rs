//! Text for people: spans of time, amounts, costs, tables and prose of a terminal; what of a text is plain, and which of it is
//! secret. Names nothing of the rest.

pub mod cost;
pub mod figures;
pub mod full_screen;
pub mod pattern;
pub mod plain;
pub mod screen;
pub mod secrets;
pub mod span;
pub mod status_line;
pub mod table;
