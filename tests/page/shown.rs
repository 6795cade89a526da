//! A state as it is shown: on the page, and by `mpswarden status`.

use jiff::tz::TimeZone;
use mpswarden::cli::status_text;
use mpswarden::control::Seen;
use mpswarden::export::BuildInfo;
use mpswarden::export::page::{View, document};
use mpswarden::text::screen::Screen;

use crate::support::plights::{BOOT, LOOKED_AT, Plight};
use crate::support::statuses::at;

/// The page's HTML.
pub fn page(plight: &Plight) -> String {
    document(&View {
        status: &plight.status,
        since: plight.history.since(&plight.status),
        history: &plight.history,
        incidents: &plight.incidents,
        build: BuildInfo { version: "0.1.0", revision: "", rustc: "" },
        host: "gpu-node-7",
        telemetry_path: "/metrics",
        boot: BOOT,
        zone: TimeZone::UTC,
        now: at(LOOKED_AT + 0.4),
    })
}

/// What `mpswarden status` prints into a file.
pub fn status(plight: &Plight) -> String {
    let since = plight.history.since(&plight.status);
    let status = plight.status.clone();
    let seen = Seen { timestamp_seconds: BOOT + LOOKED_AT, http: Vec::new(), since, status };
    status_text(&seen, BOOT + LOOKED_AT + 0.4, &Screen::plain())
}

/// What a reader sees of the page: the text without tags, style and script, a line for each block.
pub fn text(page: &str) -> String {
    let body = page.split("<header>").nth(1).unwrap().split("<script>").next().unwrap();
    let mut text = String::new();
    let mut rest = body;
    while let Some((before, after)) = rest.split_once('<') {
        let (tag, behind) = after.split_once('>').unwrap();
        text.push_str(before);
        let name = tag.trim_start_matches('/').split(' ').next().unwrap();
        let inline = ["a", "b", "strong", "span", "code", "time", "small", "i"].contains(&name);
        text.push_str(if inline { "" } else { "\n" });
        rest = behind;
    }
    let plain = text.replace("&quot;", "\"").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    plain.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}
