//! What speaks for a fault or a culprit, and how much it is worth.

pub(crate) mod said;
