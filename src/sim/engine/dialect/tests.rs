//! The dialects' words, as the recordings and the sources have them.

use jiff::civil::date;
use jiff::tz::TimeZone;

use super::*;

fn now() -> Zoned {
    date(2026, 11, 29).at(14, 34, 30, 0).to_zoned(TimeZone::UTC).unwrap_or_default()
}

fn said(name: &str, voice: Voice, text: &str) -> String {
    named(Some(name)).line(voice, &now(), text)
}

#[test]
fn vllm_writes_its_process_its_level_and_the_place() {
    let pid = std::process::id();
    let line = &named(Some("vllm")).allocated(349_520, Duration::from_millis(1590))[0];
    let expected = format!(
        "(EngineCore pid={pid}) INFO 11-29 14:34:30 [kv_cache_utils.py:2146] GPU KV cache size: 349,520 tokens"
    );
    assert_eq!(said("vllm", Voice::Core, line), expected);
    let by_uvicorn = said("vllm", Voice::Front, "INFO:     Application startup complete.");
    assert_eq!(by_uvicorn, format!("(APIServer pid={pid}) INFO:     Application startup complete."));
}

#[test]
fn sglang_writes_the_time_and_its_scheduler_its_rank() {
    let line = &named(Some("sglang")).allocated(20_480, Duration::ZERO)[0];
    let expected = "[2026-11-29 14:34:30 TP0] KV Cache is allocated. #tokens: 20480, K size: 0.12 GB, V size: 0.12 GB";
    assert_eq!(said("sglang", Voice::Core, line), expected);
    let ready = said("sglang", Voice::Front, "The server is fired up and ready to roll!");
    assert_eq!(ready, "[2026-11-29 14:34:30] The server is fired up and ready to roll!");
}

#[test]
fn a_fatal_error_comes_with_a_traceback_in_the_dialects_form() {
    let pid = std::process::id();
    let words = |name| {
        let lines = named(Some(name)).dies_of(CudaError::ILLEGAL_ADDRESS);
        lines.iter().map(|line| said(name, Voice::Core, line)).collect::<Vec<_>>()
    };
    let error = "torch.AcceleratorError: CUDA error: an illegal memory access was encountered";
    let vllm = words("vllm");
    assert!(vllm.contains(&format!("(EngineCore pid={pid}) ERROR 11-29 14:34:30 [core.py:1233] {error}")), "{vllm:#?}");
    assert!(vllm.contains(&format!("(EngineCore pid={pid}) {error}")), "{vllm:#?}");
    let sglang = words("sglang");
    assert!(sglang[0].starts_with("[2026-11-29 14:34:30 TP0] Scheduler hit an exception: Traceback"), "{sglang:#?}");
    assert!(sglang.contains(&error.to_owned()), "{sglang:#?}");
}

#[test]
fn a_prompt_stays_on_one_line_whatever_its_user_wrote() {
    for name in ["vllm", "sglang"] {
        let prompt = "it's\nCUDA error: an illegal memory access\tor \"so\"\u{1b}";
        let line = named(Some(name)).received(&Received { id: 7, prompt, tokens: 8 });
        assert!(line.contains("'it\\'s\\nCUDA error: an illegal memory access\\tor \"so\"\\x1b'"), "{line}");
        assert_eq!(line.lines().count(), 1);
    }
}

#[test]
fn numbers_are_grouped_as_python_does() {
    assert_eq!([7, 999, 1000, 349_520, 1_000_000].map(thousands), ["7", "999", "1,000", "349,520", "1,000,000"]);
}
