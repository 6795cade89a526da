//! Asks an engine for one token.

use std::time::Duration;

use serde_json::{Value, json};

use super::dialect::forms_of;
use crate::host::http::{GetError, Peer};
use crate::model::EngineKind;

/// Most bytes of an answer that are read.
const LONGEST_ANSWER: usize = 64 << 10;
/// Most bytes of a list of models that are read.
const LONGEST_LIST: usize = 256 << 10;

/// One request for one token.
#[derive(Debug)]
pub(super) struct Form {
    pub path: &'static str,
    /// Makes the request's body, for this model where one is known.
    pub body: fn(Option<&str>) -> Value,
}

pub(super) const COMPLETION: Form = Form { path: "/v1/completions", body: completion };
pub(super) const CHAT: Form = Form { path: "/v1/chat/completions", body: chat };

fn completion(model: Option<&str>) -> Value {
    of_model(model, json!({ "prompt": "1", "max_tokens": 1, "temperature": 0 }))
}

fn chat(model: Option<&str>) -> Value {
    let messages = json!([{ "role": "user", "content": "1" }]);
    of_model(model, json!({ "messages": messages, "max_tokens": 1, "temperature": 0 }))
}

fn of_model(model: Option<&str>, mut body: Value) -> Value {
    if let Some(model) = model {
        body["model"] = model.into();
    }
    body
}

/// Whether it gave one, each request within `timeout`. An engine that knows no request of its kind gave none.
pub async fn ask_for_a_token(
    peer: &mut Peer,
    kind: EngineKind,
    model: Option<&str>,
    timeout: Duration,
) -> Result<bool, GetError> {
    for form in forms_of(kind) {
        let body = (form.body)(model).to_string();
        match peer.post(form.path, body, timeout, LONGEST_ANSWER).await?.status {
            404 | 405 => {}
            status => return Ok((200..300).contains(&status)),
        }
    }
    Ok(false)
}

/// The model that it serves, by its list; `None`: it does not say.
pub async fn served_model(peer: &mut Peer, kind: EngineKind, timeout: Duration) -> Result<Option<String>, GetError> {
    let answer = peer.get("/v1/models", timeout, LONGEST_LIST).await?;
    let list: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    Ok(Some(list).filter(|_| answer.status == 200).and_then(|list| first_model(&list, kind)))
}

fn first_model(list: &Value, kind: EngineKind) -> Option<String> {
    let models = list.get("data")?.as_array()?;
    // `transformers serve` lists what it could load: asking for one of several might make it load another.
    if kind == EngineKind::Transformers && models.len() != 1 {
        return None;
    }
    Some(models.first()?.get("id")?.as_str()?.to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_request_asks_for_one_token_of_the_model_that_is_known() {
        for form in [&COMPLETION, &CHAT] {
            let (known, unknown) = ((form.body)(Some("m")), (form.body)(None));
            assert_eq!((known["model"].as_str(), known["max_tokens"].as_u64()), (Some("m"), Some(1)));
            assert_eq!(unknown.get("model"), None);
        }
        assert_eq!((forms_of(EngineKind::LlamaCpp)[1].body)(None)["n_predict"], 1);
    }

    #[test]
    fn the_first_model_of_a_list_is_asked_and_of_what_could_be_loaded_the_only_one() {
        let list = json!({ "data": [{ "id": "base" }, { "id": "adapter" }] });
        assert_eq!(first_model(&list, EngineKind::Vllm).as_deref(), Some("base"));
        assert_eq!(first_model(&list, EngineKind::Transformers), None);
        assert_eq!(first_model(&json!({ "data": [{ "id": "m" }] }), EngineKind::Transformers).as_deref(), Some("m"));
        for nonsense in [json!({}), json!([]), json!({ "data": [] }), json!({ "data": [{ "id": 1 }] }), Value::Null] {
            assert_eq!(first_model(&nonsense, EngineKind::Other), None, "{nonsense}");
        }
    }

    /// What an engine that answers these paths with these statuses was asked, and whether it gave a token.
    async fn asked(kind: EngineKind, answers: &'static [(&str, u16)]) -> (Vec<String>, bool) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut peer = Peer::new(&format!("http://{}", listener.local_addr().unwrap()));
        let (heard, mut hearing) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(async move {
            loop {
                let (mut caller, _) = listener.accept().await.unwrap();
                let mut request = vec![0; 4096];
                let mut length = 0;
                while !request[..length].ends_with(b"}") {
                    length += caller.read(&mut request[length..]).await.unwrap();
                }
                let request = String::from_utf8_lossy(&request[..length]).into_owned();
                let path = request.split(' ').nth(1).unwrap().to_owned();
                let status = answers.iter().find(|(known, _)| *known == path).map_or(404, |(_, status)| *status);
                heard.send(path).unwrap();
                let answer = format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
                caller.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        let gave = ask_for_a_token(&mut peer, kind, Some("m"), LONG).await.unwrap();
        let mut paths = Vec::new();
        while let Ok(path) = hearing.try_recv() {
            paths.push(path);
        }
        (paths, gave)
    }

    #[tokio::test]
    async fn a_token_is_asked_for_in_the_ways_that_its_engine_may_know() {
        let (completion, chat, native) = ("/v1/completions", "/v1/chat/completions", "/completion");
        assert_eq!(asked(EngineKind::Vllm, &[("/v1/completions", 200)]).await, (vec![completion.into()], true));
        assert_eq!(asked(EngineKind::Vllm, &[("/v1/completions", 503)]).await, (vec![completion.into()], false));
        let both = vec![completion.to_owned(), chat.to_owned()];
        assert_eq!(asked(EngineKind::Transformers, &[("/v1/chat/completions", 201)]).await, (both.clone(), true));
        assert_eq!(asked(EngineKind::Other, &[("/v1/completions", 405)]).await, (both, false));
        let own = vec![completion.to_owned(), native.to_owned()];
        assert_eq!(asked(EngineKind::LlamaCpp, &[("/completion", 200)]).await, (own, true));
    }
}
