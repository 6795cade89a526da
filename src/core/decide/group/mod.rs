//! One group: what is true of it once, and the fault domains that it has. What a domain does is decided in it; here is
//! what needs more than one of them.
//!
//! `state` is the group itself, `places` leads engines between its domains, `orders` takes what people say, `hold` an
//! operator's word that nothing is to be done by itself.

mod hold;
pub(crate) mod isolation;
mod orders;
pub(crate) mod place;
mod places;
pub(crate) mod shown;
mod state;
pub(crate) mod time;

pub(super) use orders::{no_such_group, plan_for_all};
pub(super) use state::{Context, Group, Numbers};
