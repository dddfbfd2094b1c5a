//! The runbooks: which condition has which remedy, and within what bounds. A table; the configuration changes its rows
//! and adds others, and those are asked first.

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::Autonomy;
use crate::detect::Condition;
use crate::observe::{NodeName, Subject};

/// Attempts count for a day at the most: no runbook has a longer window.
pub const WINDOW_MAX: SignedDuration = SignedDuration::from_hours(24);

/// What is done about one condition.
#[derive(Clone, Debug, PartialEq)]
pub struct Runbook {
    /// Its name in the configuration, in the journal and in what is told.
    pub id: Box<str>,
    /// What it is for.
    pub condition: Condition,
    /// Whom it is for; empty: everybody.
    pub only: Vec<Only>,
    /// What is done.
    pub remedy: Remedy,
    /// What Jarvis must be allowed to, so that it does this by itself.
    pub level: Autonomy,
    /// Attempts within the window, for one incident key.
    pub attempts: u32,
    /// The window in which attempts count.
    pub window: SignedDuration,
    /// Least time between two attempts.
    pub cooldown: SignedDuration,
    /// How long an incident is left to itself before anything is done: what heals by itself needs nobody (pve-domain 9.5).
    pub grace: SignedDuration,
    /// When it is first looked at after the call ended.
    pub first_look: SignedDuration,
    /// How long it must have been well until it counts as mended.
    pub verify_for: SignedDuration,
    /// When an attempt that has not helped counts as failed.
    pub verify_within: SignedDuration,
}

/// Whom a runbook is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Only {
    /// Guests with this tag.
    Tag(Box<str>),
    /// What is on this node.
    Node(NodeName),
    /// Guests of this pool.
    Pool(Box<str>),
    /// This one.
    Subject(Subject),
    /// What is called this.
    Name(Box<str>),
}

/// What can be the matter of a runbook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Remedy {
    /// Start the guest.
    Start,
    /// Let the virtual machine go on.
    Resume,
    /// Wake the node.
    Wake,
    /// Restart the service.
    RestartService,
    /// Nothing: people are told, and that is all.
    Nothing,
}

impl Remedy {
    /// Every one, as the configuration writes it.
    pub const ALL: [(&'static str, Remedy); 5] = [
        ("start", Remedy::Start),
        ("resume", Remedy::Resume),
        ("wake", Remedy::Wake),
        ("restart-service", Remedy::RestartService),
        ("nothing", Remedy::Nothing),
    ];

    /// Whether it is something that can be done about a condition.
    pub fn fits(self, condition: Condition) -> bool {
        match self {
            Remedy::Start => matches!(condition, Condition::VmCrashed | Condition::CtCrashed),
            Remedy::Resume => condition == Condition::VmFault,
            Remedy::Wake => condition == Condition::NodeUnreachable,
            Remedy::RestartService => condition == Condition::ServiceDown,
            Remedy::Nothing => true,
        }
    }
}

/// What a subject is known by, to find its runbook.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// Which one.
    pub subject: &'a Subject,
    /// Where it is.
    pub node: Option<&'a NodeName>,
    /// What it is called.
    pub name: Option<&'a str>,
    /// A guest's tags.
    pub tags: &'a [Box<str>],
    /// A guest's pool.
    pub pool: Option<&'a str>,
}

impl Only {
    fn holds(&self, known: &Known) -> bool {
        match self {
            // PVE keeps tags in the case in which they were typed, and compares them without it.
            Only::Tag(tag) => known.tags.iter().any(|own| own.eq_ignore_ascii_case(tag)),
            Only::Node(node) => known.node == Some(node),
            Only::Pool(pool) => known.pool == Some(&**pool),
            Only::Subject(subject) => known.subject == subject,
            Only::Name(name) => known.name == Some(&**name),
        }
    }
}

/// The first runbook for a condition of a subject.
pub fn runbook<'a>(runbooks: &'a [Runbook], condition: Condition, known: &Known) -> Option<&'a Runbook> {
    runbooks
        .iter()
        .find(|book| {
            let meant = book.only.is_empty() || book.only.iter().any(|only| only.holds(known));
            book.condition == condition && meant
        })
        .filter(|book| book.remedy != Remedy::Nothing)
}

/// The bounds that hold where nobody says otherwise.
pub fn usual(id: &str, condition: Condition, remedy: Remedy) -> Runbook {
    let seconds = SignedDuration::from_secs;
    Runbook {
        id: id.into(),
        condition,
        only: Vec::new(),
        remedy,
        level: Autonomy::ActReport,
        attempts: 3,
        window: SignedDuration::from_hours(1),
        cooldown: seconds(60),
        grace: seconds(15),
        first_look: seconds(15),
        verify_for: seconds(60),
        verify_within: seconds(180),
    }
}

/// Those that are there without any configuration.
pub fn built_in() -> Vec<Runbook> {
    let seconds = SignedDuration::from_secs;
    let base = usual;
    vec![
        base("vm-crashed-restart", Condition::VmCrashed, Remedy::Start),
        Runbook {
            first_look: seconds(10),
            ..base("ct-crashed-restart", Condition::CtCrashed, Remedy::Start)
        },
        Runbook {
            // A node that restarts by itself is back before it was woken for nothing; a boot takes minutes.
            grace: seconds(60),
            first_look: seconds(30),
            verify_for: SignedDuration::ZERO,
            verify_within: seconds(300),
            cooldown: seconds(120),
            ..base("node-unreachable-wol", Condition::NodeUnreachable, Remedy::Wake)
        },
        Runbook {
            first_look: seconds(5),
            verify_for: seconds(10),
            verify_within: seconds(120),
            ..base("service-down-restart", Condition::ServiceDown, Remedy::RestartService)
        },
        Runbook {
            first_look: seconds(5),
            verify_for: seconds(30),
            verify_within: seconds(120),
            ..base("vm-fault-resume", Condition::VmFault, Remedy::Resume)
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_fits_is_taken() {
        let only = |id: &str, only: Only, remedy| Runbook {
            id: id.into(),
            only: vec![only],
            remedy,
            ..built_in().into_iter().find(|book| book.condition == Condition::VmCrashed).unwrap()
        };
        let mut books = vec![
            only("hands-off", Only::Tag("Critical".into()), Remedy::Nothing),
            only("pool", Only::Pool("prod".into()), Remedy::Start),
            only("node", Only::Node("pve2".parse().unwrap()), Remedy::Start),
            only("one", Only::Subject("qemu/103".parse().unwrap()), Remedy::Start),
            only("name", Only::Name("web".into()), Remedy::Start),
        ];
        books.extend(built_in());
        /// Row, subject, node, name, tags, pool, the runbook.
        type Row<'a> = (&'a str, &'a str, &'a str, &'a str, &'a [&'a str], Option<&'a str>, Option<&'a str>);
        #[rustfmt::skip]
        let table: [Row; 8] = [
            ("nothing special",        "qemu/101", "pve1", "db",  &[],           None,         Some("vm-crashed-restart")),
            ("a tag, in another case", "qemu/101", "pve1", "db",  &["critical"], None,         None),
            ("a pool",                 "qemu/101", "pve1", "db",  &[],           Some("prod"), Some("pool")),
            ("a tag before a pool",    "qemu/101", "pve1", "db",  &["CRITICAL"], Some("prod"), None),
            ("a node",                 "qemu/101", "pve2", "db",  &[],           None,         Some("node")),
            ("one by its id",          "qemu/103", "pve1", "db",  &[],           None,         Some("one")),
            ("one by its name",        "qemu/101", "pve1", "web", &[],           None,         Some("name")),
            ("the name's beginning",   "qemu/101", "pve1", "we",  &[],           None,         Some("vm-crashed-restart")),
        ];
        for (row, subject, node, name, tags, pool, expected) in table {
            let (subject, node) = (subject.parse().unwrap(), node.parse().unwrap());
            let tags: Vec<Box<str>> = tags.iter().map(|tag| (*tag).into()).collect();
            let known = Known { subject: &subject, node: Some(&node), name: Some(name), tags: &tags, pool };
            let found = runbook(&books, Condition::VmCrashed, &known).map(|book| &*book.id);
            assert_eq!(found, expected, "{row}");
        }
    }

    /// What the configuration may ask for, of every condition.
    #[test]
    fn which_remedies_are_for_which_conditions() {
        let fitting = |condition| {
            let all = Remedy::ALL.into_iter().filter(|(_, remedy)| remedy.fits(condition));
            all.map(|(word, _)| word).collect::<Vec<_>>().join(" ")
        };
        let special = [
            (Condition::VmCrashed, "start nothing"),
            (Condition::CtCrashed, "start nothing"),
            (Condition::VmFault, "resume nothing"),
            (Condition::NodeUnreachable, "wake nothing"),
            (Condition::ServiceDown, "restart-service nothing"),
        ];
        for condition in Condition::ALL {
            let expected = special.iter().find(|(of, _)| *of == condition).map_or("nothing", |(_, all)| all);
            assert_eq!(fitting(condition), expected, "{}", condition.as_str());
        }
    }

    #[test]
    fn built_in_ones_are_sound() {
        for book in built_in() {
            assert!(book.remedy.fits(book.condition), "{}", book.id);
            assert!(book.verify_for < book.verify_within, "{}: it could never be verified", book.id);
            assert!(book.attempts > 0 && book.cooldown * 3 < book.window, "{}", book.id);
        }
    }
}
