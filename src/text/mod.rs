//! Text as people may be shown it. Names nothing of the rest.

pub mod plain;
pub mod secrets;
