//! Controls: what the engine is told that operators have set and announced. What cannot be read stops everything.

use engine::decide::{Autonomy, Controls, KillSwitch, Maintenance};
use engine::observe::ClusterName;
use engine::window::Span;
use jiff::{SignedDuration, Timestamp};

use crate::record::{self, Notice};

/// How far ahead the engine is told of announced work. It is read again each few seconds; this is for a store that fails.
const AHEAD: SignedDuration = SignedDuration::from_hours(24);

/// The two preferences, as they are stored.
#[derive(Clone, Debug, Default)]
pub(super) struct Set {
    pub(super) switch: Option<String>,
    pub(super) level: Option<String>,
}

/// What holds. `None`: it could not be read; then what was known stays, and nothing is done.
pub(super) fn in_force(
    known: Controls,
    halted: bool,
    ceiling: u8,
    set: Option<Set>,
    announced: Option<Vec<Maintenance>>,
) -> Controls {
    let unread = set.is_none() || announced.is_none();
    let level = match &set {
        Some(Set { level, .. }) => {
            let level = record::level_in_force(level.as_deref(), ceiling);
            Autonomy::ALL.get(usize::from(level)).copied().unwrap_or(Autonomy::Observe)
        }
        None => known.level,
    };
    let on = set.is_some_and(|set| record::kill_switch_in_force(set.switch.as_deref()));
    // A switch that is on says more than a store that fails.
    let kill_switch = match (halted || on, unread) {
        (true, _) => KillSwitch::On,
        (false, true) => KillSwitch::StoreFails,
        (false, false) => KillSwitch::Off,
    };
    Controls { kill_switch, level, maintenance: announced.unwrap_or(known.maintenance), ..known }
}

/// The work on things of a cluster that lasts, or begins within [`AHEAD`].
pub(super) fn announced(notices: &[Notice], cluster: &ClusterName, now: Timestamp) -> Vec<Maintenance> {
    let mine = notices.iter().filter(|notice| notice.is_of(cluster.as_str()) && !notice.is_over(now));
    let spans = mine.flat_map(|notice| {
        let spans = notice.when.within(notice.kind, now, now + AHEAD).into_iter();
        spans.map(|Span { from, until }| Maintenance { subject: notice.about.clone(), from, until })
    });
    spans.collect()
}

#[cfg(test)]
mod tests {
    use engine::window::Weekly;
    use uuid::Uuid;

    use super::*;
    use crate::record::{NoticeKind, When};

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn work() -> Vec<Maintenance> {
        let (from, until) = (at("2026-12-01T00:00:00Z"), at("2026-12-01T01:00:00Z"));
        vec![Maintenance { subject: "qemu/101".parse().unwrap(), from, until }]
    }

    #[test]
    fn what_cannot_be_read_stops_everything() {
        use KillSwitch::{NotKnown, Off, On, StoreFails};
        let set = |switch: &str| Some(Set { switch: Some(switch.into()), level: Some("3".into()) });
        let fresh = Some(Set::default());
        #[rustfmt::skip]
        let table = [
            ("a fresh store",                     false, fresh.clone(), Some(Vec::new()), Off,        4, 0),
            ("all that is set",                   false, set("false"),  Some(work()),     Off,        3, 1),
            ("the switch is on",                  false, set("true"),   Some(work()),     On,         3, 1),
            ("on in memory alone",                true,  set("false"),  Some(work()),     On,         3, 1),
            ("the preferences are not read",      false, None,          Some(work()),     StoreFails, 2, 1),
            ("they are not, and it is on",        true,  None,          Some(work()),     On,         2, 1),
            ("the announcements are not read",    false, set("false"),  None,             StoreFails, 3, 2),
            ("they are not, and it is on",        false, set("true"),   None,             On,         3, 2),
            ("nothing is read",                   false, None,          None,             StoreFails, 2, 2),
            ("nothing is read, and it is on",     true,  None,          None,             On,         2, 2),
        ];
        for (name, halted, set, announced, switch, level, windows) in table {
            let known = Controls {
                kill_switch: NotKnown,
                level: Autonomy::Recommend,
                standby: true,
                maintenance: [work(), work()].concat(),
            };
            let controls = in_force(known, halted, 4, set, announced);
            let shown = (controls.kill_switch, controls.level.number(), controls.maintenance.len());
            assert_eq!(shown, (switch, level, windows), "{name}");
            assert!(controls.standby, "{name}: no store takes it back");
        }
    }

    #[test]
    fn the_engine_is_told_of_what_lasts_and_of_what_comes_within_a_day() {
        let now = at("2026-12-02T12:00:00Z");
        let once = |from: &str, until: &str| When::Once(Span { from: at(from), until: at(until) });
        let weekly = |days: &str, time: &str, minutes: u32, zone: &str| When::Weekly {
            weekly: Weekly { days: days.parse().unwrap(), at: time.parse().unwrap(), minutes },
            zone: zone.into(),
        };
        let every = "mon,tue,wed,thu,fri,sat,sun";
        #[rustfmt::skip]
        let table = [
            ("it lasts",                      Some("lab"),  once("2026-12-02T11:00:00Z", "2026-12-02T13:00:00Z"), "11:00-13:00"),
            ("it is over",                    Some("lab"),  once("2026-12-02T11:00:00Z", "2026-12-02T12:00:00Z"), ""),
            ("it comes",                      Some("lab"),  once("2026-12-03T11:00:00Z", "2026-12-03T13:00:00Z"), "11:00-13:00"),
            ("it comes later",                Some("lab"),  once("2026-12-03T12:00:00Z", "2026-12-03T13:00:00Z"), ""),
            ("everywhere",                    None,         once("2026-12-02T11:00:00Z", "2026-12-02T13:00:00Z"), "11:00-13:00"),
            ("in another cluster",            Some("edge"), once("2026-12-02T11:00:00Z", "2026-12-02T13:00:00Z"), ""),
            ("each week, now",                Some("lab"),  weekly("wed", "12:30", 120, "Europe/Berlin"), "11:30-13:30"),
            ("each week, tomorrow",           Some("lab"),  weekly("thu", "02:00", 120, "Europe/Berlin"), "01:00-03:00"),
            ("each week, some day",           Some("lab"),  weekly("fri", "02:00", 120, "Europe/Berlin"), ""),
            ("each night, two of them",       Some("lab"),  weekly(every, "11:00", 120, "UTC"), "11:00-13:00 11:00-13:00"),
            ("in a zone that is no more",     Some("lab"),  weekly("fri", "02:00", 120, "Europe/Atlantis"), "00:00-22:00"),
            ("that nobody can read",          Some("lab"),  When::Unclear, "00:00-22:00"),
        ];
        for (name, cluster, when, expected) in table {
            let notice = Notice {
                id: Uuid::nil(),
                kind: NoticeKind::Maintenance,
                cluster: cluster.map(str::to_owned),
                about: "node/pve1".parse().unwrap(),
                condition: None,
                note: String::new(),
                by: "alice".into(),
                made: now,
                when,
                ended: None,
            };
            let told = announced(&[notice], &"lab".parse().unwrap(), now);
            let hour = |at: Timestamp| at.strftime("%H:%M").to_string();
            let told = told.iter().map(|one| format!("{}-{}", hour(one.from), hour(one.until)));
            assert_eq!(told.collect::<Vec<_>>().join(" "), expected, "{name}");
        }
    }
}
