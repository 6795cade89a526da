//! A small CUDA program that tells what befalls it, with the recordings' verbs: spin, fault, trap,
//! hang, oom. Also the process outside MPS that computes on the same GPU.

use std::io::Write;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::Args;
use super::client::Context;
use super::cuda::CudaError;
use super::gpu::DEMAND;

/// `sim client|foreign VERB --gpu PATH [--name N] [--seconds S] [--kernels N] [--us N] [--demand D]
/// [--gap N] [--at S] [--memory M] [--linger]`. Status 3 on a CUDA error.
pub(crate) fn main(args: &Args) -> ExitCode {
    tell(&format!("pid={} init", std::process::id()));
    let started = Instant::now();
    let context = Context::create(&args.path("gpu", "gpu.socket"), args.text("name").unwrap_or("client"));
    // The context lives as long as the process: one that lingers with its error holds the server in FAULT.
    let mut context = context.map_err(|error| ("cudaFree(0)", error));
    let result = context.as_mut().map_err(|failed| *failed).and_then(|context| {
        tell(&format!("context ready in {:.3} s, visible SMs 132", started.elapsed().as_secs_f64()));
        perform(context, args).map_err(|error| ("cudaDeviceSynchronize()", error))
    });
    let Err((place, error)) = result else { return ExitCode::SUCCESS };
    tell(&format!("ERROR where={place} code={} name={} text={}", error.0, error.name(), error.text()));
    if args.has("linger") {
        tell("lingering");
        loop {
            thread::park();
        }
    }
    ExitCode::from(3)
}

/// One line with its time, in seconds since the epoch, as the recordings' stories have them.
fn tell(text: &str) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    println!("{:.4} {text}", now.as_secs_f64());
    let _ = std::io::stdout().flush();
}

fn perform(context: &mut Context, args: &Args) -> Result<(), CudaError> {
    let verb = args.words.first().map_or("spin", String::as_str);
    context.allocate(args.size("memory", 0))?;
    let length = Duration::from_micros(args.number("us", 1000));
    let demand = args.number("demand", DEMAND);
    let gap = Duration::from_micros(args.number("gap", 0));
    let started = Instant::now();
    let at = Duration::try_from_secs_f64(args.number("at", 1.0)).unwrap_or_default();
    let until = Duration::try_from_secs_f64(args.number("seconds", 3.0)).unwrap_or_default();
    let most: u32 = args.number("kernels", u32::MAX);
    let (mut iterations, mut ran, mut done) = (0, Duration::ZERO, verb == "spin");
    while started.elapsed() < until && iterations < most {
        if !done && started.elapsed() >= at {
            done = true;
            misbehave(context, verb)?;
        }
        ran += context.launch(length, demand)?;
        iterations += 1;
        thread::sleep(gap);
    }
    let rate = f64::from(iterations) / started.elapsed().as_secs_f64();
    let each = ran.as_secs_f64() * 1e3 / f64::from(iterations.max(1));
    tell(&format!("done iterations={iterations} rate={rate:.1} each={each:.3} ms"));
    Ok(())
}

fn misbehave(context: &mut Context, verb: &str) -> Result<(), CudaError> {
    match verb {
        "fault" => {
            tell("FAULTING illegal address");
            context.fault("illegal-address")
        }
        "trap" => {
            tell("FAULTING trap");
            context.fault("trap")
        }
        "hang" => {
            tell("HANGING");
            context.hang()
        }
        "oom" => exhaust(context),
        _ => Ok(()),
    }
}

/// Allocates a GiB at a time until there is no more, and goes on with what it has.
fn exhaust(context: &mut Context) -> Result<(), CudaError> {
    for taken in 0.. {
        match context.allocate(1 << 30) {
            Err(CudaError::OUT_OF_MEMORY) => {
                tell(&format!("OOM after {taken} GiB code=2 name={}", CudaError::OUT_OF_MEMORY.name()));
                return Ok(());
            }
            other => other?,
        }
    }
    Ok(())
}
