//! `transformers serve`, and every engine that is not known: OpenAI's requests, and no metrics with names of its own.

use super::token::{CHAT, COMPLETION, Form};

pub(super) const FORMS: &[Form] = &[COMPLETION, CHAT];
