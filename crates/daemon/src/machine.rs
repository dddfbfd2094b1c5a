//! Machine: what Jarvis knows of the machine that it runs on. It is read once, at the start, and handed on, so that a test has
//! a machine of its own.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;

use engine::observe::MacAddress;

/// Largest file of the system that is read for it, in bytes: some thousand lines.
const FILE_MAX: u64 = 64 * 1024;
/// Names that it keeps: more are nobody's who runs one service.
const NAMES_MAX: usize = 32;
/// Network cards that are looked at; PVE gives a guest at most 32.
const CARDS_MAX: usize = 256;
/// Cards that programs make for themselves, by how their names begin: many machines have the same, or it is another's.
const MADE: [&str; 9] = ["lo", "veth", "docker", "br-", "virbr", "tap", "fwbr", "fwln", "fwpr"];
/// Where the cluster's file system is on a node of PVE.
const PVE: &str = "/etc/pve/local";

/// The machine that this runs on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// What it is called, as `hostname` says.
    pub name: Option<String>,
    /// That name, and those that stand beside it in `/etc/hosts`.
    pub names: Vec<String>,
    /// The addresses of its network cards.
    pub addresses: BTreeSet<MacAddress>,
    /// Whether it is a node of PVE.
    pub is_node: bool,
}

impl Machine {
    /// This machine. What cannot be read is not known.
    pub fn read() -> Machine {
        let name = text(Path::new("/proc/sys/kernel/hostname")).trim().to_owned();
        // What a kernel that was never told says.
        let name = Some(name).filter(|name| !name.is_empty() && name != "(none)");
        let names = name.as_deref().map(|name| names(name, &text(Path::new("/etc/hosts"))));
        let addresses = addresses(Path::new("/sys/class/net"));
        Machine { names: names.unwrap_or_default(), name, addresses, is_node: Path::new(PVE).exists() }
    }

    /// Whether something that is called so in a cluster may be this machine: with its domain or without.
    pub(crate) fn may_be(&self, called: &str) -> bool {
        let first = |name: &str| name.split('.').next().unwrap_or_default().to_ascii_lowercase();
        let own = self.name.as_deref().map(first).filter(|name| !name.is_empty());
        own.is_some_and(|own| own == first(called))
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

/// The addresses of the cards in the system's folder of them.
fn addresses(folder: &Path) -> BTreeSet<MacAddress> {
    let cards = std::fs::read_dir(folder).into_iter().flatten().flatten().take(CARDS_MAX);
    let own = cards.filter(|card| {
        let name = card.file_name();
        !MADE.iter().any(|made| name.to_string_lossy().starts_with(made))
    });
    let read = own.filter_map(|card| text(&card.path().join("address")).trim().parse().ok());
    // One that nobody gave, and one that means several.
    read.filter(|address: &MacAddress| address.octets() != [0; 6] && address.octets()[0] & 1 == 0).collect()
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
    fn the_cards_that_are_its_own() {
        let folder = std::env::temp_dir().join(format!("jarvis-machine-{}", uuid::Uuid::new_v4()));
        for (card, address) in [
            ("eth0", "bc:24:11:00:00:01\n"),
            ("ens19", "BC:24:11:00:00:02"),
            ("lo", "00:00:00:00:00:01"),
            ("docker0", "02:42:00:00:00:01"),
            ("veth12ab", "02:42:00:00:00:02"),
            ("br-1a2b", "02:42:00:00:00:03"),
            ("tun0", "00:00:00:00:00:00"),
            ("odd", "01:00:5e:00:00:01"),
            ("wg0", ""),
        ] {
            std::fs::create_dir_all(folder.join(card)).unwrap();
            std::fs::write(folder.join(card).join("address"), address).unwrap();
        }
        std::fs::write(folder.join("bonding_masters"), "bond0").unwrap();
        let found: Vec<String> = addresses(&folder).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["BC:24:11:00:00:01", "BC:24:11:00:00:02"]);
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(addresses(&folder).is_empty(), "where there is no such folder");
    }

    #[test]
    fn what_may_be_it_by_its_name() {
        for (name, own, called, expected) in [
            ("the same", Some("jarvis"), "jarvis", true),
            ("with its domain", Some("jarvis.lan"), "Jarvis", true),
            ("in the cluster with a domain", Some("jarvis"), "jarvis.example.org", true),
            ("another", Some("jarvis"), "jarvis2", false),
            ("nobody's", None, "jarvis", false),
            ("nothing", Some(""), "", false),
        ] {
            let machine = Machine { name: own.map(Into::into), ..Machine::default() };
            assert_eq!(machine.may_be(called), expected, "{name}");
        }
    }

    #[test]
    fn this_machine_has_a_name() {
        let machine = Machine::read();
        let name = machine.name.expect("a machine on which tests run has a name");
        assert!(machine.names.contains(&name.to_ascii_lowercase()), "{:?}", machine.names);
    }
}
