//! The server-sent events of a streamed completion, as OpenAI's API has them: one JSON object a `data:` line. Pure;
//! bounded in memory, and tolerant of whatever else a server says.

use serde_json::Value;

/// Bytes of a line: a chunk of one token has some 300.
const LONGEST_LINE: usize = 256 << 10;

/// Tokens of a whole request, as the server counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Usage {
    /// Tokens of the prompt; `None`: it does not say.
    pub prompt_tokens: Option<u64>,
    pub completion_tokens: u64,
}

/// What an event says of the answer's tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Came {
    #[default]
    Nothing,
    /// A token, or some. It may have no text of its own, as half of a character.
    Token,
    /// The reason of the end, without text: with a last token that has none, or alone. The server's count tells.
    End,
}

/// What one event says; it may say several things.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Event {
    pub came: Came,
    /// The answer has come to its end.
    pub finished: bool,
    pub usage: Option<Usage>,
    pub error: Option<String>,
}

/// Puts pieces together to lines.
#[derive(Debug, Default)]
pub(super) struct Events {
    held: Vec<u8>,
}

impl Events {
    /// Takes up a piece of the body and hands every event that is whole by now to `take`.
    pub(super) fn push(&mut self, piece: &[u8], mut take: impl FnMut(Event)) -> Result<(), String> {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            if self.held.len() + part.len() > LONGEST_LINE {
                return Err(format!("a line of over {} KiB", LONGEST_LINE >> 10));
            }
            self.held.extend_from_slice(part);
            if part.ends_with(b"\n") {
                if let Some(event) = event(&self.held)? {
                    take(event);
                }
                self.held.clear();
            }
        }
        Ok(())
    }
}

/// What a line says; `None`: it is a comment, another field, or empty.
fn event(line: &[u8]) -> Result<Option<Event>, String> {
    let Some(data) = line.trim_ascii().strip_prefix(b"data:").map(<[u8]>::trim_ascii) else { return Ok(None) };
    match data {
        b"" => return Ok(None),
        b"[DONE]" => return Ok(Some(Event { finished: true, ..Event::default() })),
        _ => {}
    }
    let chunk: Value = serde_json::from_slice(data).map_err(|error| format!("a chunk that is no chunk: {error}"))?;
    let choices = || chunk["choices"].as_array().into_iter().flatten().filter(|choice| choice.is_object());
    let came = choices().map(came).find(|came| *came == Came::Token).or_else(|| choices().next().map(|_| Came::End));
    Ok(Some(Event {
        came: came.unwrap_or_default(),
        finished: choices().any(has_ended),
        usage: usage(&chunk["usage"]),
        error: Some(&chunk["error"]).filter(|error| !error.is_null()).map(Value::to_string),
    }))
}

/// What a choice says. Text is in one of two places, and any may be missing or null.
fn came(choice: &Value) -> Came {
    let texts = [&choice["text"], &choice["delta"]["content"]];
    let shows = texts.iter().any(|text| text.as_str().is_some_and(|text| !text.is_empty()));
    if shows || !has_ended(choice) { Came::Token } else { Came::End }
}

fn has_ended(choice: &Value) -> bool {
    !choice["finish_reason"].is_null()
}

/// The usage; `None`: it counts no tokens of the answer.
fn usage(said: &Value) -> Option<Usage> {
    let count = |name: &str| said[name].as_u64().or_else(|| said[name].as_f64().map(|count| count as u64));
    Some(Usage { prompt_tokens: count("prompt_tokens"), completion_tokens: count("completion_tokens")? })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn events(pieces: &[&str]) -> Result<Vec<Event>, String> {
        let (mut reader, mut found) = (Events::default(), Vec::new());
        pieces.iter().try_for_each(|piece| reader.push(piece.as_bytes(), |event| found.push(event)))?;
        Ok(found)
    }

    #[test]
    fn a_stream_is_read_whatever_its_pieces_are() {
        let text = concat!(
            ": a comment\r\n\r\nevent: x\n",
            "data: {\"choices\":[{\"text\":\" a\",\"finish_reason\":null}],\"usage\":null}\r\n\r\n",
            "data:{\"choices\":[{\"text\":\"\",\"finish_reason\":\"length\"}]}\n\n",
            "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2,\"total_tokens\":7}}\n\n",
            "data: [DONE]\n\n",
        );
        let whole = events(&[text]).unwrap();
        let said: Vec<_> = whole.iter().map(|event| (event.came, event.finished, event.usage.is_some())).collect();
        let (token, end, nothing) = (Came::Token, Came::End, Came::Nothing);
        assert_eq!(said, [(token, false, false), (end, true, false), (nothing, false, true), (nothing, true, false)]);
        assert_eq!(whole[2].usage, Some(Usage { prompt_tokens: Some(5), completion_tokens: 2 }));
        for cut in 1..text.len() {
            assert_eq!(events(&[&text[..cut], &text[cut..]]).unwrap(), whole, "cut at {cut}");
        }
    }

    #[test]
    fn a_token_without_text_is_one_and_an_error_is_told() {
        let came = |choice: &str| events(&[&format!("data: {{\"choices\":[{choice}]}}\n")]).unwrap()[0].came;
        for token in [
            r#"{"text":""}"#,
            r#"{"text":null,"finish_reason":null}"#,
            "{}",
            r#"{"text":"a","finish_reason":"length"}"#,
            r#"{"delta":{"content":"a"},"finish_reason":"stop"}"#,
        ] {
            assert_eq!(came(token), Came::Token, "{token}");
        }
        assert_eq!(came(r#"{"text":"","finish_reason":"length"}"#), Came::End);
        assert_eq!(came(r#"{"text":null,"finish_reason":"stop"}"#), Came::End);
        let told = events(&["data: {\"error\":{\"message\":\"dead\"}}\n"]).unwrap();
        assert!(told[0].error.as_ref().unwrap().contains("dead"));
    }

    #[test]
    fn odd_chunks_say_nothing_and_are_no_failure() {
        for odd in [
            "null",
            "[]",
            "7",
            "\"x\"",
            "{}",
            r#"{"choices":null,"usage":null,"error":null}"#,
            r#"{"choices":"none"}"#,
            r#"{"choices":[null, 3]}"#,
            r#"{"usage":{}}"#,
            r#"{"usage":{"prompt_tokens":3,"completion_tokens":null}}"#,
            r#"{"usage":[1]}"#,
        ] {
            assert_eq!(events(&[&format!("data: {odd}\n")]).unwrap(), [Event::default()], "{odd}");
        }
    }

    #[test]
    fn a_count_may_come_as_a_fraction_and_without_that_of_the_prompt() {
        let usage = |text: &str| events(&[&format!("data: {{\"usage\":{text}}}\n")]).unwrap()[0].usage;
        let said = Some(Usage { prompt_tokens: None, completion_tokens: 3 });
        assert_eq!(usage(r#"{"completion_tokens":3.0}"#), said);
        assert_eq!(usage(r#"{"completion_tokens":3,"prompt_tokens":null}"#), said);
    }

    #[test]
    fn garbage_and_lines_without_end_are_refused() {
        assert!(events(&["data: {\n"]).unwrap_err().contains("no chunk"));
        let endless = "x".repeat(100 << 10);
        assert!(events(&[&endless, &endless, &endless]).unwrap_err().contains("256 KiB"));
    }
}
