//! The server-sent events of a streamed completion, as OpenAI's API has them: one JSON object a `data:` line. Pure;
//! bounded in memory, and tolerant of whatever else a server says.

use serde::Deserialize;
use serde_json::Value;

/// Bytes of a line: a chunk of one token has some 300.
const LONGEST_LINE: usize = 256 << 10;

/// Tokens of a whole request, as the server counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Usage {
    pub prompt_tokens: u64,
    #[serde(default)]
    pub completion_tokens: u64,
}

/// What one event says; it may say several things.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Event {
    /// A token came, or some.
    pub text: bool,
    /// The answer has come to its end.
    pub finished: bool,
    pub usage: Option<Usage>,
    pub error: Option<String>,
}

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<Usage>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    text: String,
    #[serde(default)]
    finish_reason: Option<Value>,
}

/// Puts pieces together to lines.
#[derive(Debug, Default)]
pub(super) struct Events {
    held: Vec<u8>,
}

impl Events {
    /// Takes up a piece of the body and hands every event that is whole by now to `take`.
    pub fn push(&mut self, piece: &[u8], mut take: impl FnMut(Event)) -> Result<(), String> {
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
    let chunk: Chunk = serde_json::from_slice(data).map_err(|error| format!("a chunk that is no chunk: {error}"))?;
    let finish = |choice: &Choice| choice.finish_reason.as_ref().is_some_and(|reason| !reason.is_null());
    // A token may have no text of its own, as half of a character; the reason of the end alone is none.
    let text = chunk.choices.iter().any(|choice| !choice.text.is_empty() || !finish(choice));
    Ok(Some(Event {
        text,
        finished: chunk.choices.iter().any(finish),
        usage: chunk.usage,
        error: chunk.error.map(|error| error.to_string()),
    }))
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
        let said: Vec<_> = whole.iter().map(|event| (event.text, event.finished, event.usage.is_some())).collect();
        assert_eq!(said, [(true, false, false), (false, true, false), (false, false, true), (false, true, false)]);
        assert_eq!(whole[2].usage, Some(Usage { prompt_tokens: 5, completion_tokens: 2 }));
        for cut in 1..text.len() {
            assert_eq!(events(&[&text[..cut], &text[cut..]]).unwrap(), whole, "cut at {cut}");
        }
    }

    #[test]
    fn a_token_without_text_is_one_and_an_error_is_told() {
        assert!(events(&["data: {\"choices\":[{\"text\":\"\"}]}\n"]).unwrap()[0].text);
        let told = events(&["data: {\"error\":{\"message\":\"dead\"}}\n"]).unwrap();
        assert!(told[0].error.as_ref().unwrap().contains("dead"));
    }

    #[test]
    fn garbage_and_lines_without_end_are_refused() {
        assert!(events(&["data: {\n"]).unwrap_err().contains("no chunk"));
        let endless = "x".repeat(100 << 10);
        assert!(events(&[&endless, &endless, &endless]).unwrap_err().contains("256 KiB"));
    }
}
