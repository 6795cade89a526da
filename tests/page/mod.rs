//! The page for people, as a person sees it: its words, its look, its keys.

mod colours;
mod five_tasks;
mod keys;
mod live;
mod shown;
mod states;
