//! What `jarvis check-config` prints: every setting as it is used, where it comes from, and what it does not do.

use std::fmt::Write;

use super::{Config, Live};

/// The complete effective settings, one a line, then notes and warnings. Never a secret.
pub fn describe(config: &Config) -> String {
    let key_width = config.settings.iter().map(|setting| setting.key.len()).max().unwrap_or_default();
    let mut text = String::new();
    for setting in &config.settings {
        line(&mut text, format_args!("{:key_width$}  {}  ({})", setting.key, setting.value, setting.source));
    }
    for note in notes(config) {
        line(&mut text, format_args!("note: {note}"));
    }
    for warning in &config.warnings {
        line(&mut text, format_args!("warning: {warning}"));
    }
    text
}

fn line(text: &mut String, words: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    writeln!(text, "{words}").unwrap_or_default();
}

/// What is accepted because later versions go by it, and what this one makes of it.
fn notes(config: &Config) -> Vec<String> {
    let mut notes = vec![format!(
        "autonomy.level {}: {}; operators may lower it, and raise it again up to this",
        config.autonomy_level,
        match config.autonomy_level {
            0 | 1 => "nothing is done, and nothing proposed",
            2 => "what could be done is proposed, and done when somebody approves",
            _ =>
                "crashed guests are started, lost nodes woken and failed services restarted, within the guardrails",
        }
    )];
    if config.standby {
        let words = "autonomy.standby: this jarvis only watches and tells; no runbook is followed, whatever the level and \
                     whoever approves";
        notes.push(words.into());
    }
    if config.server.password.is_some() {
        notes.push(
            "the configured password is admin's for as long as it is configured; it is not stored, and one that was set \
             otherwise rests as long"
                .to_owned(),
        );
    }
    if config.tiers.live == Live::Off {
        let critical = jiff::SignedDuration::try_from(config.tiers.critical).unwrap_or_default();
        notes.push(format!(
            "tiers.live is off: a stop is noticed by the critical tier, {critical:#} later at worst"
        ));
    }
    let without_self = config.clusters.iter().filter(|cluster| cluster.own.is_none());
    for cluster in without_self.filter(|_| config.autonomy_level > 2 && !config.standby) {
        notes.push(format!(
            "cluster {}: where Jarvis itself runs is not said (self), so that it is looked for by this machine's name and \
             addresses; `jarvis doctor` says whether it is found: it is never to act on itself",
            cluster.name
        ));
    }
    notes
}
