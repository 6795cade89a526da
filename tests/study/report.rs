//! The HTML report: whole, on its own, and readable in a real Chromium in light, dark and on a phone.

use std::collections::BTreeSet;
use std::path::Path;

use crate::study::made::{self, Speeds, sharing, study, with};
use crate::support::browser::{Browser, Look};
use mpswarden::study::{html, table};

/// The text between tags.
pub fn text(html: &str) -> String {
    let body = html.split_once("<body>").unwrap().1;
    body.split('<').filter_map(|part| Some(part.split_once('>')?.1.to_owned() + " ")).collect()
}

fn numbers(text: &str) -> BTreeSet<String> {
    let parts = text.split(|c: char| !c.is_ascii_digit() && c != '.');
    parts.map(|part| part.trim_matches('.').to_owned()).filter(|part| !part.is_empty()).collect()
}

/// Every tag that is opened is closed, in order.
pub fn assert_balanced(html: &str) {
    let void = ["meta", "link", "!DOCTYPE", "br"];
    let mut open = Vec::new();
    for tag in html.split('<').skip(1) {
        let (inside, _) = tag.split_once('>').expect("an end of each tag");
        let name = inside.trim_start_matches('/').split([' ', '\n']).next().unwrap();
        match inside.starts_with('/') {
            true => assert_eq!(open.pop(), Some(name), "{inside}"),
            false if void.contains(&name) => {}
            false => open.push(name),
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

fn odd() -> mpswarden::study::results::Study {
    let mut study =
        with(study(&["<b>&\"a", "b"]), (16, 1, 1), &Speeds { mps: vec![vec![5.0]; 2], ..Speeds::default() });
    study.engines[0].model = Some("https://evil.example/<script>alert(1)</script>".to_owned());
    study.problems.push("<img src=http://evil.example/x>".to_owned());
    study
}

#[test]
fn the_report_is_well_formed_and_stands_on_its_own() {
    for study in [made::typical(), odd(), study(&[]), with(study(&["a"]), (1, 1, 1), &sharing(1, 1.0, 1.0))] {
        let report = html(&study);
        assert_balanced(&report);
        for outside in ["<script", "<img", " src=\"", "@import", "url(", " style=", " onload", "href=\"http"] {
            assert!(!report.contains(outside), "{outside}");
        }
        assert!(report.contains("default-src 'none'"));
        assert!(!text(&report).contains("NaN") && !text(&report).contains("inf "), "{report}");
    }
}

#[test]
fn every_number_and_sentence_of_the_terminal_is_in_the_report() {
    let study = made::typical();
    let report = text(&html(&study));
    let (told, shown) = (numbers(&table(&study, 200)), numbers(&report));
    assert_eq!(told.difference(&shown).collect::<Vec<_>>(), Vec::<&String>::new());
    for sentence in mpswarden::study::recommend(&study).sentences {
        assert!(report.contains(&sentence), "{sentence}");
    }
}

/// Texts of a chart that lie over each other, or out of their drawing.
const OVERLAPS: &str = r#"
    const wrong = [];
    for (const svg of document.querySelectorAll('figure svg')) {
        const room = svg.getBoundingClientRect();
        const boxes = [...svg.querySelectorAll('text')].map(e => [e.textContent, e.getBoundingClientRect()]);
        boxes.forEach(([text, a], at) => {
            if (a.left < room.left - 1 || a.right > room.right + 1 || a.bottom > room.bottom + 1) wrong.push(text + ' is out');
            for (const [other, b] of boxes.slice(at + 1))
                if (a.left < b.right && b.left < a.right && a.top < b.bottom - 3 && b.top < a.bottom - 3) wrong.push(text + ' over ' + other);
        });
    }
    return wrong;
"#;

/// Looks at a page in both schemes: nothing lies over anything, and nothing has to be scrolled sideways.
pub fn shown(browser: &Browser, name: &str, page: &str) {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.html"));
    std::fs::write(&file, page).unwrap();
    browser.go(&format!("file://{}", file.display()));
    for scheme in ["light", "dark"] {
        browser.prefer(scheme);
        let ground = browser.run("return getComputedStyle(document.body).backgroundColor");
        assert_eq!(ground == "rgb(20, 23, 26)", scheme == "dark", "{scheme}: {ground}");
        browser.picture(&format!("{name}-{scheme}"));
    }
    let wrong = browser.run(OVERLAPS);
    assert!(wrong.as_array().unwrap().is_empty(), "{name}: {wrong}");
    let wide = browser.run("return [document.documentElement.scrollWidth, window.innerWidth]");
    assert!(wide[0].as_f64() <= wide[1].as_f64(), "{name}: it has to be scrolled sideways: {wide}");
}

/// Eight engines and long contexts: the most that a report has to hold.
fn crowded() -> mpswarden::study::results::Study {
    let mut study = study(&["a", "b", "c", "d", "e", "f", "g", "an-engine-with-quite-a-long-name"]);
    study.plan.prompts = vec![16, 128, 512, 2048, 8192, 16_384, 32_768, 131_072];
    study.plan.concurrencies = vec![1, 2, 8, 32];
    made::grid(study, |prompt, _, some| sharing(8, 0.12 + 3.0 / f64::from(prompt + 16 * some), 0.12))
}

#[test]
fn the_report_reads_well_in_light_and_dark_on_a_screen_and_on_a_phone() {
    let Some(browser) = Browser::start(Look::default()) else { return };
    shown(&browser, "study-screen", &html(&made::typical()));
    shown(&browser, "study-crowded", &html(&crowded()));
    shown(&browser, "study-odd", &html(&odd()));
    drop(browser);
    let Some(browser) = Browser::start(Look { phone: true, ..Look::default() }) else { return };
    shown(&browser, "study-phone", &html(&made::typical()));
}
