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
        "autonomy.level {} is kept, but this version only observes and tells: it acts on nothing at any level",
        config.autonomy_level
    )];
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
    if config.clusters.iter().any(|cluster| !cluster.protect.is_empty() || cluster.own.is_some()) {
        notes
            .push("protect and self are kept; while nothing is acted on, everything is protected".to_owned());
    }
    notes
}
