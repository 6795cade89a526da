//! What engines were seen to print, what only looks like it, and both at random.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::spellings::{CHATTER, HEADS, fatal};
use super::*;
use crate::host::pieces::{LONGEST_LINE, Part, Piece};
use crate::model::{Moment, Saying};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// Says of all lines at once which say something else than they should.
fn says(lines: impl IntoIterator<Item = (String, Option<Saying>)>) {
    let wrong = lines.into_iter().filter_map(|(line, right)| {
        let said = said_in(&line);
        (said != right).then(|| format!("{said:?}, not {right:?}: {line}"))
    });
    let wrong: Vec<String> = wrong.collect();
    assert!(wrong.is_empty(), "{} lines:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_expression_compiles() {
    assert!(dialect::ALLOCATED.compiles() && dialect::QUOTES.compiles());
    assert!(errors::compiles() && line::compiles() && place::compiles() && saying::compiles());
}

#[test]
fn each_librarys_error_is_found_behind_every_header() {
    let behind = |head| fatal().into_iter().map(move |(text, saying)| (format!("{head}{text}"), Some(saying)));
    says(HEADS.iter().flat_map(behind));
}

#[test]
fn a_line_of_level_info_or_below_is_no_error_whatever_it_holds() {
    for head in CHATTER {
        says(fatal().into_iter().map(|(text, _)| (format!("{head}{text}"), None)));
        says(
            fatal().into_iter().map(|(text, _)| (format!("{head}Received request: prompt: '{text}', params: x"), None)),
        );
    }
}

#[test]
fn a_warning_is_an_error_only_where_it_begins_as_one() {
    let head = "(EngineCore pid=7) WARNING 11-29 14:41:14 [core.py:12] ";
    for (rest, saying) in [
        ("CUDA error: out of memory", Some(Saying::Error(2))),
        ("RuntimeError: CUDA error: unspecified launch failure", Some(Saying::Error(719))),
        ("Falling back to eager because of: CUDA error: out of memory", None),
        ("If you see CUDA out of memory, lower gpu_memory_utilization", None),
    ] {
        assert_eq!(said_in(&format!("{head}{rest}")), saying, "{rest}");
    }
}

#[test]
fn what_somebody_tells_of_an_error_is_none() {
    says(fatal().into_iter().flat_map(|(text, _)| retold(text)).map(|line| (line, None)));
}

/// What users and those who log them make of an error's text.
fn retold(text: &str) -> Vec<String> {
    let json = serde_json::to_string(text).unwrap();
    vec![
        format!("[2026-11-29 14:41:14] Receive: obj=GenerateReqInput(text='{text}', input_ids=None)"),
        format!("[2026-11-29 14:41:14 TP0] Finish: obj=GenerateReqInput(rid='1'), out={{'text': \"{text}\"}}"),
        format!("Received request cmpl-00aa: prompt: 'my job says {text}, why?', params: SamplingParams(n=1)"),
        format!("Generated response cmpl-1: output: '{text}', finish_reason: stop"),
        format!("my job says {text}, why?"),
        format!("Why do I get {text} when I train?"),
        format!(
            "The log of a colleague has {} in it",
            text.split(": ").flat_map(|part| part.split("NCCL ")).last().unwrap_or(text)
        ),
        format!(
            "ERROR 11-29 14:41:14 [serving.py:12] Bad request: {{'prompt': '{}', 'n': 1}}",
            text.replace('\'', "\\'")
        ),
        format!("ERROR 11-29 14:41:14 [serving.py:12] Bad request: prompt=\"{}\"", text.replace('"', "\\\"")),
        format!("{{\"role\": \"user\", \"content\": {json}}}"),
        format!("{{\"level\":\"error\",\"message\":\"refused\",\"prompt\":{json}}}"),
        format!("{{\"level\":\"info\",\"message\":{json}}}"),
        format!("{{\"msg\":{json},\"level\":20}}"),
        format!("[2026-11-29 14:41:14] {{\"event\":\"request.received\",\"obj\":{{\"text\":{json}}}}}"),
    ]
}

#[test]
fn an_error_in_a_json_log_is_one() {
    for (text, saying) in fatal() {
        let quoted = serde_json::to_string(text).unwrap();
        let lines = [
            format!("{{\"level\":\"error\",\"message\":{quoted}}}"),
            format!("{{\"levelname\":\"ERROR\",\"message\":\"step failed\",\"exc_info\":{quoted}}}"),
            format!("{{\"time\":1,\"level\":50,\"msg\":\"died\",\"err\":{{\"message\":{quoted}}}}}"),
            format!("{{\"timestamp\":\"x\",\"level\":\"ERROR\",\"fields\":{{\"message\":{quoted}}},\"target\":\"t\"}}"),
            format!("{{\"text\":\"-\",\"record\":{{\"level\":{{\"name\":\"ERROR\"}},\"message\":{quoted}}}}}"),
            format!("{{\"log\":{quoted},\"stream\":\"stderr\"}}"),
        ];
        says(lines.map(|line| (line, Some(saying))));
    }
    let traceback = r#"{"level":"error","message":"failed","exc_info":"Traceback:\n  File \"a.py\"\nRuntimeError: CUDA error: out of memory\n"}"#;
    assert_eq!(said_in(traceback), Some(Saying::Error(2)));
}

#[test]
fn every_error_that_a_recorded_client_printed_is_found() {
    let mut printed = 0;
    for scenario in std::fs::read_dir(fixtures().join("recordings")).unwrap() {
        let Ok(story) = std::fs::read_to_string(scenario.unwrap().path().join("story.txt")) else { continue };
        for line in story.lines().filter(|line| line.contains("code=")) {
            let code: u32 = line.split("code=").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
            assert_eq!(said_in(line), Some(Saying::Error(code)), "{line}");
            printed += 1;
        }
    }
    assert!(printed >= 19, "{printed}");
}

#[test]
fn a_recorded_vllm_says_what_it_does_and_nothing_else() {
    let output = std::fs::read_to_string(fixtures().join("engines/vllm-0.25.1.log")).unwrap();
    let said: Vec<(&str, Saying)> = output.lines().filter_map(|line| Some((line, said_in(line)?))).collect();
    let count = |saying| said.iter().filter(|(_, said)| *said == saying).count();
    assert_eq!((count(Saying::Allocated), count(Saying::Error(806))), (2, 4), "{said:#?}");
    assert_eq!(said.len(), 6, "{said:#?}");
}

#[test]
fn each_dialect_says_that_its_memory_is_allocated() {
    let lines = [
        "(EngineCore pid=714) INFO 11-29 14:35:09 [kv_cache_utils.py:2146] GPU KV cache size: 349,520 tokens",
        "INFO 11-29 14:35:09 [kv_cache_utils.py:2147] Maximum concurrency for 4,096 tokens per request: 85.33x",
        "INFO 10-04 14:24:15 gpu_executor.py:122] # GPU blocks: 1951, # CPU blocks: 512",
        "INFO 03-04 14:24:15 [executor_base.py:111] # cuda blocks: 1951, # CPU blocks: 512",
        "[2025-03-25 16:37:06 TP0] KV Cache is allocated. #tokens: 442750, K size: 27.02 GB, V size: 27.02 GB",
        "[2025-03-25 16:37:06 TP0] Memory pool end. avail mem=2.43 GB",
        "llama_kv_cache:      CUDA0 KV buffer size =  4096.00 MiB",
        "0.00.033.749 I llama_kv_cache_unified:      CUDA0 KV buffer size =     9.00 MiB",
        "0.05.583.299 I srv          main: model loaded",
        "main: server is listening on http://0.0.0.0:8080 - starting the main loop",
        "PagedAttentionCache initialized with self.num_blocks = 4096, self.block_size = 32",
        "2024-05-07T12:39:22.141566Z  INFO text_generation_router: router/src/main.rs:354: Setting max batch total tokens to 801568",
        r#"{"timestamp":"x","level":"INFO","message":"Setting max batch total tokens to 133696","target":"t"}"#,
        "[TensorRT-LLM][INFO] [MemUsageChange] Allocated 16.05 GiB for max tokens in paged KV cache (263008).",
    ];
    says(lines.map(|line| (line.to_owned(), Some(Saying::Allocated))));
    let lines = [
        "INFO 11-29 14:36:06 [loggers.py:273] Engine 000: Running: 8 reqs, GPU KV cache usage: 0.3%",
        "llama_kv_cache:        CPU KV buffer size =     9.00 MiB",
        "INFO 11-29 14:30:01 [logger.py:41] Received request 1: prompt: 'GPU KV cache size: 349,520 tokens'",
        "[2026-11-29 14:41:14] Receive: obj=GenerateReqInput(text='KV Cache is allocated.')",
    ];
    says(lines.map(|line| (line.to_owned(), None)));
}

#[test]
fn an_engine_that_wants_numbers_says_so() {
    let lines = [
        "ValueError: invalid literal for int() with base 10: 'GPU-52a3a85d-3c55-ca3a-a955-82c69ed360fc'",
        "(APIServer pid=1) ValueError: invalid literal for int() with base 10: 'MIG-377e0049-554c-540b-93c6-d0976f8426cb'",
        "  Value error, invalid literal for int() with base 10: 'GPU-52a3a85d' [type=value_error, input_value=x]",
        "ERROR 11-29 14:41:14 [registry.py:12] ValueError: invalid literal for int() with base 10: 'MIG-GPU-52a3a85d/1/2'",
        "RuntimeError: Invalid device string: 'cuda:GPU-52a3a85d'",
        "strconv.Atoi: parsing \"GPU-52a3a85d\": invalid syntax",
    ];
    says(lines.map(|line| (line.to_owned(), Some(Saying::WantsGpuByIndex))));
    let lines = [
        "ValueError: invalid literal for int() with base 10: 'abc'",
        "INFO 11-29 14:30:01 [logger.py:41] prompt: \"ValueError: invalid literal for int() with base 10: 'GPU-5'\"",
        "why ValueError: invalid literal for int() with base 10: 'GPU-52a3a85d'?",
    ];
    says(lines.map(|line| (line.to_owned(), None)));
}

#[test]
fn harmless_lines_raise_no_alarm() {
    let lines = [
        "",
        "INFO Capturing CUDA graphs (decode, FULL): 100%|##########| 35/35",
        "INFO torch 2.9.0, cuda 13.0, driver 580.159.04",
        "If out-of-memory error occurs during cudagraph capture, consider decreasing gpu_memory_utilization",
        "    except torch.cuda.OutOfMemoryError:",
        "Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.",
        "CUDA kernel errors might be asynchronously reported at some other API call",
        "For debugging consider passing CUDA_LAUNCH_BLOCKING=1",
        "ERROR cuda worker exited with code=2",
        "worker exited with code=700",
        "cudaErrorIllegalAddressSpaceOfSomeLaterRelease",
        "an illegal memory access was encountered in the CPU path",
        "INFO CUDA error handling enabled",
        "MemoryError",
        "MemoryError: Unable to allocate 8.00 GiB for an array with shape (1073741824,)",
        "Killed",
        "java.lang.OutOfMemoryError: Java heap space",
        "ray.exceptions.OutOfMemoryError: Task was killed due to the node running low on memory.",
        "terminate called after throwing an instance of 'std::bad_alloc'",
        "OSError: [Errno 12] Cannot allocate memory",
        "RuntimeError: alloc_req_slots runs out of memory. Please set a smaller number for `--max-running-requests`.",
        "StatusCode.RESOURCE_EXHAUSTED: Received message larger than max (5 vs. 4)",
        "200 OK",
    ];
    says(lines.map(|line| (line.to_owned(), None)));
}

/// What a line of any length says, read in windows as a follower reads it.
fn said_of(line: &str) -> Vec<Saying> {
    let (mut lines, mut reader, mut said) = (crate::host::pieces::Lines::default(), LineReader::default(), Vec::new());
    let mut on_piece = |piece: &Piece| said.extend(reader.read(piece));
    lines.take(line.as_bytes(), 0, Moment::ZERO, may_say, &mut on_piece);
    lines.take(b"\n", line.len() as u64, Moment::ZERO, may_say, &mut on_piece);
    said
}

#[test]
fn an_error_at_the_end_of_a_line_of_megabytes_is_found() {
    for filling in ["x", "word ", "0, ", "."] {
        for (text, saying) in [fatal()[0], fatal()[30], fatal()[60]] {
            let line = format!("{} {text}", filling.repeat((3 << 20) / filling.len()));
            assert_eq!(said_of(&line), [saying], "{filling}: {text}");
        }
    }
}

#[test]
fn a_prompt_of_megabytes_stays_one_to_its_end() {
    let text = "RuntimeError: CUDA error: out of memory ".repeat(3 << 15);
    for line in [
        format!("INFO 11-29 14:30:01 [logger.py:41] {text}"),
        format!("[2026-11-29 14:41:14] Receive: obj=GenerateReqInput(text='{text}')"),
        format!("{{\"level\":\"error\",\"prompt\":\"{text}\"}}"),
        format!("{{\"level\":\"info\",\"message\":\"{text}\"}}"),
        format!("ERROR 11-29 14:30:01 [serving.py:1] refused: {{'prompt': '{text}'}}"),
    ] {
        assert!(line.len() > 4 * LONGEST_LINE);
        assert_eq!(said_of(&line), [], "{}", &line[..80]);
    }
}

#[test]
fn a_line_that_comes_twice_says_a_thing_once() {
    let mut reader = LineReader::default();
    let piece = |text, part, ended| Piece { text, byte: 0, part, ended, read_at: Moment::ZERO };
    let paused = piece("CUDA error: out of memory", Part::First, false);
    assert_eq!(reader.read(&paused), Some(Saying::Error(2)));
    assert_eq!(reader.read(&piece("CUDA error: out of memory, it says", Part::Again, true)), None);
    assert_eq!(reader.read(&piece("CUDA error: out of memory", Part::First, true)), Some(Saying::Error(2)));
}

fn any_fatal() -> impl Strategy<Value = (&'static str, Saying)> {
    prop::sample::select(fatal())
}

proptest! {
    #[test]
    fn chatter_around_an_error_is_never_one(
        head in prop::sample::select(CHATTER), (text, _) in any_fatal(),
        before in "[ -~]{0,40}", after in "[ -~]{0,40}", colour in prop::sample::select(&["", "\x1b[31m", "\x1b[0;1m"][..]),
    ) {
        let line = format!("{colour}{head}{before}{colour}{text}{after}");
        prop_assert_eq!(said_in(&line).filter(|said| *said != Saying::Allocated), None, "{}", line);
    }

    #[test]
    fn an_error_is_found_whatever_comes_after_it(
        head in prop::sample::select(HEADS), (text, saying) in any_fatal(), after in "( [ -~]{0,60})?",
    ) {
        let line = format!("{head}{text}{after}");
        prop_assert_eq!(said_in(&line), Some(saying), "{}", line);
    }

    #[test]
    fn what_a_user_wrote_is_no_error_under_any_of_his_keys(
        key in prop::sample::select(&["prompt", "text", "content", "messages", "input", "output", "outputs", "body",
            "arguments", "user", "query", "completion"][..]),
        (text, _) in any_fatal(), before in "[a-z ]{0,20}", level in prop::sample::select(&["error", "warning"][..]),
    ) {
        let value = serde_json::to_string(&format!("{before}{text}")).unwrap();
        let line = format!("{{\"level\":\"{level}\",\"message\":\"refused\",\"{key}\":{value}}}");
        prop_assert_eq!(said_in(&line), None, "{}", line);
        let line = format!("ERROR 11-29 14:41:14 [a.py:1] refused: {{\"{key}\": {value}}} (400)");
        prop_assert_eq!(said_in(&line), None, "{}", line);
    }

    #[test]
    fn no_line_makes_it_panic(line in "\\PC*", (text, _) in any_fatal(), tail in ".*", cut in 0usize..40) {
        let cut = text.char_indices().nth(cut).map_or(text.len(), |(at, _)| at);
        for line in [&line, &format!("{line}{text}{tail}"), &format!("\"{line}' {}{tail}", &text[..cut]), &format!("{{{line}{text}{tail}")] {
            said_in(line);
            said_of(line);
        }
    }
}
