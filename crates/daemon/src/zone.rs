//! Zone: the time zones by their names, as `Europe/Berlin`.
//!
//! Which names there are is what came with the program: a machine's folder has others besides, `localtime` and `right/...`
//! among them, which mean something else on each machine. The rules of a name are the machine's where it has some, since they are
//! kept up to date with it.

use jiff::tz::{TimeZone, TimeZoneDatabase};

/// Longest name of a zone, in bytes; the longest there is has 32.
pub const NAME_MAX: usize = 64;

/// The database's word for a clock that nobody set.
const UNSET: &str = "Factory";

/// A zone by its name, whatever its case, and its name as it is written. `None`: there is none.
pub fn find(name: &str) -> Option<TimeZone> {
    among(jiff::tz::db(), name)
}

fn among(machine: &TimeZoneDatabase, name: &str) -> Option<TimeZone> {
    if name.is_empty() || name.len() > NAME_MAX || name.eq_ignore_ascii_case(UNSET) {
        return None;
    }
    let bundled = TimeZoneDatabase::bundled().get(name).ok()?;
    let kept_up = bundled.iana_name().and_then(|name| machine.get(name).ok());
    Some(kept_up.unwrap_or(bundled))
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    /// A machine's rules, with these names among them; gone with the test.
    struct Folder(PathBuf);

    impl Folder {
        fn with(names: &[&str]) -> Folder {
            let path = std::env::temp_dir().join(format!("jarvis-zones-{}", uuid::Uuid::new_v4()));
            for name in names {
                let file = path.join(name);
                std::fs::create_dir_all(file.parent().unwrap()).unwrap();
                std::fs::write(file, utc()).unwrap();
            }
            Folder(path)
        }

        fn path(&self) -> &Path {
            &self.0
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap();
        }
    }

    /// A file of the machine's rules that says: UTC (RFC 9636). Twice the same, as the second version has it: counts, of which
    /// those of types and of letters are not 0, a type without an offset, and its name.
    fn utc() -> Vec<u8> {
        let head = [&b"TZif2"[..], &[0; 15], &[0; 16], &[0, 0, 0, 1], &[0, 0, 0, 4]].concat();
        let body = [&head[..], &[0; 6], b"UTC\0"].concat();
        [&body[..], &body, b"\nUTC0\n"].concat()
    }

    #[test]
    fn a_zone_is_found_with_the_machines_rules_and_without() {
        // Names that the folder of a machine has, and the database of zones has not.
        let own = Folder::with(&[
            "localtime",
            "posixrules",
            "Factory",
            "right/Europe/Berlin",
            "posix/Europe/Berlin",
        ]);
        let machines = [
            ("as this machine is", jiff::tz::db().clone()),
            ("a machine with names of its own", TimeZoneDatabase::from_dir(own.path()).unwrap()),
            ("a container without any", TimeZoneDatabase::none()),
            (
                "a folder without any",
                TimeZoneDatabase::from_dir(env!("CARGO_MANIFEST_DIR"))
                    .unwrap_or_else(|_| TimeZoneDatabase::none()),
            ),
        ];
        assert!(machines[1].1.get("localtime").is_ok(), "it has them");
        for (machine, database) in machines {
            #[rustfmt::skip]
            let table = [
                ("a zone",             "Europe/Berlin",       Some("Europe/Berlin")),
                ("in another case",    "europe/berlin",       Some("Europe/Berlin")),
                ("UTC",                "UTC",                 Some("UTC")),
                ("none",               "Europe/Atlantis",     None),
                ("an offset",          "+01:00",              None),
                ("nothing",            "",                    None),
                ("an old one",         "Europe/Kiev",         Some("Europe/Kiev")),
                ("by its offset",      "Etc/GMT-3",           Some("Etc/GMT-3")),
                ("a machine's own",    "localtime",           None),
                ("what means another", "posixrules",          None),
                ("what was never set", "Factory",             None),
                ("in any case",        "factory",             None),
                ("with leap seconds",  "right/Europe/Berlin", None),
                ("without, by name",   "posix/Europe/Berlin", None),
                ("a list of them",     "zone.tab",            None),
                ("a path",             "../../etc/passwd",    None),
                ("an absolute path",   "/etc/passwd",         None),
            ];
            for (name, text, expected) in table {
                let found = among(&database, text);
                let name_of = found.as_ref().map(|zone| zone.iana_name().unwrap_or("UTC"));
                assert_eq!(name_of, expected, "{machine}: {name}");
            }
            let long = "x".repeat(NAME_MAX + 1);
            assert_eq!(among(&database, &long), None, "{machine}: a long one");
        }
    }
}
