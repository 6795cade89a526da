//! What speaks for a fault or a culprit, and how much it is worth.

pub(crate) mod isolation;
pub(crate) mod search;
pub(crate) mod suspects;
