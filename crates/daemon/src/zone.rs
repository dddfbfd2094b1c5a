//! Zone: the time zones by their names, as `Europe/Berlin`.
//!
//! The machine's own rules are asked first, since they are kept up to date with it; a container without them, or without this
//! one, has those that came with the program.

use jiff::tz::{TimeZone, TimeZoneDatabase};

/// Longest name of a zone, in bytes; the longest there is has 32.
pub const NAME_MAX: usize = 64;

/// A zone by its name, whatever its case, and its name as it is written. `None`: there is none.
pub fn find(name: &str) -> Option<TimeZone> {
    among(jiff::tz::db(), name)
}

fn among(machine: &TimeZoneDatabase, name: &str) -> Option<TimeZone> {
    if name.is_empty() || name.len() > NAME_MAX {
        return None;
    }
    machine.get(name).or_else(|_| TimeZoneDatabase::bundled().get(name)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_found_with_the_machines_rules_and_without() {
        let machines = [
            ("as this machine is", jiff::tz::db().clone()),
            ("a container without any", TimeZoneDatabase::none()),
            (
                "a folder without any",
                TimeZoneDatabase::from_dir(env!("CARGO_MANIFEST_DIR"))
                    .unwrap_or_else(|_| TimeZoneDatabase::none()),
            ),
        ];
        for (machine, database) in machines {
            #[rustfmt::skip]
            let table = [
                ("a zone",             "Europe/Berlin",       Some("Europe/Berlin")),
                ("in another case",    "europe/berlin",       Some("Europe/Berlin")),
                ("UTC",                "UTC",                 Some("UTC")),
                ("none",               "Europe/Atlantis",     None),
                ("an offset",          "+01:00",              None),
                ("nothing",            "",                    None),
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
