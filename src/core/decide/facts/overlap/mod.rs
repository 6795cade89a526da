//! How engines share a GPU: figures that are reported, and from which nothing follows but words.

pub(crate) mod advice;
pub(crate) mod baseline;
pub(crate) mod counts;
pub(crate) mod gain;
pub(crate) mod known;
pub(crate) mod learnt;
pub(crate) mod pace;
pub(crate) mod sharing;
pub(crate) mod solo;
