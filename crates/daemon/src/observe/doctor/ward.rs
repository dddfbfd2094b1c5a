//! Ward: the same while the daemon runs, for whoever looks at its page. Asked when somebody asks, once at a time.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::{Finding, Mark, Patient, examine};
use crate::clock::Clock;
use crate::observe::ask::AFTER_REFUSAL;
use crate::report::solo::{Known, Solo};

/// How long what was found is an answer: to find it costs a cluster some seconds of its nodes' time.
const HOLDS: Duration = Duration::from_secs(20);
/// How long it may take. With every node of a large cluster hanging it would be an hour, of which nobody has any use.
const WITHIN: Duration = Duration::from_secs(120);

/// A cluster that can be examined.
pub(crate) struct Ward {
    patient: Arc<Patient>,
    clock: Arc<Clock>,
    solo: Arc<Solo<Checkup>>,
}

/// What an examination found.
#[derive(Debug)]
pub(crate) struct Checkup {
    /// When it was begun.
    pub(crate) at: Timestamp,
    pub(crate) found: Vec<Finding>,
}

impl Ward {
    pub(crate) fn new(patient: Patient, clock: Arc<Clock>) -> Ward {
        Ward { patient: Arc::new(patient), clock, solo: Arc::default() }
    }

    /// What is found now, or was a moment ago.
    pub(crate) async fn examined(&self) -> Known<Checkup> {
        let (patient, clock) = (Arc::clone(&self.patient), Arc::clone(&self.clock));
        self.solo.ask(holds, || examination(patient, clock)).await
    }
}

/// A refused token is not shown again before the rounds would: each time costs a node three seconds, and may look like an attack.
fn holds(checkup: &Checkup, _: Duration) -> Duration {
    match checkup.found.iter().any(|finding| finding.refused) {
        true => HOLDS.max(AFTER_REFUSAL.unsigned_abs()),
        false => HOLDS,
    }
}

impl fmt::Debug for Ward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ward({})", self.patient.name)
    }
}

async fn examination(patient: Arc<Patient>, clock: Arc<Clock>) -> Checkup {
    let at = clock.now();
    let found = tokio::time::timeout(WITHIN, examine(&patient, || clock.now())).await;
    let found = found.unwrap_or_else(|_| {
        let words = "did not answer in time: `jarvis doctor` on the daemon's machine waits for all of it";
        vec![Finding::new(Mark::Missing, "cluster", words)]
    });
    Checkup { at, found }
}

#[cfg(test)]
mod tests {
    use pve::answer::understand;

    use super::super::{failed, refused};
    use super::*;

    #[test]
    fn a_refused_token_is_not_shown_again_soon() {
        let error = |status, reason| {
            let asked = pve::Asked { call: "GET /version".into(), endpoint: "pve1:8006".into() };
            understand::<()>(&asked, status, reason, b"").err().unwrap()
        };
        let well = || Finding::new(Mark::Well, "endpoint pve1", "PVE 9.1");
        let (wrong, down) = (error(401, "No ticket"), error(595, "Connection refused"));
        let token = "jarvis@pve!jarvis";
        for (name, found, holds_for) in [
            ("all is well", vec![well()], 20),
            ("an endpoint is down", vec![failed("endpoint pve1", &down), well()], 20),
            ("the token is refused", vec![well(), refused("token", token, &wrong)], 60),
            ("the one that acts is", vec![well(), refused("token that acts", token, &wrong), well()], 60),
            ("nobody says what of it", vec![refused("token that acts", token, &down)], 20),
            ("refused in the middle", vec![well(), failed("rights", &wrong)], 60),
        ] {
            let checkup = Checkup { at: Timestamp::UNIX_EPOCH, found };
            assert_eq!(holds(&checkup, Duration::from_secs(9)).as_secs(), holds_for, "{name}");
        }
    }
}
