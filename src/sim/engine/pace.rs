//! What a step of the batch costs: kernels of a prefill and of a decode step, and the host's own time, in which the
//! GPU is free for others. Decides nothing else.

use std::time::Duration;

use crate::Args;
use crate::gpu::DEMAND;

/// Prompt tokens that one step reads, of all requests together: so a long prompt takes its time, and others go on.
pub(super) const CHUNK: u64 = 512;

/// What one step is to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Step {
    /// Requests in the batch.
    pub requests: usize,
    /// Number of requests whose prompt is read: each gets a token.
    pub decodes: usize,
    /// Prompt tokens to be read.
    pub reads: u64,
}

/// Times of one engine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pace {
    /// A decode step's kernel, with the GPU to itself, and the share of the SMs that it can use.
    gpu: Duration,
    demand: f64,
    /// The kernel that reads a whole chunk, which can use every SM; zero: prompts are read within decode steps.
    chunk: Duration,
    /// The host's time of a step, and more of it for each request.
    cpu: Duration,
    request_cpu: Duration,
}

impl Pace {
    /// `--step-gpu 4ms --demand 0.3 --chunk-gpu 8ms --step-cpu 6ms --request-cpu 0.1ms`; without them a step is a kernel
    /// alone, and as long as `--tokens-per-second` says.
    pub(super) fn of(args: &Args) -> Pace {
        let step = Duration::from_secs(1) / args.number("tokens-per-second", 100).max(1);
        Pace {
            gpu: args.time("step-gpu", step),
            demand: args.number("demand", DEMAND),
            chunk: args.time("chunk-gpu", Duration::ZERO),
            cpu: args.time("step-cpu", Duration::ZERO),
            request_cpu: args.time("request-cpu", Duration::ZERO),
        }
    }

    /// The core's orders for a step, one after the other.
    pub(super) fn launches(&self, step: Step) -> Vec<String> {
        let chunk = self.chunk.mul_f64(step.reads as f64 / CHUNK as f64).as_micros();
        let prefill = (chunk > 0).then(|| format!("launch {chunk} 1"));
        let decodes = step.decodes > 0 || prefill.is_none();
        let decode = decodes.then(|| format!("launch {} {}", self.gpu.as_micros(), self.demand));
        prefill.into_iter().chain(decode).collect()
    }

    /// What the host needs beside it.
    pub(super) fn host_time(&self, step: Step) -> Duration {
        self.cpu + self.request_cpu * u32::try_from(step.requests).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(options: &str) -> Pace {
        Pace::of(&Args::parse(&options.split(' ').map(str::to_owned).collect::<Vec<_>>()))
    }

    #[test]
    fn without_options_a_step_is_one_kernel_whatever_it_reads() {
        let pace = pace("--tokens-per-second 200");
        let step = Step { requests: 2, decodes: 1, reads: 512 };
        assert_eq!(pace.launches(step), ["launch 5000 0.3"]);
        assert_eq!(pace.host_time(step), Duration::ZERO);
    }

    #[test]
    fn a_prompt_costs_a_kernel_that_fills_the_gpu_and_no_token_costs_no_decode() {
        let pace = pace("--step-gpu 4ms --demand 0.2 --chunk-gpu 8ms --step-cpu 6ms --request-cpu 0.5ms");
        let step = Step { requests: 3, decodes: 2, reads: 256 };
        assert_eq!(pace.launches(step), ["launch 4000 1", "launch 4000 0.2"]);
        assert_eq!(pace.launches(Step { decodes: 0, ..step }), ["launch 4000 1"]);
        assert_eq!(pace.launches(Step { reads: 0, ..step }), ["launch 4000 0.2"]);
        assert_eq!(pace.host_time(step), Duration::from_micros(7500));
    }
}
