//! Every state in Chromium, in light and dark, on a wide screen and on one of 320 pixels, without its script: it reads
//! well, needs no scrolling sideways, and is small. Pictures stay among the build's temporary files.

use std::fs;

use crate::page::live::assert_reads_well;
use crate::page::shown::page;
use crate::support::browser::{Browser, Look};
use crate::support::plights::{self, Plight};

/// Most bytes of the page.
const MOST: usize = 100_000;

/// Opens a state's page without its script.
pub fn open(browser: &Browser, plight: &Plight) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let page = page(plight);
    let (before, _) = page.split_once("<script>").unwrap();
    let file = folder.path().join("page.html");
    fs::write(&file, format!("{before}</body></html>")).unwrap();
    browser.go(&format!("file://{}", file.display()));
    folder
}

#[test]
fn every_state_reads_well_on_a_wide_screen() {
    let Some(browser) = Browser::start(Look::default()) else { return };
    for plight in plights::all() {
        let _folder = open(&browser, &plight);
        assert_reads_well(&browser, &format!("state-{}", plight.name));
    }
}

#[test]
fn every_state_reads_well_on_a_screen_of_320_pixels() {
    let Some(browser) = Browser::start(Look { phone: true, ..Look::default() }) else { return };
    for plight in plights::all() {
        let _folder = open(&browser, &plight);
        assert_eq!(browser.run("return window.innerWidth"), 320);
        assert_reads_well(&browser, &format!("phone-{}", plight.name));
    }
}

#[test]
fn nothing_is_red_while_all_goes_as_it_should() {
    let Some(browser) = Browser::start(Look::default()) else { return };
    let red = "const style = getComputedStyle(document.documentElement);
        const probe = document.body.appendChild(document.createElement('b'));
        probe.style.color = 'var(--bad)';
        const bad = getComputedStyle(probe).color;
        probe.remove();
        return [...document.querySelectorAll('main *')].filter((one) => {
            const { color, borderLeftColor, fill, borderLeftWidth } = getComputedStyle(one);
            const drawn = ['path', 'rect'].includes(one.tagName) && fill === bad;
            const edge = borderLeftColor === bad && borderLeftWidth !== '0px';
            return color === bad || drawn || edge;
        }).map((one) => one.className + ' ' + one.textContent)";
    for plight in plights::all().iter().filter(|plight| ["well", "starting", "beginning"].contains(&plight.name)) {
        let _folder = open(&browser, plight);
        assert_eq!(browser.run(red), serde_json::json!([]), "{}", plight.name);
    }
}

#[test]
fn the_page_is_small_in_every_state() {
    for plight in plights::all() {
        let length = page(&plight).len();
        assert!(length < MOST, "{}: {length} bytes", plight.name);
    }
}
