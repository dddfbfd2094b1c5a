//! Reads the words of the scenario language: names, numbers, times, sizes, shares, and the nearest word to a wrong one.

use engine::observe::{GuestId, NodeName};
use jiff::SignedDuration;

use super::LENGTH_MAX;
use super::parse::Said;
use crate::cluster::{GIB, MIB};

/// The nearest of some words, when it is near enough to have been meant.
pub(super) fn nearest<'a>(word: &str, all: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    all.map(|name| (strsim::damerau_levenshtein(word, name), name))
        .min()
        .filter(|(distance, name)| *distance <= name.len().div_ceil(3))
        .map(|(_, name)| name)
}

pub(super) fn guest(text: &str) -> Said<GuestId> {
    text.parse().map_err(|e: engine::observe::BadId| e.to_string())
}

pub(super) fn node(text: &str) -> Said<NodeName> {
    text.strip_prefix("node/").unwrap_or(text).parse().map_err(|e: engine::observe::BadId| e.to_string())
}

pub(super) fn number<N: std::str::FromStr>(text: &str) -> Said<N> {
    text.parse().map_err(|_| format!("`{text}` is no number"))
}

/// `m:ss` or `h:mm:ss`.
pub(super) fn time(text: &str) -> Said<SignedDuration> {
    let wrong = || format!("`{text}` is no time: write m:ss or h:mm:ss, as 1:05 or 2:00:00");
    let parts: Vec<&str> = text.split(':').collect();
    let (head, tail) = parts.split_first().ok_or_else(wrong)?;
    if !(1..=2).contains(&tail.len()) || head.is_empty() || head.len() > 6 {
        return Err(wrong());
    }
    let mut seconds: i64 = head.parse().map_err(|_| wrong())?;
    for part in tail {
        let value: i64 = part.parse().map_err(|_| wrong())?;
        if part.len() != 2 || !(0..60).contains(&value) {
            return Err(wrong());
        }
        seconds = seconds * 60 + value;
    }
    let time = SignedDuration::from_secs(seconds);
    let fits = (SignedDuration::ZERO..=LENGTH_MAX).contains(&time);
    if fits { Ok(time) } else { Err(format!("`{text}` is too long: 31 days at most")) }
}

/// `12s`, `5m`, `2h` or a time.
pub(super) fn interval(text: &str) -> Said<SignedDuration> {
    let wrong = || format!("`{text}` is no interval: write 12s, 5m or 1h");
    let (digits, unit) = text.split_at(text.len().saturating_sub(1));
    let factor = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(wrong()),
    };
    let count: u32 = digits.parse().map_err(|_| wrong())?;
    let interval = SignedDuration::from_secs(i64::from(count) * factor);
    if interval.is_zero() || interval > LENGTH_MAX { Err(wrong()) } else { Ok(interval) }
}

/// `97%` as a fraction.
pub(super) fn percent(text: &str) -> Said<f64> {
    let wrong = || format!("`{text}` is no share: write 97% or 97.5%");
    let value: f64 = text.strip_suffix('%').ok_or_else(wrong)?.parse().map_err(|_| wrong())?;
    if (0.0..=100.0).contains(&value) { Ok(value / 100.0) } else { Err(wrong()) }
}

/// `512MiB`, `64GiB`, `2TiB` in bytes.
pub(super) fn size(text: &str) -> Said<u64> {
    let wrong = || format!("`{text}` is no size: write 512MiB, 64GiB or 2TiB");
    let units = [("MiB", MIB), ("GiB", GIB), ("TiB", GIB * 1024)];
    let (digits, unit) =
        units.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit))).ok_or_else(wrong)?;
    digits.parse::<u64>().ok().and_then(|count| count.checked_mul(unit)).filter(|n| *n > 0).ok_or_else(wrong)
}

pub(super) fn is_size(text: &str) -> bool {
    size(text).is_ok()
}
