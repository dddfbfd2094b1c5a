//! Core dump: off. The memory holds tokens and passwords, and a crash must not leave them on a disk.
//!
//! It does not hide the memory from root, and nothing here stops a crash.

use rustix::io;
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Switches core dumps off for this process, as early as possible. The limit holds for its children too. A process
/// that is not dumpable cannot be traced by others of its user either, who then cannot read its memory or environment.
///
/// # Errors
/// The kernel refuses, which it does in no setting that we know.
pub fn off() -> io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
}
