//! Faults: a virtual machine that has a process and cannot work.

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use crate::observe::GuestStatus;

/// A look that finds QEMU silent is made again after this: it answers nothing for a moment while it is busy with a
/// snapshot or a backup (pve-domain 1.4).
pub(crate) const HUNG_AGAIN: SignedDuration = SignedDuration::from_secs(30);

/// What keeps it from working.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// A disk failed or its storage is full: QEMU stopped it to lose nothing.
    IoError,
    /// QEMU itself ran into an error.
    InternalError,
    /// The guest's kernel panicked.
    Panicked,
    /// QEMU does not answer on its monitor.
    Hung,
}

/// The fault that a run state is, if it is one.
pub(crate) fn fault(status: &GuestStatus) -> Option<Fault> {
    match status {
        GuestStatus::Other(word) => match &**word {
            "io-error" => Some(Fault::IoError),
            "internal-error" => Some(Fault::InternalError),
            "guest-panicked" => Some(Fault::Panicked),
            _ => None,
        },
        GuestStatus::Running | GuestStatus::Paused | GuestStatus::Stopped | GuestStatus::Unknown => None,
    }
}

/// Whether a running machine's counters say that its QEMU does not answer: they read 0 after they had read more.
pub(crate) fn seems_hung(had_io: bool, status: &GuestStatus, io: Option<u64>) -> bool {
    had_io && *status == GuestStatus::Running && io == Some(0)
}

impl Fault {
    /// What is wrong, in words that follow the guest.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Fault::IoError => {
                "stands still after a disk error (io-error): free or mend its storage, then resume it"
            }
            Fault::InternalError => {
                "stands still after an error of QEMU (internal-error); only a restart helps"
            }
            Fault::Panicked => "its system has panicked (guest-panicked)",
            Fault::Hung => "its QEMU does not answer (hung)",
        }
    }

    /// PVE's word for the state.
    pub fn as_str(self) -> &'static str {
        match self {
            Fault::IoError => "io-error",
            Fault::InternalError => "internal-error",
            Fault::Panicked => "guest-panicked",
            Fault::Hung => "hung",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_states_are_faults() {
        #[rustfmt::skip]
        let table = [
            ("running",            "running",        None),
            ("paused on purpose",  "paused",         None),
            ("a disk failed",      "io-error",       Some(Fault::IoError)),
            ("QEMU failed",        "internal-error", Some(Fault::InternalError)),
            ("its kernel failed",  "guest-panicked", Some(Fault::Panicked)),
            ("on its way",         "inmigrate",      None),
            ("a watchdog fired",   "watchdog",       None),
            ("a state of 2031",    "whatever",       None),
        ];
        for (row, word, expected) in table {
            assert_eq!(fault(&GuestStatus::from_pve(word)), expected, "{row}");
        }
    }

    #[test]
    fn when_a_machine_seems_to_hang() {
        use GuestStatus::{Paused, Running, Stopped};
        #[rustfmt::skip]
        let table = [
            ("reads and writes",                  true,  Running, Some(4096), false),
            ("its counters are gone",             true,  Running, Some(0),    true),
            ("never had any: it has no disk",     false, Running, Some(0),    false),
            ("no counters are shown",             true,  Running, None,       false),
            ("stands still",                      true,  Paused,  Some(0),    false),
            ("is stopped",                        true,  Stopped, Some(0),    false),
        ];
        for (row, had_io, status, io, expected) in table {
            assert_eq!(seems_hung(had_io, &status, io), expected, "{row}");
        }
    }
}
