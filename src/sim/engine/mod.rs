//! A simulated vLLM or SGLang: a main process that serves HTTP, and a child of its own that is the GPU's client.
//! It listens once the model is loaded, and dies shortly after its child did.

mod batch;
mod completions;
pub mod core;
mod http;
mod metrics;
mod pace;

use std::io;
use std::net::TcpListener;
use std::process::ExitCode;
use std::sync::Arc;

use super::args::Args;
use batch::Batch;

/// `sim engine --name N --port P --gpu PATH [--model M] [--speaks vllm|sglang] [--memory 20GiB] [--leak 2560MiB]
/// [--startup 1500ms] [--tokens-per-second 100] [--step-gpu 4ms] [--demand 0.3] [--chunk-gpu 8ms] [--step-cpu 6ms]
/// [--request-cpu 0.1ms]`.
/// Status 1 when its core died.
pub fn main(args: &Args) -> ExitCode {
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("engine {}: {error}", args.text("name").unwrap_or("?"));
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> io::Result<()> {
    let batch = Arc::new(Batch::start(args)?);
    let listener = TcpListener::bind(("127.0.0.1", args.number("port", 0)))?;
    eprintln!("INFO: Application startup complete.");
    for stream in listener.incoming().map_while(Result::ok) {
        let batch = batch.clone();
        std::thread::spawn(move || http::serve(&batch, stream));
    }
    Ok(())
}
