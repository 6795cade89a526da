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

/// Greatest cost of a hash: each step doubles the time of a check, and above this it takes far longer than a request
/// waits.
const MAX_COST: u32 = 18;
/// Verdicts that are remembered, of each kind; the toolkit's number.
const REMEMBERED: usize = 100;
/// Passwords that wait to be checked; more is a flood.
const MAX_WAITING: usize = 16;
/// Upper bound for a check and its turn. Past it the client is sent away; the check goes on and is remembered.
const PATIENCE: Duration = Duration::from_secs(10);

/// `basic_auth_users`: names and bcrypt hashes. Empty: everyone is let in.
#[derive(Clone, Default)]
pub(super) struct Users {
    hashes: BTreeMap<String, String>,
    /// The costliest of them, checked for names that are not there: as slow as one that is.
    decoy: String,
}

impl Users {
    pub(super) fn new(users: &BTreeMap<String, Text>, origin: &Origin<'_>) -> Result<Users, Problem> {
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
                return Err(origin.refuse(hash, format!("the password of {name:?} has cost {cost}: over {MAX_COST} a check takes longer than a request waits; 10 is usual")));
            }
            costliest = costliest.max((cost, hash.value.clone()));
        }
        let hashes = users.iter().map(|(name, hash)| (name.clone(), hash.value.clone())).collect();
        Ok(Users { hashes, decoy: costliest.1 })
    }

    pub(super) fn is_empty(&self) -> bool {
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
    /// The request may be answered.
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
    /// A desk with a fresh key; `None`: the system gives no randomness.
    pub(super) fn new() -> Option<Desk> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok()?;
        let (good, bad) = (Arc::default(), Arc::default());
        Some(Desk { key, good, bad, turn: Arc::new(Semaphore::new(1)), waiting: Semaphore::new(MAX_WAITING) })
    }

    /// Decides by the `Authorization` header.
    pub(super) async fn admit(&self, users: &Users, authorization: Option<&HeaderValue>) -> Admission {
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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn users(cost: u32) -> Users {
        let hash = bcrypt::hash("secret", cost).unwrap();
        Users { hashes: BTreeMap::from([("ann".to_owned(), hash.clone())]), decoy: hash }
    }

    fn basic(text: &[u8]) -> HeaderValue {
        HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(text))).unwrap()
    }

    #[test]
    fn a_password_may_hold_colons_and_any_bytes() {
        let (name, password) = credentials(&basic(b"ann:a:b\xff")).unwrap();
        assert_eq!((name.as_slice(), password.as_slice()), (b"ann".as_slice(), b"a:b\xff".as_slice()));
        for garbage in ["", "Basic", "Basic ", "Basic YQ", "Bearer YTpi", "Basic \u{e9}"] {
            assert_eq!(credentials(&HeaderValue::from_str(garbage).unwrap()), None, "{garbage}");
        }
    }

    #[tokio::test]
    async fn the_decoys_password_lets_no_stranger_in() {
        let (desk, users) = (Desk::new().unwrap(), users(4));
        for _ in 0..2 {
            assert_eq!(desk.admit(&users, Some(&basic(b"nobody:secret"))).await, Admission::Refused);
            assert_eq!(desk.admit(&users, Some(&basic(b"ann:secret"))).await, Admission::Granted);
        }
        assert_eq!(desk.admit(&users, None).await, Admission::Refused);
        assert_eq!(desk.admit(&Users::default(), None).await, Admission::Granted);
    }

    #[tokio::test]
    async fn an_old_verdict_does_not_outlive_its_hash() {
        let desk = Desk::new().unwrap();
        let mut users = users(4);
        assert_eq!(desk.admit(&users, Some(&basic(b"ann:secret"))).await, Admission::Granted);
        users.hashes.insert("ann".to_owned(), bcrypt::hash("other", 4).unwrap());
        assert_eq!(desk.admit(&users, Some(&basic(b"ann:secret"))).await, Admission::Refused);
        users.hashes.clear();
        users.hashes.insert("bob".to_owned(), users.decoy.clone());
        assert_eq!(desk.admit(&users, Some(&basic(b"ann:secret"))).await, Admission::Refused);
    }

    #[tokio::test]
    async fn a_flood_is_sent_away_and_drives_no_good_verdict_out() {
        let (desk, users) = (Desk::new().unwrap(), users(4));
        let good = basic(b"ann:secret");
        assert_eq!(desk.admit(&users, Some(&good)).await, Admission::Granted);
        for number in 0..2 * REMEMBERED {
            desk.admit(&users, Some(&basic(format!("ann:{number}").as_bytes()))).await;
        }
        assert_eq!(desk.bad.tags.lock().unwrap().len(), REMEMBERED);
        let _all = desk.waiting.acquire_many(MAX_WAITING as u32).await.unwrap();
        assert_eq!(desk.admit(&users, Some(&basic(b"ann:new"))).await, Admission::Busy);
        assert_eq!(desk.admit(&users, Some(&good)).await, Admission::Granted, "remembered");
    }
}
