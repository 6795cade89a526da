//! The page in a real Chromium over the real binary's demo, as it changes. Pictures stay among the build's temporary
//! files.

use std::sync::Arc;

use mpswarden::export::http::serve;
use mpswarden::model::{ProbeState, Status};
use mpswarden::web::{Gate, Server};
use serde_json::Value;

use crate::support::browser::{Browser, Look};
use crate::support::{running, statuses};

/// The page is looked at until it is so.
#[track_caller]
fn eventually(what: &str, condition: impl Fn() -> bool) {
    running::eventually(what, || condition().then_some(()));
}

fn shows(browser: &Browser, parts: &[&str]) -> bool {
    let text = browser.text();
    parts.iter().all(|part| text.contains(part))
}

#[test]
fn the_page_follows_a_fault_and_its_recovery_without_being_loaded_again() {
    let Some(browser) = Browser::start(Look::default()) else { return };
    let (demo, address) = running::demo(&["--for", "5m", "--inject", "illegal-address@20s"]);
    browser.go(&format!("http://{address}/"));
    browser.run("window.loadedOnce = true");
    eventually("all serve", || {
        shows(&browser, &["All 3 engines serve", "What to do: nothing", "qwen-a", "MPS server"])
    });
    // Whichever evidence came first.
    eventually("the fault", || {
        shows(&browser, &["restarts all its engines", "What to do: nothing: mpswarden is", "Evidence", "going on"])
    });
    browser.picture("page-recovering");
    eventually("the recovery", || shows(&browser, &["All 3 engines serve", "gpu_fault", "Decided", "serving after"]));
    browser.picture("page-light");
    let title = browser.run("return document.title");
    assert!(title.as_str().unwrap().starts_with("All 3 engines serve · "), "{title}");
    let steps = browser.run("return [...document.querySelectorAll('.fall .name')].map(e => e.textContent)");
    for step in ["kill", "gone", "memory", "active", "ready"] {
        assert!(steps.as_array().unwrap().contains(&Value::from(step)), "{step} is not among {steps}");
    }
    browser.run("document.querySelector('details').open = false");
    browser.run("document.querySelector('summary').focus()");
    let first = browser.run("return document.querySelector('#clock').textContent");
    eventually("it goes on", || browser.run("return document.querySelector('#clock').textContent") != first);
    assert_eq!(browser.run("return document.querySelector('details').open"), false, "what was closed stays closed");
    assert_eq!(browser.run("return document.activeElement.tagName"), "SUMMARY", "who was at it still is");
    assert_eq!(browser.run("return window.loadedOnce"), true, "it was loaded again");
    drop(demo);
    eventually("it says that it is old", || shows(&browser, &["no answer from mpswarden"]));
}

/// The lowest contrast of any text with what is behind it, and the text.
const LOWEST_CONTRAST: &str = r#"
    const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
    const rgb = (colour) => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const linear = (part) => (part /= 255) <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    const bright = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
    const behind = (element) => {
        for (let at = element; at; at = at.parentElement) {
            const colour = rgb(getComputedStyle(at).backgroundColor);
            if (colour[3] === 255) return colour;
        }
        return [255, 255, 255, 255];
    };
    let lowest = [99, 'no text'];
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
        const element = texts.currentNode.parentElement;
        if (!texts.currentNode.textContent.trim() || ['SCRIPT', 'STYLE', 'title'].includes(element.tagName)) continue;
        const [a, b] = [bright(rgb(getComputedStyle(element).color)), bright(behind(element))];
        const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (contrast < lowest[0]) lowest = [contrast, texts.currentNode.textContent];
    }
    return lowest;
"#;

/// Asserts that a page reads well in light and dark, with a picture of each, and without being scrolled sideways.
#[track_caller]
pub fn assert_reads_well(browser: &Browser, name: &str) {
    for scheme in ["light", "dark"] {
        browser.prefer(scheme);
        let ground = browser.run("return getComputedStyle(document.body).backgroundColor");
        assert_eq!(ground == "rgb(15, 19, 23)", scheme == "dark", "{scheme}: {ground}");
        let lowest = browser.run(LOWEST_CONTRAST);
        assert!(lowest[0].as_f64().unwrap() >= 4.5, "{scheme}: contrast {lowest}");
        browser.picture(&format!("{name}-{scheme}"));
    }
    let wide = browser.run("return [document.documentElement.scrollWidth, window.innerWidth]");
    // A bar to scroll down by is no part of the first.
    assert!(wide[0].as_u64() <= wide[1].as_u64(), "it has to be scrolled sideways: {wide}");
}

/// The page of a status that does not change.
fn served(status: &Status) -> Server {
    let (exporter, now) = (statuses::exporter(status).exporter, status.at);
    let addresses = ["127.0.0.1:0".parse().unwrap()];
    let gate = Gate::new(None).unwrap();
    serve(gate, &addresses, "/metrics", exporter, Arc::new(|| true), Arc::new(move || now)).unwrap()
}

#[test]
fn overlap_gain_and_advice_read_well_on_every_screen() {
    let mut status = statuses::sharing(300.0);
    let sharing = &mut status.groups[0].engines[1].sharing;
    sharing.probe = ProbeState::Unavailable;
    sharing.probe_note = Some("another injection library is named in its environment".to_owned());
    let server = served(&status);
    for phone in [false, true] {
        let Some(browser) = Browser::start(Look { phone, ..Look::default() }) else { return };
        browser.go(&format!("http://{}/", server.local_addresses[0]));
        let said = ["sharing does not pay: gain 1.02", "none 25 % · 1 client 50 % · 2 clients 25 %", "baseline study"];
        assert!(shows(&browser, &said), "{}", browser.text());
        assert_reads_well(&browser, if phone { "sharing-phone" } else { "sharing" });
    }
}

#[test]
fn the_page_reads_well_on_a_phone_in_light_and_dark_and_without_its_script() {
    let Some(browser) = Browser::start(Look { phone: true, ..Look::default() }) else { return };
    let faults = ["--for", "5m", "--inject", "sigkill-idle:qwen-b@12s", "--inject", "foreign-process@12s"];
    let (_demo, address) = running::demo(&faults);
    let url = format!("http://{address}/");
    browser.go(&url);
    eventually("a fault and its end", || shows(&browser, &["engine_died", "3 of 3 engines serve"]));
    assert_reads_well(&browser, "page-phone");
    drop(browser);
    let Some(browser) = Browser::start(Look { without_script: true, ..Look::default() }) else { return };
    browser.go(&url);
    assert!(shows(&browser, &["qwen-a", "qwen-b", "MPS server", "engine_died", "Evidence", "GiB of"]));
}
