//! Machine: what Jarvis knows of the machine that it runs on. It is read once, at the start, and handed on, so that a test has
//! a machine of its own.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;

/// Largest file of the system that is read for it, in bytes: some thousand lines.
const FILE_MAX: u64 = 64 * 1024;
/// Names that it keeps: more are nobody's who runs one service.
const NAMES_MAX: usize = 32;

/// The machine that this runs on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// What it is called, as `hostname` says.
    pub name: Option<String>,
    /// That name, and those that stand beside it in `/etc/hosts`.
    pub names: Vec<String>,
}

impl Machine {
    /// This machine. What cannot be read is not known.
    pub fn read() -> Machine {
        let name = text(Path::new("/proc/sys/kernel/hostname")).trim().to_owned();
        // What a kernel that was never told says.
        let name = Some(name).filter(|name| !name.is_empty() && name != "(none)");
        let names = name.as_deref().map(|name| names(name, &text(Path::new("/etc/hosts"))));
        Machine { names: names.unwrap_or_default(), name }
    }
}

/// What the file holds, up to its limit; nothing where it cannot be read.
fn text(path: &Path) -> String {
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(FILE_MAX).read_to_end(&mut bytes));
    match read {
        Ok(_) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => {
            tracing::debug!("{}: {error}", path.display());
            String::new()
        }
    }
}

/// A machine's name, and those of the lines on which it stands: `10.0.0.7  jarvis.lan jarvis`.
fn names(name: &str, hosts: &str) -> Vec<String> {
    let lines = hosts.lines().map(|line| line.split('#').next().unwrap_or_default());
    let lines = lines.map(|line| line.split_whitespace().skip(1).collect::<Vec<_>>());
    let beside = lines.filter(|names| names.iter().any(|given| given.eq_ignore_ascii_case(name))).flatten();
    let names: BTreeSet<String> = beside.chain([name]).map(str::to_ascii_lowercase).collect();
    names.into_iter().take(NAMES_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_beside_its_own() {
        let hosts = "127.0.0.1 localhost\n127.0.1.1\tjarvis.lan JARVIS # jarvis.evil\n0.0.0.0 ads.example\n# 10.0.0.1 x jarvis\n\n::1";
        for (name, given, expected) in [
            ("beside it", "jarvis", &["jarvis", "jarvis.lan"][..]),
            ("in another case", "Jarvis", &["jarvis", "jarvis.lan"]),
            ("alone", "other", &["other"]),
            ("a part of one", "jarv", &["jarv"]),
        ] {
            assert_eq!(names(given, hosts), expected, "{name}");
        }
    }

    #[test]
    fn this_machine_has_a_name() {
        let machine = Machine::read();
        let name = machine.name.expect("a machine on which tests run has a name");
        assert!(machine.names.contains(&name.to_ascii_lowercase()), "{:?}", machine.names);
    }
}
