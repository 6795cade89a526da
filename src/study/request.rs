//! What a completion is asked with: the fields that most servers take, and the fewer ones that the others do.
//! Prompts are random, so that no prefix cache helps one arrangement. Touches nothing.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Token ids that every vocabulary in use has, above those with a meaning of their own.
const IDS: std::ops::Range<u32> = 1_000..30_000;
/// Words of about one token each, for servers that take no ids.
const WORDS: [&str; 16] =
    ["red", "two", "sun", "car", "dog", "tea", "map", "box", "day", "sea", "ice", "sky", "oil", "arm", "key", "war"];

/// How long prompt and answer are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lengths {
    pub prompt: u32,
    pub output: u32,
}

/// What a server understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Form {
    /// A prompt of token ids, exactly as long as asked.
    ids: bool,
    /// `ignore_eos` and `min_tokens`: answers exactly as long as asked.
    exact: bool,
    /// `stream_options`: the server says how many tokens there were.
    usage: bool,
}

impl Form {
    /// All forms, from the best to what any server takes.
    pub(super) const ALL: [Form; 5] = [
        Form { ids: true, exact: true, usage: true },
        Form { ids: false, exact: true, usage: true },
        Form { ids: true, exact: false, usage: true },
        Form { ids: false, exact: false, usage: true },
        Form { ids: false, exact: false, usage: false },
    ];

    /// The body of a request.
    pub(super) fn body(self, model: Option<&str>, lengths: Lengths) -> Value {
        let Lengths { prompt, output } = lengths;
        let mut body = json!({ "prompt": self.prompt(prompt), "max_tokens": output, "temperature": 0, "stream": true });
        if let Some(model) = model {
            body["model"] = model.into();
        }
        if self.exact {
            body["ignore_eos"] = true.into();
            body["min_tokens"] = output.into();
        }
        if self.usage {
            body["stream_options"] = json!({ "include_usage": true });
        }
        body
    }

    fn prompt(self, tokens: u32) -> Value {
        match self.ids {
            true => (0..tokens).map(|_| fastrand::u32(IDS)).collect(),
            false => {
                let words: Vec<&str> = (0..tokens).map(|_| WORDS[fastrand::usize(..WORDS.len())]).collect();
                words.join(" ").into()
            }
        }
    }

    /// What a server that takes no better form does not know, for people; `None`: it is the best.
    pub(super) fn lacks(self) -> Option<String> {
        let lacks = [
            (!self.ids, "prompts of token ids (words stand in, so prompt lengths are about right)"),
            (!self.exact, "ignore_eos and min_tokens (answers may be shorter than asked)"),
            (!self.usage, "stream_options.include_usage (each chunk counts as one token)"),
        ];
        let lacks: Vec<&str> = lacks.into_iter().filter_map(|(is, what)| is.then_some(what)).collect();
        (!lacks.is_empty()).then(|| format!("does not take {}", lacks.join(", nor ")))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn the_best_form_asks_for_exact_lengths_and_no_two_prompts_are_the_same() {
        let ask = || Form::ALL[0].body(Some("m"), Lengths { prompt: 64, output: 8 });
        let (one, other) = (ask(), ask());
        assert_eq!(one["prompt"].as_array().unwrap().len(), 64);
        assert_ne!(one["prompt"], other["prompt"]);
        assert_eq!((&one["max_tokens"], &one["min_tokens"], &one["ignore_eos"]), (&json!(8), &json!(8), &json!(true)));
        assert_eq!((&one["model"], &one["stream_options"]["include_usage"]), (&json!("m"), &json!(true)));
        assert_eq!(Form::ALL[0].lacks(), None);
    }

    #[test]
    fn the_last_form_is_one_that_any_server_takes_and_says_what_it_lacks() {
        let last = Form::ALL[4];
        let body = last.body(None, Lengths { prompt: 3, output: 1 });
        assert_eq!(body["prompt"].as_str().unwrap().split(' ').count(), 3);
        for field in ["model", "ignore_eos", "min_tokens", "stream_options"] {
            assert!(body.get(field).is_none(), "{field}");
        }
        let lacks = last.lacks().unwrap();
        assert!(
            lacks.contains("token ids") && lacks.contains("ignore_eos") && lacks.contains("include_usage"),
            "{lacks}"
        );
    }
}
