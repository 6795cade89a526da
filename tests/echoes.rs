//! What users write is printed by the engines that they ask: a million lines with every fatal text in them must move the core
//! to nothing, and a real fault among them must be found as fast as without them.

use std::time::Duration;

use core_world::{Break, World, ms, policies};
use mpswarden::host::pieces::{Part, Piece};
use mpswarden::model::{Member, Moment, Observation, Saying};
use mpswarden::observe::output::EngineOutput;

const ENGINES: [&str; 3] = ["qwen-a", "qwen-b", "qwen-c"];

/// Spellings by which libraries name what ends an engine or a whole group.
const FATAL: [&str; 16] = [
    "CUDA error: an illegal memory access was encountered",
    "torch.AcceleratorError: CUDA error: an illegal memory access was encountered",
    "RuntimeError: CUDA error: unspecified launch failure",
    "CUDA error: device-side assert triggered",
    "RuntimeError: Triton Error [CUDA]: misaligned address",
    "NCCL WARN Cuda failure 700 'an illegal memory access was encountered'",
    "cuCtxSynchronize: CUDA_ERROR_ILLEGAL_ADDRESS",
    "CUDA error at a.cu:12 code=719(cudaErrorLaunchFailure) \"cudaDeviceSynchronize()\"",
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB",
    "RuntimeError: Triton Error [CUDA]: out of memory",
    "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 1073741824 bytes",
    "CUDA error: the remote procedural call between the MPS server and the MPS client failed",
    "MPS client failed to connect to the MPS control daemon or the MPS server",
    "CUDA error: MPS server is not ready to accept new MPS client requests",
    "cudaErrorMpsMaxClientsReached",
    "CUDA error: all CUDA-capable devices are busy or unavailable",
];

/// Where engines print what users wrote. `@` is where it stands; the last three are a line of a prompt as it is, at the
/// worst of levels, which no reader of lines can tell from the engine's own.
const FRAMES: [&str; 14] = [
    "(APIServer pid=672) INFO 11-29 14:36:06 [logger.py:41] Received request cmpl-1: prompt: 'why @?', params: SamplingParams(n=1)",
    "(APIServer pid=672) INFO 11-29 14:36:06 [logger.py:61] Generated response cmpl-1: output: '@', finish_reason: stop",
    "INFO:     127.0.0.1:4711 - \"POST /v1/completions?q=@ HTTP/1.1\" 200 OK",
    "[2026-11-29 14:30:01 TP0] Receive: obj=GenerateReqInput(rid='1', text='@', sampling_params={})",
    "[2026-11-29 14:30:02 TP0] Finish: obj=GenerateReqInput(rid='1'), out={'text': '@', 'meta_info': {}}",
    "{\"level\":\"info\",\"message\":\"request\",\"prompt\":\"@\"}",
    "{\"level\":\"error\",\"message\":\"bad request\",\"body\":{\"messages\":[{\"role\":\"user\",\"content\":\"@\"}]}}",
    "\u{1b}[32mINFO\u{1b}[0m 11-29 14:36:06 [logger.py:41] Received request: prompt: '\u{1b}[31m@\u{1b}[0m'",
    "DEBUG 11-29 14:36:06 [engine.py:1] input text: @",
    "2026-11-29T14:36:06Z  INFO text_generation_router: request{inputs=\"@\"}: Success",
    "my job says @, what shall I do?",
    "@",
    "  File \"x.py\", line 1\n@",
    "ERROR 11-29 14:36:06 [serving.py:9] @",
];

/// Numbers without a clock or a library: the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % most
    }

    fn line(&mut self) -> String {
        FRAMES[self.below(FRAMES.len())].replace('@', FATAL[self.below(FATAL.len())])
    }
}

/// Engines that work, and print.
struct Printing {
    world: World,
    outputs: Vec<EngineOutput>,
    dice: Dice,
    recognized: u64,
    byte: u64,
}

impl Printing {
    fn new() -> Printing {
        let mut world = World::new(policies::one_group(&ENGINES));
        world.run_until(seconds(9.0));
        for name in ENGINES {
            let load = world.parse(&format!("load {name} running=2 rate=50"));
            world.break_it(load);
        }
        world.run_until(seconds(15.0));
        world.journal.clear();
        let output = |name: &&str| EngineOutput::of(Member::new(&"small-llms".into(), &(**name).into()));
        Printing { world, outputs: ENGINES.iter().map(output).collect(), dice: Dice(7), recognized: 0, byte: 0 }
    }

    /// Writes so many lines a second, until then, in all engines.
    fn print_until(&mut self, until: Moment, lines_a_second: u32) {
        while self.world.now < until {
            let next = self.world.now.after(Duration::from_secs(1) / lines_a_second).min(until);
            self.world.run_until(next);
            let (engine, text) = (self.dice.below(ENGINES.len()), self.dice.line());
            text.lines().for_each(|line| self.print(engine, line));
        }
    }

    fn print(&mut self, engine: usize, text: &str) {
        self.byte += text.len() as u64;
        let piece = Piece { text, byte: self.byte, part: Part::First, ended: true, read_at: self.world.now };
        if let Some(Observation::Said { saying, .. }) = self.outputs[engine].observe(&piece) {
            self.recognized += 1;
            self.world.break_it(Break::Said(0, engine, saying));
        }
    }

    /// What was done, found or suspected.
    fn deeds(&self) -> Vec<&String> {
        let deed = |line: &&String| {
            [" do ", " began ", " who: ", " restart ", " HELD ", " failing", "ISOLAT"]
                .iter()
                .any(|word| line.contains(word))
        };
        self.world.journal.iter().filter(deed).collect()
    }
}

fn seconds(seconds: f64) -> Moment {
    Moment::ZERO.after(Duration::from_secs_f64(seconds))
}

#[test]
fn a_million_lines_with_users_text_in_them_move_the_core_to_nothing() {
    let mut printing = Printing::new();
    printing.print_until(seconds(1015.0), 1000);
    assert!(
        printing.recognized > 10_000,
        "{} lines were taken for errors: the test tests nothing",
        printing.recognized
    );
    assert_eq!(printing.deeds(), Vec::<&String>::new());
    let status = printing.world.dog.status(printing.world.now);
    assert!(status.groups[0].faults.is_empty(), "{:?}", status.groups[0].faults);
    let doubted: u64 =
        status.groups[0].engines.iter().flat_map(|engine| &engine.doubted).map(|(.., lines)| lines).sum();
    assert!(doubted > 1000, "{doubted} lines were counted as wrong");
    assert_eq!(printing.world.violations, Vec::<String>::new());
}

/// How long after the break the fault of this name, or of one of these, began.
fn found(breaks: &[&str], fault: &str, printing: bool) -> Duration {
    let mut printed = Printing::new();
    let broken_at = seconds(40.0);
    let lines = if printing { 2000 } else { 0 };
    let go_on = |printed: &mut Printing, until| match lines {
        0 => printed.world.run_until(until),
        lines => printed.print_until(until, lines),
    };
    go_on(&mut printed, broken_at);
    for text in breaks {
        let what = printed.world.parse(text);
        printed.world.break_it(what);
    }
    let mut until = broken_at;
    loop {
        until = until.after(ms(1));
        go_on(&mut printed, until);
        let is_it = |line: &String| fault.split('|').any(|fault| line.contains(&format!(" {fault} began")));
        if printed.world.journal.iter().any(is_it) {
            return until.since(broken_at);
        }
        assert!(until < seconds(120.0), "{fault} is not found: {:#?}", printed.deeds());
    }
}

#[test]
fn each_real_fault_among_them_is_found_as_fast_as_without_them() {
    for (breaks, fault) in [
        (&["fatal illegal-address"][..], "gpu_fault"),
        (&["fatal trap"], "gpu_fault"),
        (&["kill-server"], "server_died"),
        (&["kill-control"], "control_died"),
        // An engine that ends within a minute of an out-of-memory error, quoted or its own, is taken to have ended by
        // it.
        (&["exit qwen-b 1"], "engine_died|device_oom"),
        (&["cuda-error qwen-b 2", "exit qwen-b 0"], "device_oom"),
        (&["load qwen-b running=2 rate=0"], "hang"),
        (&["log-unreadable", "fatal illegal-address", "cuda-error qwen-a 700"], "gpu_fault"),
    ] {
        let (alone, among) = (found(breaks, fault, false), found(breaks, fault, true));
        assert!(among <= alone + ms(2), "{breaks:?}: {fault} after {alone:?} alone, {among:?} among echoes");
    }
}

#[test]
fn every_fatal_text_is_recognized_where_an_engine_says_it_itself() {
    for text in FATAL {
        let mut output = EngineOutput::of(Member::new(&"g".into(), &"e".into()));
        let line = format!("(EngineCore pid=714) ERROR 11-29 14:36:11 [core.py:99] {text}");
        let piece = Piece { text: &line, byte: 0, part: Part::First, ended: true, read_at: Moment::ZERO };
        let said = output.observe(&piece);
        assert!(matches!(said, Some(Observation::Said { saying: Saying::Error(_), .. })), "{line}");
    }
}
