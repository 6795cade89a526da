//! A simulated vLLM or SGLang: a main process that serves HTTP, and a child of its own that is the GPU's client.
//! It listens once the model is loaded, and ends shortly after its child did.

mod batch;
mod books;
mod completions;
pub(crate) mod core;
pub(crate) mod dialect;
mod ends;
mod environment;
mod http;
mod inject;
mod metrics;
mod pace;

use std::io;
use std::net::TcpListener;
use std::process::ExitCode;
use std::sync::Arc;

use super::args::Args;
use batch::Batch;
use dialect::Voice;
pub(crate) use inject::QUESTION;

/// `sim engine --name N --port P --gpu PATH [--model M] [--speaks vllm|sglang] [--plain] [--log-requests]
/// [--memory 20GiB] [--leak 2560MiB] [--startup 1500ms] [--tokens-per-second 100] [--step-gpu 4ms] [--demand 0.3]
/// [--chunk-gpu 8ms] [--step-cpu 6ms] [--request-cpu 0.1ms]`.
/// A plain one has its dialect's words and names alone: it keeps its environment readable, answers for its health at
/// once, its metrics show the moment, and it ends with status 1 after its core, as does any that can't start.
pub(crate) fn main(args: &Args) -> ExitCode {
    match environment::wipe(args).and_then(|()| run(args)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("engine {}: {error}", args.text("name").unwrap_or("?"));
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> io::Result<ExitCode> {
    let batch = Arc::new(Batch::start(args)?);
    let port = args.number("port", 0);
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    batch.dialect.say(Voice::Front, &batch.dialect.serves(port));
    ends::follow_sigterm(&batch, &listener)?;
    let watched = batch.clone();
    std::thread::spawn(move || http::tell_of_the_load(&watched));
    for stream in listener.incoming().map_while(Result::ok) {
        let batch = batch.clone();
        std::thread::spawn(move || http::serve(&batch, stream));
    }
    drop(listener);
    Ok(ends::stop(&batch))
}
