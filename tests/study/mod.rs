//! What a study's numbers come to: hand-made studies with known answers, in the terminal, in the report and in words.
//! Pure text in, pure text out; the report is also looked at in a real Chromium.

mod compare;
mod figures;
mod made;
mod report;
mod tables;
mod words;
