//! An order from its call to its end: the plan is shown, and its goals are waited for where that is wanted.
//! It bounds the wait; the core does the work.

use std::time::Duration;

use serde_json::value::RawValue;
use tokio::time::{Instant, sleep, timeout};

use super::goals::{Goals, Standing};
use crate::control::Client;
use crate::control::Seen;
use crate::control::{Call, Failure, Kind};
use crate::model::{Plan, Request};
use crate::text::span::age;

/// Pause between two looks at the status.
const PAUSE: Duration = Duration::from_millis(200);
/// Silence after which a watchdog that is waited for is given up.
const SILENCE: Duration = Duration::from_secs(10);

/// What a person orders, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ordering {
    /// The order; `None`: the changed configuration is to be applied.
    pub request: Option<Request>,
    /// Only say what it would come to.
    pub dry_run: bool,
    /// How long to wait until it is done; `None`: not at all.
    pub wait: Option<Duration>,
}

impl Ordering {
    /// Gives the order. The plan, as it came and read.
    pub(super) async fn give(&self, client: &Client) -> Result<(Box<RawValue>, Plan), Failure> {
        let dry_run = self.dry_run;
        let call = match &self.request {
            Some(request) => Call::Order { request: request.clone(), dry_run },
            None => Call::Reload { dry_run },
        };
        let answer = client.call(call).await?;
        let plan = client.read(&answer)?;
        Ok((answer, plan))
    }
}

/// Waits until a plan's goals are reached, and says in words what was reached. `progress` is called at each look.
pub(super) async fn reach(
    plan: &Plan,
    bound: Duration,
    client: &Client,
    progress: &mut impl FnMut(&str),
) -> Result<String, Failure> {
    if plan.goals.is_empty() {
        return Ok("done at once".to_owned());
    }
    let began = Instant::now();
    let mut goals = Goals::of(plan.goals.clone());
    let mut last = "nothing was seen of it".to_owned();
    let reached = timeout(bound, until(&mut goals, client, &mut last, progress)).await;
    let passed = age(began.elapsed());
    match reached {
        Ok(Ok(reached)) => Ok(format!("{reached}, after {passed}")),
        Ok(Err(failure)) => Err(failure),
        Err(_) => {
            let text = format!("not done after {passed}: {last}; the order stays in place, see `mpswarden status`");
            Err(Failure::new(Kind::Refused, text))
        }
    }
}

async fn until(
    goals: &mut Goals,
    client: &Client,
    last: &mut String,
    progress: &mut impl FnMut(&str),
) -> Result<String, Failure> {
    let mut heard = Instant::now();
    loop {
        match client.ask::<Seen>(Call::State).await {
            Ok(seen) => {
                heard = Instant::now();
                match goals.look(&seen.status) {
                    Standing::Reached => return Ok(goals.reached(&seen.status)),
                    Standing::Failed(why) => {
                        return Err(Failure::new(Kind::Refused, format!("it came to nothing: {why}")));
                    }
                    Standing::OnItsWay(what) => *last = what,
                }
                progress(last);
            }
            // It may be restarted meanwhile, or have all its places taken for a moment.
            Err(failure) if failure.kind != Kind::Unavailable || heard.elapsed() >= SILENCE => return Err(failure),
            Err(_) => {}
        }
        sleep(PAUSE).await;
    }
}
