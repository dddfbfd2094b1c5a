//! Kill points: named places at which a test has this process die, as by `kill -9`: no line after it runs, nothing is flushed.
//!
//! They are there in debug builds only. A release build has none of them, and does not look for the variable.

use std::sync::OnceLock;

/// Where this process is to die, if anywhere.
static AIM: OnceLock<Aim> = OnceLock::new();

#[derive(Debug)]
struct Aim {
    /// The name of a point.
    point: String,
    /// Of what, where the point knows that: a kind of the journal.
    kind: Option<String>,
}

/// Says where to die: `act.called`, or `turn.stored/intended` where the kind of what is stored matters. The first call holds.
pub fn aim(text: &str) {
    let (point, kind) = match text.split_once('/') {
        Some((point, kind)) => (point, Some(kind.to_owned())),
        None => (text, None),
    };
    if AIM.set(Aim { point: point.to_owned(), kind }).is_err() {
        tracing::debug!("a kill point was named twice; the first one holds");
    }
}

/// Dies here, if this is the place.
#[inline]
pub(crate) fn at(point: &str) {
    of(point, || None::<&str>);
}

/// Dies here, if this is the place and one of these kinds is the one.
#[inline]
pub(crate) fn of<'a, K: IntoIterator<Item = &'a str>>(point: &str, kinds: impl FnOnce() -> K) {
    if cfg!(debug_assertions)
        && let Some(aim) = AIM.get()
        && aim.point == point
        && aim.kind.as_deref().is_none_or(|kind| kinds().into_iter().any(|known| known == kind))
    {
        die(aim);
    }
}

fn die(aim: &Aim) {
    // The one thing that says that it was reached.
    tracing::warn!(?aim, "killing this process, as it was told to");
    if let Err(error) =
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)
    {
        tracing::error!("this process could not be killed: {error}");
    }
    // The signal is on its way; nothing more is done here.
    loop {
        std::thread::park();
    }
}
