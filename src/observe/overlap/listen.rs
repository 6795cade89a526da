//! Takes the calls of kernel probes, and hears and speaks to each until it ends. Only a process of an engine is heard;
//! what it says is used elsewhere.

use std::time::Duration;

use tokio::sync::mpsc::Receiver;
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use super::probes::Shared;
use super::sampler::{Owner, Owners};
use crate::host::probe_place::ProbePlace;
use crate::host::probe_socket::{Call, Orders, ProbeSocket, Words};
use crate::probe::wire::{Order, VERSION, Word};

/// Upper bound for the first word.
const HELLO_BOUND: Duration = Duration::from_secs(2);
/// Pause between two calls that are taken: a stranger costs a walk through /proc, and anybody may call.
const PACE: Duration = Duration::from_millis(20);
/// Pause before the socket is made again.
const RETRY: Duration = Duration::from_secs(5);

/// Listens indefinitely. Where it can't, it says why, and tries again.
pub(super) async fn listen(place: ProbePlace, owners: Owners, probes: Shared) {
    loop {
        let error = match place.make().and_then(|()| ProbeSocket::bind(&place.socket())) {
            Ok(socket) => {
                probes.borrow_mut().listens(None);
                take_calls(&socket, &owners, &probes).await
            }
            Err(error) => error,
        };
        let why = format!("no kernel probe can call at {}: {error}", place.socket().display());
        probes.borrow_mut().listens(Some(why));
        sleep(RETRY).await;
    }
}

/// Takes calls until no more can be taken, and says why.
async fn take_calls(socket: &ProbeSocket, owners: &Owners, probes: &Shared) -> std::io::Error {
    loop {
        let call = match socket.accept().await {
            Ok(call) => call,
            Err(error) => return error,
        };
        match call.pid.map_or(Ok(None), |pid| owners(pid)) {
            Ok(Some(owner)) => drop(spawn_local(converse(call, owner, probes.clone()))),
            Ok(None) => tracing::debug!("process {:?} called as a kernel probe and is no engine's", call.pid),
            Err(error) => tracing::debug!("it is not known whose kernel probe process {:?} is: {error}", call.pid),
        }
        sleep(PACE).await;
    }
}

/// Talks with a probe until either side has enough: the connection ends with it.
async fn converse(call: Call, (engine, held): Owner, probes: Shared) {
    let Call { mut words, orders, .. } = call;
    let pid = held.id.pid;
    let Ok(Ok(Word::Hello { version: VERSION })) = timeout(HELLO_BOUND, words.next()).await else {
        tracing::debug!("process {pid} of {engine} called as a kernel probe and did not say hello as this one does");
        return;
    };
    tracing::debug!("process {pid} of {engine} has a kernel probe");
    let joined = probes.borrow_mut().join(engine, held);
    let Some((id, ordered)) = joined else { return };
    tokio::select! {
        () = hear(id, &mut words, &probes) => {}
        () = speak(ordered, orders) => {}
    }
    probes.borrow_mut().left(id);
}

async fn hear(id: u64, words: &mut Words, probes: &Shared) {
    while let Ok(word) = words.next().await {
        if !probes.borrow_mut().said(id, word) {
            return;
        }
    }
}

async fn speak(mut ordered: Receiver<Order>, mut orders: Orders) {
    while let Some(order) = ordered.recv().await {
        if orders.send(order).await.is_err() {
            return;
        }
    }
}
