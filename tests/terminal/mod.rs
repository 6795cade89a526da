//! The control socket and the terminal: what people see, what a mad client can do, and that all that shows the
//! watchdog's state agrees. The real binary over the simulated GPU, or over a socket that the test plays.

mod agreement;
mod asking;
mod made;
mod naming;
mod player;
mod socket;
mod text;
mod waiting;
mod watching;
