//! Text of others as people may be shown it: nothing in it drives a terminal, breaks a line or turns its direction.

/// Whether it is no mark on the page but an order: control characters (ESC and those of C1), those that turn the
/// direction of writing, that break lines, that have no width, and tags.
pub fn is_order(c: char) -> bool {
    let formats = matches!(
        c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
    );
    c.is_control() || formats
}

/// The text as one line, with a blank for each of its ends and tabs, and a U+FFFD in place of each other order.
pub fn one_line(text: &str) -> String {
    let plain = |c| match c {
        '\n' | '\r' | '\t' => ' ',
        c if is_order(c) => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    text.trim_end().chars().map(plain).collect()
}

/// The same with its lines and tabs as they are.
pub fn lines(text: &str) -> String {
    let kept = |c| matches!(c, '\n' | '\t') || !is_order(c);
    // What ends a line in other places is no news.
    text.replace("\r\n", "\n").chars().map(|c| if kept(c) { c } else { char::REPLACEMENT_CHARACTER }).collect()
}

/// JSON that is text for people: each order that stands in it as such, escaped. It means the same.
pub fn json(document: &str) -> String {
    let mut plain = String::with_capacity(document.len());
    for c in document.chars() {
        match c {
            '\n' => plain.push(c),
            c if is_order(c) => {
                c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| plain.push_str(&format!("\\u{unit:04x}")));
            }
            c => plain.push(c),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_drives_a_terminal_or_turns_a_line_is_left() {
        let text = "a\u{1b}[31mb\u{9b}2Jc\u{202e}d\u{2028}e\u{200b}f\u{feff}g\u{2066}h\u{e0041}i\u{7f}j\nk\tl\r\n";
        assert_eq!(
            one_line(text),
            "a\u{fffd}[31mb\u{fffd}2Jc\u{fffd}d\u{fffd}e\u{fffd}f\u{fffd}g\u{fffd}h\u{fffd}i\u{fffd}j k l"
        );
        assert_eq!(lines("a\u{9b}\tb\r\nc\u{202a}\n"), "a\u{fffd}\tb\nc\u{fffd}\n");
    }

    #[test]
    fn json_says_the_same_in_plain_characters() {
        let escaped = json("\"\u{9b}2J\u{7f}\u{202e}\u{e0041}é\"\n");
        assert_eq!(escaped, "\"\\u009b2J\\u007f\\u202e\\udb40\\udc41é\"\n");
        assert_eq!(serde_json::from_str::<String>(&escaped).ok().as_deref(), Some("\u{9b}2J\u{7f}\u{202e}\u{e0041}é"));
    }

    #[test]
    fn every_script_stays_as_it_is() {
        for text in ["Qwen/Qwen2.5-0.5B", "引擎 é ß", "שלום", "मॉडल", "🚀"] {
            assert_eq!((one_line(text), lines(text)), (text.to_owned(), text.to_owned()));
        }
    }
}
