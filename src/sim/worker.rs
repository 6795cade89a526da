//! A client of one server over several GPUs, with the words of the program that recorded it on a real one
//! (`tests/gpu/two_gpus/client.cu`): a context on each GPU that it is given, short kernels there back to back, and on
//! order what ends others.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Args;
use super::client::Context;
use super::cuda::CudaError;
use super::gpu::DEMAND;

/// Length of its kernels.
const SHORT: Duration = Duration::from_millis(1);
/// Length of the one that it is killed with.
const LONG: Duration = Duration::from_secs(20);
/// Bytes of device memory on each GPU.
const MEMORY: u64 = 256 << 20;

/// `sim worker LINGER DEVICE [DEVICE] --gpu PATH`. LINGER: seconds for which it stays after its first error; `once` tries
/// each GPU and ends. On stdin: `illegal DEVICE`, `trap DEVICE`, `long DEVICE`, `rounds`, `end`.
pub(crate) fn main(args: &Args) -> ExitCode {
    let Some((linger, devices)) = args.words.split_first() else { return ExitCode::from(64) };
    let devices: Vec<usize> = devices.iter().map_while(|device| device.parse().ok()).collect();
    let mut made = match Context::create_on(&args.path("gpu", "gpu.socket"), "client", &devices) {
        Ok(made) => made,
        Err(error) => {
            devices.iter().for_each(|device| failed(*device, "open", error));
            return ExitCode::FAILURE;
        }
    };
    if linger == "once" {
        return once(&devices, &mut made);
    }
    let linger = Duration::try_from_secs_f64(linger.parse().unwrap_or(0.0)).unwrap_or_default();
    let mut orders = BTreeMap::new();
    for (device, context) in devices.into_iter().zip(made) {
        let (to, order) = channel();
        orders.insert(device, to);
        thread::spawn(move || work(device, context, &order, linger));
    }
    follow(&orders);
    ExitCode::SUCCESS
}

fn once(devices: &[usize], made: &mut [Context]) -> ExitCode {
    for (device, context) in devices.iter().zip(made) {
        match context.launch(SHORT, DEMAND) {
            Ok(_) => tell(&format!("ready device={device}")),
            Err(error) => {
                failed(*device, "open", error);
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

/// Passes on what is ordered, until it is to end.
fn follow(orders: &BTreeMap<usize, Sender<String>>) {
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        match *line.split_whitespace().collect::<Vec<_>>() {
            ["rounds"] => orders.values().for_each(|to| drop(to.send("rounds".to_owned()))),
            [what, device] => {
                let to = device.parse().ok().and_then(|device: usize| orders.get(&device));
                let _ = to.map(|to| to.send(what.to_owned()));
            }
            _ => return,
        }
    }
}

fn work(device: usize, mut context: Context, orders: &Receiver<String>, linger: Duration) {
    let mut rounds = 0_u64;
    let mut result = context.allocate(MEMORY);
    if result.is_ok() {
        tell(&format!("ready device={device}"));
    }
    while result.is_ok() {
        let order = match orders.try_recv() {
            Ok(order) => order,
            Err(TryRecvError::Empty) => String::new(),
            Err(TryRecvError::Disconnected) => return,
        };
        if order == "rounds" {
            tell(&format!("rounds device={device} count={rounds}"));
            continue;
        }
        if !order.is_empty() {
            tell(&format!("launches device={device} what={order}"));
        }
        result = match order.as_str() {
            "illegal" => context.fault("illegal-address"),
            "trap" => context.fault("trap"),
            "long" => context.launch(LONG, DEMAND).map(drop),
            _ => context.launch(SHORT, DEMAND).map(drop),
        };
        rounds += 1;
    }
    if let Err(error) = result {
        failed(device, "work", error);
    }
    thread::sleep(linger);
    tell(&format!("exits device={device}"));
    std::process::exit(3);
}

fn failed(device: usize, place: &str, error: CudaError) {
    tell(&format!("error device={device} where={place} code={} name={}", error.0, error.name()));
}

/// One line with its time, in seconds since the epoch.
fn tell(text: &str) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    println!("{:.6} {text}", now.as_secs_f64());
    let _ = io::stdout().flush();
}
