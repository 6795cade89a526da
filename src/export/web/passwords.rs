//! Who is let in with which password. bcrypt runs on a thread of its own, once at a time; what was
//! checked is remembered, so that scrapes don't wait for it.

use std::collections::{BTreeMap, VecDeque};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bcrypt::HashParts;
use hyper::header::HeaderValue;
use ring::hmac;
use ring::rand::SystemRandom;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::file::{Origin, Text};
use super::problem::Problem;

/// A cost of 18 takes some 20 s, and each step doubles it.
const MAX_COST: u32 = 18;
/// Verdicts that are remembered, of each kind; the toolkit's number.
const REMEMBERED: usize = 100;
/// Passwords that wait to be checked; more is a flood.
const MAX_WAITING: usize = 16;
/// For a check and its turn. Past it the client is sent away; the check goes on and is remembered.
const PATIENCE: Duration = Duration::from_secs(10);

/// `basic_auth_users`: names and bcrypt hashes. Empty: everyone is let in.
#[derive(Clone, Default)]
pub(super) struct Users {
    hashes: BTreeMap<String, String>,
    /// The costliest of them, checked for names that are not there: as slow as one that is.
    decoy: String,
}

impl Users {
    pub fn new(users: &BTreeMap<String, Text>, origin: &Origin<'_>) -> Result<Users, Problem> {
        let mut costliest = (0, String::new());
        for (name, hash) in users {
            let cost = cost(&hash.value).map_err(|why| {
                origin.refuse(
                    hash,
                    format!(
                        "the password of {name:?} is no bcrypt hash: {why}; make one with `htpasswd -nBC 10 {name}`"
                    ),
                )
            })?;
            if cost > MAX_COST {
                return Err(origin.refuse(hash, format!("the password of {name:?} has cost {cost}: over {MAX_COST} each check takes minutes; 10 is usual")));
            }
            costliest = costliest.max((cost, hash.value.clone()));
        }
        let hashes = users.iter().map(|(name, hash)| (name.clone(), hash.value.clone())).collect();
        Ok(Users { hashes, decoy: costliest.1 })
    }

    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }
}

fn cost(hash: &str) -> Result<u32, String> {
    let cost = HashParts::from_str(hash).map_err(|error| error.to_string())?.get_cost();
    if (4..=31).contains(&cost) { Ok(cost) } else { Err(format!("a cost of {cost}, not 4 to 31")) }
}

/// Whether a request may be answered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Admission {
    /// It may.
    Granted,
    /// No password, or a wrong one.
    Refused,
    /// Too many passwords wait to be checked.
    Busy,
}

/// Checks passwords, and remembers verdicts by a keyed hash: no password is kept.
pub(super) struct Desk {
    key: hmac::Key,
    good: Arc<Recent>,
    bad: Arc<Recent>,
    turn: Arc<Semaphore>,
    waiting: Semaphore,
}

impl Desk {
    /// `None`: the system gives no randomness.
    pub fn new() -> Option<Desk> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok()?;
        let (good, bad) = (Arc::default(), Arc::default());
        Some(Desk { key, good, bad, turn: Arc::new(Semaphore::new(1)), waiting: Semaphore::new(MAX_WAITING) })
    }

    /// Decides by the `Authorization` header.
    pub async fn admit(&self, users: &Users, authorization: Option<&HeaderValue>) -> Admission {
        if users.is_empty() {
            return Admission::Granted;
        }
        let Some((name, password)) = authorization.and_then(credentials) else { return Admission::Refused };
        let known = std::str::from_utf8(&name).ok().and_then(|name| users.hashes.get(name));
        let hash = known.unwrap_or(&users.decoy).clone();
        let tag = self.tag(&name, &hash, &password);
        if known.is_some() && self.good.holds(&tag) {
            return Admission::Granted;
        }
        if self.bad.holds(&tag) {
            return Admission::Refused;
        }
        self.check(password, hash, known.is_some(), tag).await
    }

    async fn check(&self, password: Vec<u8>, hash: String, known: bool, tag: Tag) -> Admission {
        let Ok(_waiting) = self.waiting.try_acquire() else { return Admission::Busy };
        let (good, bad, turn) = (Arc::clone(&self.good), Arc::clone(&self.bad), Arc::clone(&self.turn));
        let checked = timeout(PATIENCE, async move {
            let turn = turn.acquire_owned().await.ok()?;
            let check = spawn_blocking(move || {
                let granted = bcrypt::verify(&password, &hash).unwrap_or(false) && known;
                if granted {
                    good.keep(tag)
                } else {
                    bad.keep(tag)
                }
                drop(turn);
                granted
            });
            check.await.ok()
        });
        match checked.await {
            Ok(Some(true)) => Admission::Granted,
            Ok(Some(false)) => Admission::Refused,
            Ok(None) | Err(_) => Admission::Busy,
        }
    }

    /// Stands for a name, its hash and a password; with another hash in the file it is another one.
    fn tag(&self, name: &[u8], hash: &str, password: &[u8]) -> Tag {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [name, hash.as_bytes(), password] {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part);
        }
        let mut tag = [0; 32];
        tag.copy_from_slice(context.sign().as_ref());
        tag
    }
}

type Tag = [u8; 32];

/// The last verdicts of one kind. Good ones are kept apart: a flood of bad ones drives none out.
#[derive(Default)]
struct Recent {
    tags: Mutex<VecDeque<Tag>>,
}

impl Recent {
    fn holds(&self, tag: &Tag) -> bool {
        self.tags.lock().unwrap_or_else(PoisonError::into_inner).contains(tag)
    }

    fn keep(&self, tag: Tag) {
        let mut tags = self.tags.lock().unwrap_or_else(PoisonError::into_inner);
        if tags.len() == REMEMBERED {
            tags.pop_front();
        }
        tags.push_back(tag);
    }
}

/// The name and the password of `Basic BASE64`.
fn credentials(authorization: &HeaderValue) -> Option<(Vec<u8>, Vec<u8>)> {
    let (scheme, encoded) = authorization.as_bytes().split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"Basic ") {
        return None;
    }
    let decoded = STANDARD.decode(encoded.trim_ascii()).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    Some((decoded[..colon].to_vec(), decoded[colon + 1..].to_vec()))
}
