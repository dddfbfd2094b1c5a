//! Open files: as many as the server's limits on connections need. The usual 1,024 of a login or a service are fewer.

use rustix::io;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What the server's 3,500 connections, the store and the clusters need, and room to spare.
const WANTED: u64 = 8_192;

/// Asks for as many as are wanted and allowed, and never for fewer than there are.
///
/// # Errors
/// The kernel refuses.
pub fn raise() -> io::Result<()> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let allowed = maximum.map_or(WANTED, |maximum| maximum.min(WANTED));
    match current {
        Some(current) if current < allowed => {
            setrlimit(Resource::Nofile, Rlimit { current: Some(allowed), maximum })
        }
        Some(_) | None => Ok(()),
    }
}

/// How many files this process may have open now.
pub(crate) fn limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}
