//! Single calls that fail in the middle of a story: which, and what the story may lack for it.

use jiff::SignedDuration;
use sim::Rng;
use sim::script::{Command, Script};

use super::play::Lever;
use super::story::Story;

const KINDS: [&str; 5] = ["timeout", "500", "595", "reset", "truncated"];
/// Which calls: any, a critical round's two, a node's own, and what the token may.
const PATHS: [&str; 5] =
    ["", "path=/cluster/resources", "path=/cluster/status", "path=/nodes/", "path=/access/"];
/// The switch is set within so many seconds after one of the script's steps, and meets one of the next calls.
const AFTER_STEP: usize = 30;
const CALLS: usize = 4;
/// Calls of `/access/` are this far apart, and others come by the second: a fault that is set later meets none.
const BEFORE_END: SignedDuration = SignedDuration::from_secs(90);

/// What is judged by tiers that come round after the end of most scenarios: a lost round of them is missed there.
const SLOW: [&str; 6] =
    ["STORAGE_HIGH", "STORAGE_CRITICAL", "SERVICE_DOWN", "TEMP_HIGH", "DISK_HIGH", "RAM_HIGH"];

/// A fault that may meet a call of this scenario.
pub(crate) fn lever(script: &Script, rng: &mut Rng) -> Lever {
    let steps: Vec<SignedDuration> = script.timed_steps().map(|(at, _)| at).collect();
    let step = if steps.is_empty() { SignedDuration::ZERO } else { steps[rng.below(steps.len())] };
    let after = SignedDuration::from_secs(rng.below(AFTER_STEP) as i64);
    let at = (step + after).min(script.length - BEFORE_END).max(SignedDuration::ZERO);
    let (kind, path) = (KINDS[rng.below(KINDS.len())], PATHS[rng.below(PATHS.len())]);
    let number = if path.ends_with("/access/") { 1 } else { 1 + rng.below(CALLS) };
    Lever { at, line: format!("fault {kind} n={number} {path}").trim_end().to_owned() }
}

/// Whether it is the story without a fault, but for words that the lost answer would have brought.
pub(crate) fn judge(script: &Script, expected: &Story, told: &Story) -> Result<(), String> {
    // A round lost beside one that the story itself loses is the second in a row, and that is blindness.
    let troubled = script.steps.iter().any(|step| matches!(step.command, Command::Api(..)));
    let left_out = |condition: &str| SLOW.contains(&condition) || (troubled && condition == "MONITOR_BLIND");
    expected.clone().without(left_out).compare_gist(&told.clone().without(left_out))
}
