//! The page by keyboard alone: everything that can be used is reached by Tab, is seen to be reached, and is a link, a
//! button, a summary or a region that scrolls.

use std::sync::Arc;

use crate::page::states::open;
use crate::support::browser::{Browser, Look};
use crate::support::plights;
use crate::terminal::made;

#[test]
fn everything_is_reached_by_tab_and_seen_to_be() {
    let Some(browser) = Browser::start(Look::default()) else { return };
    let mut plight = plights::all().into_iter().find(|plight| plight.name == "engine-quarantined").unwrap();
    plight.incidents = made::incidents().iter().map(Arc::clone).collect();
    let _folder = open(&browser, &plight);
    let usable = browser.run(
        "return [...document.querySelectorAll('a, button, summary, input, [tabindex=\"0\"], [onclick]')]
            .filter((one) => one.checkVisibility()).length",
    );
    let mut reached = Vec::new();
    for _ in 0..usable.as_u64().unwrap() {
        browser.press("\u{e004}");
        let at = browser.run(
            "const one = document.activeElement, { outlineStyle, outlineWidth } = getComputedStyle(one);
            return [one.tagName, one.getAttribute('role'), outlineStyle !== 'none' && outlineWidth !== '0px',
                one.textContent.trim() || one.getAttribute('aria-label')]",
        );
        let usable = ["A", "BUTTON", "SUMMARY"].contains(&at[0].as_str().unwrap()) || at[1] == "region";
        assert!(usable && at[2] == true && at[3] != "", "{at}");
        reached.push(at.to_string());
    }
    for part in ["Skip to what is wrong", "Runbook MpsEngineQuarantined", "gpu_fault", "metrics"] {
        assert!(reached.iter().any(|at| at.contains(part)), "{part} is not in {reached:#?}");
    }
}

#[test]
fn a_summary_opens_by_the_keyboard() {
    let Some(browser) = Browser::start(Look::default()) else { return };
    let mut plight = plights::all().into_iter().find(|plight| plight.name == "well").unwrap();
    plight.incidents = made::incidents().iter().map(Arc::clone).collect();
    let _folder = open(&browser, &plight);
    browser.run("document.querySelectorAll('summary')[0].focus()");
    let open = || browser.run("return document.querySelector('details').open");
    assert_eq!(open(), true, "the newest is open at first");
    browser.press("\u{e007}");
    assert_eq!(open(), false);
}
