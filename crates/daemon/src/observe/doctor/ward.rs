//! Ward: the same while the daemon runs, for whoever looks at its page. Asked when somebody asks, once at a time.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::{Finding, Mark, Patient, examine};
use crate::clock::Clock;
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
        self.solo.ask(|_, _| HOLDS, || examination(patient, clock)).await
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
