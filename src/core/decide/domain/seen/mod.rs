//! Takes in what is observed of a domain, each subject by itself.

pub(crate) mod attached;
pub(crate) mod figures;
pub(crate) mod foreign;
pub(crate) mod limits;
pub(crate) mod nameless;
pub(crate) mod newcomers;
pub(crate) mod shortage;
pub(crate) mod strangers;
pub(crate) mod unknown;
pub(crate) mod words;
