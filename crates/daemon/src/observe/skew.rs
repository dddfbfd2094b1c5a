//! Skew: how far a node's clock is from ours, so that its tasks are told in our time.
//!
//! A node writes its tasks down by its own clock. One that goes wrong by a minute would make an operator's stop look as if
//! it had ended before the guest was last seen running, and the guest as crashed (pve-domain 9.26).

use std::time::Duration;

use engine::observe::{Blindness, Cause, NodeName, Task};
use jiff::{SignedDuration, Timestamp};

use super::Observer;
use super::ask::About;
use super::bill::Call;

/// PVE tells whole seconds, and the answer takes its time: less than this is no difference.
const NONE_BELOW: SignedDuration = SignedDuration::from_secs(2);
/// How long a node may take to tell its time.
const WITHIN: Duration = Duration::from_secs(10);

impl Observer {
    /// By how much a node's clock is ahead of ours; negative where it is behind. Asked anew for each look: a clock that is
    /// set right jumps, just after a boot most of all.
    pub(super) async fn skew(
        &self,
        name: &NodeName,
        node: &pve::NodeName,
    ) -> Result<SignedDuration, Blindness> {
        let asked_at = self.clock.now();
        let answer = self
            .endpoints
            .ask(Call::Time, About::NodeWithin(WITHIN), |client| async move { client.node_time(node).await });
        let unsaid =
            || Blindness { cause: Cause::Malformed, words: format!("{name} does not tell its time") };
        let theirs = answer.await?.time.ok_or_else(unsaid)?;
        let skew = skew(asked_at, theirs, self.clock.now());
        if !skew.is_zero() {
            tracing::warn!(cluster = %self.cluster, node = %name, ahead_s = skew.as_secs(), "the node's clock is not ours");
        }
        Ok(skew)
    }
}

/// From when it was asked, what the node told, and when that came.
pub(super) fn skew(asked_at: Timestamp, theirs: Timestamp, answered_at: Timestamp) -> SignedDuration {
    // Anywhere between the two is no difference, and neither is a second that was cut off.
    let skew = if theirs > answered_at {
        theirs.duration_since(answered_at)
    } else {
        theirs.duration_since(asked_at).min(SignedDuration::ZERO)
    };
    if skew.abs() < NONE_BELOW { SignedDuration::ZERO } else { skew }
}

/// Tasks as a node tells them, in our time.
pub(super) fn in_our_time(tasks: Vec<Task>, skew: SignedDuration) -> Vec<Task> {
    let ours = |theirs: Timestamp| theirs.checked_sub(skew).unwrap_or(theirs);
    let moved =
        |task: Task| Task { started_at: ours(task.started_at), ended_at: task.ended_at.map(ours), ..task };
    tasks.into_iter().map(moved).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_a_clock_is_off() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        #[rustfmt::skip]
        let table = [
            // row                                    asked  theirs  answered  ahead by
            ("the same",                               1000,  1000,   1000,       0),
            ("while the answer was on its way",        1000,  1004,   1008,       0),
            ("a second that was cut off",              1000,   999,   1000,       0),
            ("a minute ahead",                         1000,  1061,   1001,      60),
            ("an hour behind: summer time by hand",    1000, -2600,   1001,   -3600),
            ("a second ahead is no difference",        1000,  1001,   1000,       0),
        ];
        for (row, asked, theirs, answered, expected) in table {
            assert_eq!(skew(at(asked), at(theirs), at(answered)).as_secs(), expected, "{row}");
        }
    }
}
