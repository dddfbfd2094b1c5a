//! Live: what the run loop lets the server know of itself. Written by the loop, read by REST and the sockets.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use engine::Prospect;
use engine::observe::{ClusterName, GuestId, Subject};
use engine::policy::Policy;
use jiff::Timestamp;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::observe::Observer;
use crate::observe::doctor::Ward;
use crate::observe::itself::Found;
use crate::operate::Desk;

use super::meter::Meter;

/// A view is old when this many rounds should have renewed it: one may be lost, two in a row are an outage.
const ROUNDS: u32 = 3;

/// The daemon's own state.
#[derive(Debug)]
pub struct Live {
    started: Instant,
    /// After this long without a good round the cluster is no longer seen, even if nobody says so: a poller that
    /// died says nothing.
    stale_after: Duration,
    clusters: Box<[Sight]>,
    /// Whether everything that is done without being asked for is to stop.
    halt: watch::Sender<bool>,
    /// How often it was told to stop.
    stops: AtomicUsize,
    /// The daemon's; the world's where none was given.
    clock: Option<Arc<Clock>>,
}

/// What an engine was given to decide by.
#[derive(Debug)]
pub struct Given {
    /// Its settings.
    pub policy: Policy,
    /// Whether it never acts, whatever operators set.
    pub standby: bool,
}

#[derive(Debug)]
struct Sight {
    name: ClusterName,
    /// When the last good round ended; `None` before the first and after a bad one.
    seen: Mutex<Option<Instant>>,
    /// How many incidents are being worked on.
    remediations: AtomicUsize,
    /// What comes next for each of its open incidents.
    prospects: Mutex<Arc<[Prospect]>>,
    /// What its engine was given, while it is watched.
    policy: Mutex<Option<Arc<Given>>>,
    /// Where in it Jarvis itself was found to run.
    found: Mutex<Arc<[Found]>>,
    /// Who asks its cluster, for as long as it is watched.
    eyes: Mutex<Weak<Observer>>,
    /// Where it is examined.
    ward: OnceLock<Ward>,
    meter: Arc<Meter>,
    /// Where what operators say of its incidents is handed in, while it is watched.
    desk: Mutex<Option<Desk>>,
}

impl Live {
    /// The watched clusters in the configuration's order; the first is the one that the old calls speak of.
    /// `round` is how often the critical tier polls.
    pub fn new(clusters: impl IntoIterator<Item = ClusterName>, round: Duration, now: Instant) -> Live {
        let clusters = clusters
            .into_iter()
            .map(|name| Sight {
                name,
                seen: Mutex::new(None),
                remediations: AtomicUsize::new(0),
                prospects: Mutex::new(Arc::new([])),
                policy: Mutex::default(),
                found: Mutex::new(Arc::new([])),
                eyes: Mutex::default(),
                ward: OnceLock::new(),
                meter: Arc::default(),
                desk: Mutex::new(None),
            })
            .collect();
        Live {
            started: now,
            stale_after: round * ROUNDS,
            clusters,
            halt: watch::Sender::new(false),
            stops: AtomicUsize::new(0),
            clock: None,
        }
    }

    /// With the daemon's clock, by which the age of what was seen is told.
    pub fn with_clock(self, clock: Arc<Clock>) -> Live {
        Live { clock: Some(clock), ..self }
    }

    /// The time, as the observer has it.
    pub fn now(&self) -> Timestamp {
        self.clock.as_ref().map_or_else(Timestamp::now, |clock| clock.now())
    }

    /// Whether something is older than it should be that is renewed `every` so often, by the observer's clock.
    pub fn is_old(&self, age: Duration, every: Duration) -> bool {
        let real = |time| self.clock.as_ref().map_or(time, |clock| clock.real(time));
        real(age) > self.stale_after.saturating_add(real(every))
    }

    /// A round saw the cluster.
    pub fn saw(&self, cluster: &ClusterName, now: Instant) {
        self.set(cluster, Some(now));
    }

    /// A round did not.
    pub fn blind(&self, cluster: &ClusterName) {
        self.set(cluster, None);
    }

    fn set(&self, cluster: &ClusterName, seen: Option<Instant>) {
        if let Some(sight) = self.clusters.iter().find(|sight| sight.name == *cluster) {
            *sight.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen;
        }
    }

    /// Where what operators say of a cluster's incidents is handed in from now on.
    pub fn open_desk(&self, cluster: &ClusterName, desk: Desk) {
        if let Some(sight) = self.clusters.iter().find(|sight| sight.name == *cluster) {
            *sight.desk.lock().unwrap_or_else(PoisonError::into_inner) = Some(desk);
        }
    }

    /// Where what operators say of a cluster's incidents is handed in; `None` where it is not watched.
    pub fn desk(&self, cluster: &ClusterName) -> Option<Desk> {
        let sight = self.clusters.iter().find(|sight| sight.name == *cluster)?;
        sight.desk.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many incidents of a cluster are being worked on.
    pub fn set_active_remediations(&self, cluster: &ClusterName, count: usize) {
        if let Some(sight) = self.clusters.iter().find(|sight| sight.name == *cluster) {
            sight.remediations.store(count, Ordering::Relaxed);
        }
    }

    /// What comes next for each open incident of a cluster.
    pub fn set_prospects(&self, cluster: &ClusterName, prospects: Vec<Prospect>) {
        if let Some(sight) = self.clusters.iter().find(|sight| sight.name == *cluster) {
            *sight.prospects.lock().unwrap_or_else(PoisonError::into_inner) = prospects.into();
        }
    }

    /// What comes next for each open incident of a cluster, as its engine last said.
    pub fn prospects(&self, cluster: &str) -> Arc<[Prospect]> {
        let sight = self.clusters.iter().find(|sight| sight.name.as_str() == cluster);
        let Some(sight) = sight else { return Arc::new([]) };
        Arc::clone(&sight.prospects.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What a cluster's engine decides by, for whoever asks what is in force.
    pub fn set_policy(&self, cluster: &ClusterName, given: Given) {
        if let Some(sight) = self.clusters.iter().find(|sight| sight.name == *cluster) {
            *sight.policy.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(given));
        }
    }

    /// What a cluster's engine decides by; `None` where it is not watched.
    pub fn policy(&self, cluster: &ClusterName) -> Option<Arc<Given>> {
        let sight = self.clusters.iter().find(|sight| sight.name == *cluster)?;
        sight.policy.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Where in a cluster Jarvis itself was found to run.
    pub(crate) fn set_found(&self, cluster: &ClusterName, found: &[Found]) {
        if let Some(sight) = self.clusters.iter().find(|sight| sight.name == *cluster) {
            *sight.found.lock().unwrap_or_else(PoisonError::into_inner) = found.into();
        }
    }

    /// Where in a cluster Jarvis itself was found to run, where nobody has said it.
    pub(crate) fn found(&self, cluster: &ClusterName) -> Arc<[Found]> {
        let sight = self.clusters.iter().find(|sight| sight.name == *cluster);
        let Some(sight) = sight else { return Arc::new([]) };
        Arc::clone(&sight.found.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Where in a cluster Jarvis itself runs: as the configuration says, and where it says nothing, as was found.
    pub(crate) fn own(&self, cluster: &ClusterName) -> Vec<Subject> {
        match self.policy(cluster) {
            Some(given) if !given.policy.own.is_empty() => given.policy.own.clone(),
            Some(_) | None => self.found(cluster).iter().map(|found| found.subject.clone()).collect(),
        }
    }

    /// Whether Jarvis itself is known to run in this guest.
    pub(crate) fn runs_in(&self, cluster: &ClusterName, guest: GuestId) -> bool {
        self.own(cluster).contains(&Subject::Guest(guest))
    }

    /// Who asks a cluster what somebody wants to know of it, from now on.
    pub fn open_eyes(&self, cluster: &ClusterName, observer: &Arc<Observer>) {
        if let Some(sight) = self.clusters.iter().find(|sight| sight.name == *cluster) {
            *sight.eyes.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(observer);
        }
    }

    /// Who asks a cluster; `None` where it is not watched.
    pub(crate) fn eyes(&self, cluster: &ClusterName) -> Option<Arc<Observer>> {
        let sight = self.clusters.iter().find(|sight| sight.name == *cluster)?;
        sight.eyes.lock().unwrap_or_else(PoisonError::into_inner).upgrade()
    }

    /// Where a cluster is examined from now on.
    pub(crate) fn admit(&self, cluster: &ClusterName, ward: Ward) {
        if let Some(sight) = self.clusters.iter().find(|sight| sight.name == *cluster)
            && sight.ward.set(ward).is_err()
        {
            tracing::debug!(%cluster, "is examined already");
        }
    }

    /// Where a cluster is examined; `None` where it is not watched.
    pub(crate) fn ward(&self, cluster: &ClusterName) -> Option<&Ward> {
        self.clusters.iter().find(|sight| sight.name == *cluster)?.ward.get()
    }

    /// How many times as fast as the world the observer's clock runs: 1, but for the demo.
    pub fn pace(&self) -> f64 {
        const SECOND: Duration = Duration::from_secs(1);
        self.clock.as_ref().map_or(1.0, |clock| 1.0 / clock.real(SECOND).as_secs_f64())
    }

    /// Whether time is made up, as in the demo.
    pub fn is_demo(&self) -> bool {
        self.clock.as_ref().is_some_and(|clock| clock.is_made_up())
    }

    /// How many incidents are being worked on, in all.
    pub fn active_remediations(&self) -> usize {
        self.clusters.iter().map(|sight| sight.remediations.load(Ordering::Relaxed)).sum()
    }

    /// The kill switch, as it is in force: at once, and whether or not it could be stored. Who acts asks right before each
    /// act.
    pub fn halted(&self) -> bool {
        *self.halt.borrow()
    }

    /// Turns whenever the kill switch does, for whoever is in the middle of something or waits.
    pub fn halts(&self) -> watch::Receiver<bool> {
        self.halt.subscribe()
    }

    /// Stops everything, or lets it go on. Going on is for whoever has stored it first; see also [`Live::go_on_since`].
    pub fn halt(&self, stop: bool) {
        self.halt.send_if_modified(|halted| {
            self.stops.fetch_add(usize::from(stop), Ordering::Relaxed);
            std::mem::replace(halted, stop) != stop
        });
    }

    /// How often it was told to stop so far.
    pub(super) fn stops(&self) -> usize {
        self.stops.load(Ordering::Relaxed)
    }

    /// Lets it go on, unless somebody has stopped it since: then it stays stopped. Whether it goes on.
    pub(super) fn go_on_since(&self, stops: usize) -> bool {
        self.halt.send_if_modified(|halted| {
            let goes_on = self.stops() == stops;
            goes_on && std::mem::replace(halted, false)
        });
        !self.halted()
    }

    /// Each cluster, and whether it is seen.
    pub fn clusters(&self, now: Instant) -> impl Iterator<Item = (&ClusterName, bool)> {
        self.clusters.iter().map(move |sight| (&sight.name, self.fresh(sight, now)))
    }

    /// Whether a cluster is seen; one that is not watched is not.
    pub fn sees(&self, cluster: &ClusterName, now: Instant) -> bool {
        self.clusters.iter().any(|sight| sight.name == *cluster && self.fresh(sight, now))
    }

    /// Whether the first cluster is seen: what `running` means to the old page.
    pub fn seeing(&self, now: Instant) -> bool {
        self.clusters.first().is_some_and(|sight| self.fresh(sight, now))
    }

    fn fresh(&self, sight: &Sight, now: Instant) -> bool {
        let seen = *sight.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.is_some_and(|seen| now.saturating_duration_since(seen) < self.stale_after)
    }

    /// Where a cluster's pollers count; of one that is not watched nobody reads it.
    pub fn meter(&self, cluster: &ClusterName) -> Arc<Meter> {
        let sight = self.clusters.iter().find(|sight| sight.name == *cluster);
        sight.map(|sight| Arc::clone(&sight.meter)).unwrap_or_default()
    }

    /// How long the daemon has run.
    pub fn uptime(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.started)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_stopped_it_last_is_not_overruled_by_who_let_it_go_on_before() {
        let live = Live::new([], Duration::from_secs(12), Instant::now());
        let mut halts = live.halts();
        assert!(!live.halted());
        live.halt(true);
        assert!(live.halted() && halts.has_changed().unwrap() && *halts.borrow_and_update());
        live.halt(true);
        assert!(!halts.has_changed().unwrap(), "that it is stopped is no news");
        // While it is stored that it goes on, somebody stops it again.
        let asked = live.stops();
        live.halt(true);
        assert!(!live.go_on_since(asked) && live.halted());
        assert!(live.go_on_since(live.stops()) && !live.halted());
        assert!(halts.has_changed().unwrap() && !*halts.borrow_and_update());
    }

    #[test]
    fn running_means_that_rounds_succeed() {
        let start = Instant::now();
        let [lab, edge]: [ClusterName; 2] = ["lab".parse().unwrap(), "edge".parse().unwrap()];
        let live = Live::new([lab.clone(), edge.clone()], Duration::from_secs(12), start);
        let at = |second| start + Duration::from_secs(second);

        assert!(!live.seeing(at(0)), "before the first round");
        live.saw(&edge, at(1));
        assert!(!live.seeing(at(1)), "the other cluster is seen, the first is not");
        live.saw(&lab, at(5));
        assert!(live.seeing(at(40)), "35 s after a good round");
        assert!(!live.seeing(at(41)), "three rounds without a word");
        live.saw(&lab, at(50));
        live.blind(&lab);
        assert!(!live.seeing(at(50)), "a round failed");
        assert!(live.sees(&edge, at(2)) && !live.sees(&"far".parse().unwrap(), at(2)));
        let all: Vec<_> = live.clusters(at(2)).map(|(name, seen)| (name.as_str(), seen)).collect();
        assert_eq!(all, [("lab", false), ("edge", true)]);
        assert_eq!(live.uptime(at(7)).as_secs(), 7);
    }
}
