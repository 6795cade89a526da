//! The colours of `style.css`, computed: every text colour on every ground that it stands on has a contrast of 4.5 to 1 at
//! least (WCAG 2.2, level AA), in light and in dark.

use std::collections::BTreeMap;

const STYLE: &str = include_str!("../../src/export/page/style.css");
/// Least contrast of text.
const AA: f64 = 4.5;
/// Least contrast of what is drawn and means something.
const DRAWN: f64 = 3.0;

/// The pairs of colours by their names: light, dark.
fn colours() -> BTreeMap<&'static str, [f64; 2]> {
    let (root, _) = STYLE.split_once('}').unwrap();
    let pairs = root.split("--").skip(1).map(|part| {
        let (name, rest) = part.split_once(": light-dark(").unwrap();
        let (light, dark) = rest.split_once(')').unwrap().0.split_once(", ").unwrap();
        (name, [luminance(light), luminance(dark)])
    });
    pairs.collect()
}

fn luminance(colour: &str) -> f64 {
    let digits = colour.strip_prefix('#').unwrap();
    assert_eq!(digits.len(), 6, "{colour}: six digits, please");
    let part = |at: usize| {
        let part = f64::from(u8::from_str_radix(&digits[at..at + 2], 16).unwrap()) / 255.0;
        if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
    };
    0.2126 * part(0) + 0.7152 * part(2) + 0.0722 * part(4)
}

fn contrast(one: f64, other: f64) -> f64 {
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

#[track_caller]
fn assert_contrast(inks: &[&str], grounds: &[&str], least: f64) {
    let colours = colours();
    for (ink, ground) in inks.iter().flat_map(|ink| grounds.iter().map(move |ground| (ink, ground))) {
        for scheme in 0..2 {
            let found = contrast(colours[ink][scheme], colours[ground][scheme]);
            assert!(found >= least, "{ink} on {ground} in {}: {found:.2}", ["light", "dark"][scheme]);
        }
    }
}

#[test]
fn contrast_is_computed_as_the_standard_says() {
    assert!((contrast(luminance("#000000"), luminance("#ffffff")) - 21.0).abs() < 1e-9);
    assert!((contrast(luminance("#777777"), luminance("#ffffff")) - 4.48).abs() < 0.01);
}

#[test]
fn every_text_colour_reads_well_on_every_ground() {
    let grounds = ["ground", "card", "inset"];
    assert_contrast(&["ink", "dim", "link", "good", "wait", "bad"], &grounds, AA);
    for tint in ["good", "wait", "bad"] {
        let ground = format!("{tint}-tint");
        assert_contrast(&["ink", "dim", "link", tint], &[&ground], AA);
    }
}

#[test]
fn what_is_drawn_stands_out_of_its_card() {
    assert_contrast(&["c0", "c1", "c2", "c3", "c4", "c5", "good", "wait", "bad"], &["card"], DRAWN);
}

#[test]
fn no_colour_of_a_text_stands_outside_of_these() {
    let (_, rules) = STYLE.split_once('}').unwrap();
    let texts = rules.split(['{', ';', '}']).map(str::trim).filter_map(|rule| rule.strip_prefix("color: "));
    let known = ["ink", "dim", "link", "good", "wait", "bad"].map(|name| format!("var(--{name})"));
    for colour in texts {
        assert!(known.iter().any(|known| known == colour), "{colour}");
    }
}
