//! Verbs: carry out one action and answer with exactly one outcome.
