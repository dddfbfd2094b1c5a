//! Ask: which endpoint is asked, how long an answer is waited for, and when another endpoint is tried.
//!
//! What is asked, and what an answer means, is others' business.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use engine::observe::{Blindness, Cause, ClusterName};
use jiff::{SignedDuration, Timestamp};
use pve::Client;
use tokio::sync::Mutex;

use super::bill::{Bill, Call};
use super::translate;
use crate::clock::Clock;
use crate::report::meter::Meter;

/// Each 401 costs the node 3 s and may look like an attack (pve-domain 9.22).
pub(super) const AFTER_REFUSAL: SignedDuration = SignedDuration::from_secs(60);

/// The endpoints of one cluster.
pub(super) struct Endpoints {
    cluster: ClusterName,
    clients: Vec<Client>,
    /// The endpoint that answered last.
    home: AtomicUsize,
    refused: Mutex<Option<(Timestamp, Blindness)>>,
    bill: Bill,
    meter: Arc<Meter>,
    clock: Arc<Clock>,
}

/// What a question is about, and how long its answer is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) enum About {
    /// The cluster: every endpoint may know.
    Cluster,
    /// The cluster, for so long at each endpoint.
    ClusterWithin(Duration),
    /// One node, however it is reached, for as long as PVE itself waits.
    Node,
    /// One node, for so long. An endpoint that passes the question on is not to blame when no answer comes.
    NodeWithin(Duration),
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// Nothing was asked.
    Held(Blindness),
    /// The failure that tells most.
    Failed(pve::Error),
}

impl Unanswered {
    pub(super) fn blindness(&self) -> Blindness {
        match self {
            Unanswered::Held(blindness) => blindness.clone(),
            Unanswered::Failed(error) => translate::blindness(error),
        }
    }
}

impl Endpoints {
    pub(super) fn new(cluster: ClusterName, clients: Vec<Client>, clock: Arc<Clock>) -> Endpoints {
        let (home, refused, bill) = (AtomicUsize::new(0), Mutex::new(None), Bill::default());
        Endpoints { cluster, clients, home, refused, bill, meter: Arc::default(), clock }
    }

    pub(super) fn count(&self) -> usize {
        self.clients.len()
    }

    /// Counts where others read it from now on.
    pub(super) fn count_in(&mut self, meter: Arc<Meter>) {
        self.meter = meter;
    }

    pub(super) fn meter(&self) -> &Meter {
        &self.meter
    }

    pub(super) fn bill(&self) -> &Bill {
        &self.bill
    }

    /// Each endpoint by itself, for who wants to know what each says. Ask through [`Endpoints::counted`].
    pub(super) fn each(&self) -> impl Iterator<Item = &Client> {
        self.clients.iter()
    }

    /// Makes one call and counts it.
    pub(super) async fn counted<T>(
        &self,
        call: Call,
        answer: impl Future<Output = Result<T, pve::Error>>,
    ) -> Result<T, pve::Error> {
        let began = Instant::now();
        let answer = answer.await;
        let took = began.elapsed();
        self.bill.note(call, took, answer.is_ok());
        self.meter.call(call.as_str(), took, answer.is_ok());
        answer
    }

    /// The endpoint answers, and what it says is of no use: the next one is asked from now on.
    pub(super) fn move_on(&self) -> bool {
        if self.clients.len() < 2 {
            return false;
        }
        let home = (self.home.load(Ordering::Relaxed) + 1) % self.clients.len();
        self.home.store(home, Ordering::Relaxed);
        true
    }

    /// As [`Endpoints::put`], for who needs no more than the cause of a failure.
    pub(super) async fn ask<T, A>(
        &self,
        call: Call,
        about: About,
        make: impl Fn(Client) -> A,
    ) -> Result<T, Blindness>
    where
        A: Future<Output = Result<T, pve::Error>>,
    {
        self.put(call, about, make).await.map_err(|unanswered| unanswered.blindness())
    }

    /// Asks the endpoint that answered last, and the others in turn when it is the endpoint that fails.
    pub(super) async fn put<T, A>(
        &self,
        call: Call,
        about: About,
        make: impl Fn(Client) -> A,
    ) -> Result<T, Unanswered>
    where
        A: Future<Output = Result<T, pve::Error>>,
    {
        if let Some((until, blindness)) = &*self.refused.lock().await
            && self.clock.now() < *until
        {
            return Err(Unanswered::Held(blindness.clone()));
        }
        let home = self.home.load(Ordering::Relaxed);
        let mut failure = None;
        for turn in 0..self.clients.len() {
            let index = (home + turn) % self.clients.len();
            let Some(client) = self.clients.get(index) else { continue };
            let client = match about {
                About::Cluster | About::Node => client.clone(),
                About::ClusterWithin(within) | About::NodeWithin(within) => {
                    client.within(self.clock.real(within))
                }
            };
            let error = match self.counted(call, make(client.clone())).await {
                Ok(answer) => {
                    // Two calls at a time may find out; it is said once.
                    if turn > 0 && self.home.swap(index, Ordering::Relaxed) != index {
                        let endpoint = client.endpoint().label();
                        tracing::warn!(cluster = %self.cluster, endpoint, "asking another endpoint from now on");
                    }
                    return Ok(answer);
                }
                Err(error) => error,
            };
            tracing::debug!(cluster = %self.cluster, error = %chain(&error), "not reached");
            let blindness = translate::blindness(&error);
            if blindness.cause == Cause::Refused {
                let until = self.clock.now() + AFTER_REFUSAL;
                *self.refused.lock().await = Some((until, blindness));
            }
            if !elsewhere(about, &error) {
                return Err(Unanswered::Failed(error));
            }
            // One that says why tells more than one that is not there.
            let tells_more = matches!(error, pve::Error::NoClusterFs { .. });
            if failure.is_none() || tells_more {
                failure = Some(error);
            }
        }
        let nobody = || Blindness { cause: Cause::Unreachable, words: "no endpoint is configured".into() };
        Err(failure.map_or_else(|| Unanswered::Held(nobody()), Unanswered::Failed))
    }
}

/// Whether another endpoint may know better.
fn elsewhere(about: About, error: &pve::Error) -> bool {
    match about {
        // A call about the whole cluster goes no further than the endpoint itself: where that is as far as it gets, the
        // endpoint's own pvedaemon is dead.
        About::Cluster | About::ClusterWithin(_) => {
            error.is_endpoint_fault() || matches!(error, pve::Error::Hop { .. })
        }
        About::Node => error.is_endpoint_fault(),
        // It may still be at work there; and it is the node that is waited for.
        About::NodeWithin(_) => error.is_endpoint_fault() && !matches!(error, pve::Error::TimedOut { .. }),
    }
}

/// An error with everything that caused it.
fn chain(error: &pve::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use pve::Step;

    #[test]
    fn when_another_endpoint_is_asked() {
        let asked = || pve::Asked { call: "GET /x".into(), endpoint: "pve1:8006".into() };
        let refusal =
            |status, reason| pve::answer::understand::<()>(&asked(), status, reason, b"").err().unwrap();
        let late =
            |step| pve::Error::TimedOut { asked: Box::new(asked()), step, after: Duration::from_secs(5) };
        let soon = Duration::from_secs(5);
        let (cluster, node, hasty) = (About::Cluster, About::Node, About::NodeWithin(soon));
        let fs = "RPCEnvironment init request failed: Unable to load access control list: Connection refused";
        #[rustfmt::skip]
        let table = [
            ("the endpoint's pvedaemon is dead",     cluster, refusal(595, "Connection refused"), true),
            ("the same, of a node beyond it",        node,    refusal(595, "Connection refused"), false),
            ("the endpoint's pmxcfs is dead",        node,    refusal(500, fs), true),
            ("the endpoint hangs",                   cluster, late(Step::Waiting), true),
            ("it hangs longer than PVE itself waits", node,   late(Step::Waiting), true),
            ("no answer within our own patience",    hasty,   late(Step::Waiting), false),
            ("our own queue",                        cluster, late(Step::Queued), false),
            ("a missing right",                      cluster, refusal(403, "Permission check failed (/, Sys.Audit)"), false),
            ("a refused token",                      cluster, refusal(401, "No ticket"), false),
        ];
        for (name, about, error, expected) in table {
            assert_eq!(elsewhere(about, &error), expected, "{name}");
        }
    }
}
