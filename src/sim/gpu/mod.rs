//! The driver and the hardware: one process that knows every server, context, byte, kernel and fault of the simulated
//! GPUs of a machine, and writes the kernel log. It ends with the process that started it.

mod busy;
mod device;
mod driver;
mod ends;
mod faults;
mod kernel_log;
mod kernels;
mod launches;
mod process;
mod queries;
mod reaper;
mod turn;

pub(crate) use turn::{DEMAND, MEMORY_TOTAL, SERVER_MEMORY, main};
use turn::{Domain, Due, Kind, Message};
