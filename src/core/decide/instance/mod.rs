//! The engine tier: makes one engine serve or fail (`tier`), lets its requests end (`drain`) and takes it out (`ending`).

pub(crate) mod drain;
pub(crate) mod ending;
pub(crate) mod tier;
