//! An order on the control socket: flat words, the same for every verb, in place of the core's own types.

use std::time::Duration;

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::{EngineKey, EngineName, GroupName, Request, Tier, Verb};

/// `{"verb":"evict","group":"small-llms","engine":"qwen-a"}`.
#[derive(Serialize, Deserialize)]
struct OrderWords {
    verb: Verb,
    /// Name of the group; left out of `hold` and `resume`: all groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    group: Option<GroupName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    engine: Option<EngineName>,
    /// Every group, of `stop` and `start`; for them a missing `group` alone says nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    all: bool,
    /// How far a `restart` goes; left out: `clients`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tier: Option<Tier>,
    /// Duration of a `hold`; left out: until `resume`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lasts_seconds: Option<f64>,
    /// Reason for a `hold`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl OrderWords {
    fn new(verb: Verb, group: Option<&GroupName>) -> OrderWords {
        OrderWords {
            verb,
            group: group.cloned(),
            engine: None,
            all: false,
            tier: None,
            lasts_seconds: None,
            reason: None,
        }
    }

    fn of_engine(verb: Verb, key: &EngineKey) -> OrderWords {
        OrderWords { engine: Some(key.engine.clone()), ..OrderWords::new(verb, Some(&key.group)) }
    }

    /// The words of a request; `None`: no client orders that, a signal does.
    fn of(request: &Request) -> Option<OrderWords> {
        Some(match request {
            Request::Stop | Request::StopNow => return None,
            Request::Restart { group, tier } => {
                OrderWords { tier: Some(*tier), ..OrderWords::new(Verb::Restart, Some(group)) }
            }
            Request::StopGroup(group) => OrderWords::new(Verb::Stop, Some(group)),
            Request::StartGroup(group) => OrderWords::new(Verb::Start, Some(group)),
            Request::StopGroups => OrderWords { all: true, ..OrderWords::new(Verb::Stop, None) },
            Request::StartGroups => OrderWords { all: true, ..OrderWords::new(Verb::Start, None) },
            Request::StopEngine(key) => OrderWords::of_engine(Verb::Stop, key),
            Request::StartEngine(key) => OrderWords::of_engine(Verb::Start, key),
            Request::Evict(key) => OrderWords::of_engine(Verb::Evict, key),
            Request::Quarantine(key) => OrderWords::of_engine(Verb::Quarantine, key),
            Request::Release(key) => OrderWords::of_engine(Verb::Release, key),
            Request::Hold { group, lasts, reason } => OrderWords {
                lasts_seconds: lasts.map(|lasts| lasts.as_secs_f64()),
                reason: Some(reason.clone()),
                ..OrderWords::new(Verb::Hold, group.as_ref())
            },
            Request::Resume { group } => OrderWords::new(Verb::Resume, group.as_ref()),
        })
    }

    fn request(self) -> Result<Request, String> {
        let OrderWords { verb, group, engine, all, tier, lasts_seconds, reason } = self;
        if all {
            return match (verb, group, engine) {
                (Verb::Stop, None, None) => Ok(Request::StopGroups),
                (Verb::Start, None, None) => Ok(Request::StartGroups),
                (Verb::Stop | Verb::Start, ..) => Err("`all` and a `group` exclude each other".to_owned()),
                _ => Err("`all` is of `stop` and `start` alone".to_owned()),
            };
        }
        if verb == Verb::Hold {
            let lasts = lasts_seconds.map(Duration::try_from_secs_f64).transpose();
            let lasts = lasts.map_err(|error| format!("`lasts_seconds`: {error}"))?;
            return Ok(Request::Hold { group, lasts, reason: reason.unwrap_or_default() });
        }
        if verb == Verb::Resume {
            return Ok(Request::Resume { group });
        }
        let group =
            group.ok_or("the order names no `group`, and not `all` of them; mpswarden itself is stopped by SIGTERM")?;
        let key = engine.map(|engine| EngineKey { group: group.clone(), engine });
        Ok(match (verb, key) {
            (Verb::Restart, None) => Request::Restart { group, tier: tier.unwrap_or(Tier::Clients) },
            (Verb::Restart, Some(_)) => {
                return Err("`restart` is of a whole group; `evict` restarts an `engine`".into());
            }
            (Verb::Stop, None) => Request::StopGroup(group),
            (Verb::Stop, Some(key)) => Request::StopEngine(key),
            (Verb::Start, None) => Request::StartGroup(group),
            (Verb::Start, Some(key)) => Request::StartEngine(key),
            (Verb::Evict, Some(key)) => Request::Evict(key),
            (Verb::Quarantine, Some(key)) => Request::Quarantine(key),
            (Verb::Release, Some(key)) => Request::Release(key),
            _ => return Err("the order names no `engine`".into()),
        })
    }
}

pub(super) fn serialize<S: Serializer>(request: &Request, to: S) -> Result<S::Ok, S::Error> {
    OrderWords::of(request).ok_or_else(|| S::Error::custom("no client orders that"))?.serialize(to)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Request, D::Error> {
    OrderWords::deserialize(from)?.request().map_err(D::Error::custom)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::super::words::{Call, Line, VERSION};
    use super::*;

    fn line(request: Request) -> String {
        let line = Line { version: VERSION, call: Call::Order { request, dry_run: true } };
        serde_json::to_string(&line).unwrap()
    }

    fn read(line: &str) -> Result<Request, String> {
        let line: Line = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let Call::Order { request, .. } = line.call else { panic!("it is no order") };
        Ok(request)
    }

    #[test]
    fn an_order_is_flat_words_and_is_read_back() {
        let (group, key) = (GroupName::from("g"), EngineKey::new(&"g".into(), &"e".into()));
        let lasts = Some(Duration::from_secs(7200));
        for (request, words) in [
            (
                Request::Restart { group: group.clone(), tier: Tier::Daemon },
                r#""verb":"restart","group":"g","tier":"daemon""#,
            ),
            (Request::StopGroup(group.clone()), r#""verb":"stop","group":"g""#),
            (Request::StartEngine(key.clone()), r#""verb":"start","group":"g","engine":"e""#),
            (Request::Release(key), r#""verb":"release","group":"g","engine":"e""#),
            (
                Request::Hold { group: None, lasts, reason: "new model".into() },
                r#""verb":"hold","lasts_seconds":7200.0,"reason":"new model""#,
            ),
            (Request::Resume { group: Some(group) }, r#""verb":"resume","group":"g""#),
        ] {
            let line = line(request.clone());
            assert_eq!(line, format!(r#"{{"version":1,"call":"order",{words},"dry_run":true}}"#));
            assert_eq!(read(&line), Ok(request));
        }
    }

    #[test]
    fn an_order_without_what_it_needs_is_refused_by_name() {
        let refused = |words: &str| read(&format!(r#"{{"version":1,"call":"order",{words}}}"#)).unwrap_err();
        assert!(refused(r#""verb":"evict","group":"g""#).contains("no `engine`"));
        assert!(refused(r#""verb":"stop""#).contains("no `group`"));
        assert!(refused(r#""verb":"restart","group":"g","engine":"e""#).contains("evict"));
        assert!(refused(r#""verb":"hold","lasts_seconds":-1"#).contains("lasts_seconds"));
        assert!(refused(r#""verb":"explode","group":"g""#).contains("explode"));
    }
}
