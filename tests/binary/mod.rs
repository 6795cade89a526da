//! The real binary: real processes, real signals, the simulated GPU. Every test has a stage of its own in a
//! short directory, waits for conditions and never for time, and proves at its end that nothing is left.

mod attach;
mod bad_input;
mod calm;
mod crash;
mod demo;
mod discover;
mod drivers;
mod engine_metrics;
mod external;
mod faults;
mod files;
mod flood;
mod found;
mod gate;
mod gpu;
mod gpu_like;
mod health;
mod incidents;
mod isolation;
mod kernel_log;
mod memory;
mod observe_mode;
mod orders;
mod outside;
mod overlap;
mod reload;
mod reload_roll;
mod second_fault;
mod steps;
mod stop;
mod strangers;
mod stuck;
mod study;
mod suspects;
mod two_gpus;
