//! The engine's GPU process, a child of the engine as in vLLM: holds the model's memory, runs the kernels that it is
//! given on stdin, and dies of a CUDA error as a PyTorch program does.

use std::io::{self, BufRead, Write};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use super::dialect::{self, Dialect, Voice};
use super::environment;
use crate::Args;
use crate::client::Context;
use crate::cuda::CudaError;
use crate::gpu::DEMAND;

/// Bytes of a token in the key-value cache, which takes what the model leaves.
const TOKEN: u64 = 12_288;
/// The model is loaded in so many pieces.
const PIECES: u32 = 10;

/// What an error does to this process.
#[derive(Default)]
struct Manners {
    /// It catches the error and lives on.
    stays: bool,
    /// It lives on without its engine.
    orphan: bool,
}

/// `sim engine-core --gpu PATH --name N --memory SIZE --startup TIME [--speaks vllm|sglang] [--model M] [--plain]`.
/// Status 1 on a CUDA error.
pub(crate) fn main(args: &Args) -> ExitCode {
    let dialect = dialect::named(args.text("speaks"));
    if let Err(error) = environment::wipe(args) {
        eprintln!("engine-core: {error}");
        return ExitCode::FAILURE;
    }
    match start(args, dialect) {
        Ok(contexts) => {
            answer("ready");
            serve(contexts, dialect)
        }
        Err(error) => die_of(error, dialect),
    }
}

/// Where it is given several GPUs its model lies on all of them; its kernels run on the first.
fn start(args: &Args, dialect: &dyn Dialect) -> Result<Vec<Context>, CudaError> {
    let begun = Instant::now();
    let name = args.text("name").unwrap_or("engine");
    let memory = args.size("memory", 1 << 30);
    let mut contexts = Context::create_on_named(&args.path("gpu", "gpu.socket"), name)?;
    dialect.say(Voice::Core, &dialect.loads(args.text("model").unwrap_or(name)));
    load(&mut contexts, memory, args.time("startup", Duration::ZERO))?;
    dialect.say(Voice::Core, &dialect.allocated(memory / 4 / TOKEN, begun.elapsed()));
    Ok(contexts)
}

fn load(contexts: &mut [Context], bytes: u64, time: Duration) -> Result<(), CudaError> {
    let shares = contexts.len().max(1) as u64;
    for _ in 0..PIECES {
        for context in contexts.iter_mut() {
            context.allocate(bytes / u64::from(PIECES) / shares)?;
        }
        thread::sleep(time / PIECES);
    }
    Ok(())
}

fn answer(line: &str) {
    let mut out = io::stdout();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Serves on the first; the others stay until it ends.
fn serve(mut contexts: Vec<Context>, dialect: &dyn Dialect) -> ExitCode {
    let mut manners = Manners::default();
    let Some(context) = contexts.first_mut() else { return ExitCode::FAILURE };
    for order in io::stdin().lock().lines().map_while(Result::ok) {
        match carry_out(context, &mut manners, &order) {
            Ok(()) => answer("done"),
            Err(error) if manners.stays => {
                dialect.say(Voice::Core, &dialect.dies_of(error));
                answer(&format!("error {}", error.0));
            }
            Err(error) => return die_of(error, dialect),
        }
    }
    if !manners.orphan {
        return ExitCode::SUCCESS;
    }
    loop {
        thread::park();
    }
}

fn carry_out(context: &mut Context, manners: &mut Manners, order: &str) -> Result<(), CudaError> {
    match *order.split_whitespace().collect::<Vec<_>>() {
        ["launch", micros] => context.launch(micros_of(micros), DEMAND).map(drop),
        ["launch", micros, demand] => context.launch(micros_of(micros), demand.parse().unwrap_or(DEMAND)).map(drop),
        ["alloc", bytes] => context.allocate(bytes.parse().unwrap_or(0)),
        ["fault", kind] => context.fault(kind),
        ["hang"] => context.hang(),
        ["starve"] => context.starve(),
        ["exhaust"] => loop {
            context.allocate(1 << 30)?;
        },
        ["stay"] => {
            manners.stays = true;
            Ok(())
        }
        ["orphan"] => {
            manners.orphan = true;
            Ok(())
        }
        _ => Ok(()),
    }
}

fn micros_of(text: &str) -> Duration {
    Duration::from_micros(text.parse().unwrap_or(0))
}

fn die_of(error: CudaError, dialect: &dyn Dialect) -> ExitCode {
    dialect.say(Voice::Core, &dialect.dies_of(error));
    ExitCode::FAILURE
}
