//! Mute: whether people are told of an event, or somebody has asked for quiet.
//!
//! A question about rows that were read once, so that it can be asked within the transaction that stores an event. What is
//! muted is recorded and shown all the same, with who asked for it and until when.
//!
//! Announced work mutes everything about what it is for. A silence is for what bothers, and three things are too grave to be
//! muted by the way: that Jarvis cannot see the cluster, that it has no quorum, and that Jarvis calls people because it cannot
//! help. Those a silence mutes only where it names their condition.

use engine::about::About;
use engine::decide::Known;
use engine::detect::Condition;
use engine::observe::Subject;
use engine::report::Urgency;
use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::SqliteConnection;

use super::new::NewEvent;
use super::notice::{self, Notice, NoticeKind};
use super::outbox;
use super::row::Source;

/// What somebody wants to tell people.
#[derive(Clone, Copy, Debug)]
pub struct Telling<'a> {
    /// Whose it is.
    pub cluster: &'a str,
    /// The condition, where it is about one.
    pub condition: Option<&'a str>,
    /// What it is about.
    pub known: Known<'a>,
    /// Whether it calls people because nothing else helps.
    pub calls_people: bool,
}

/// Why people are not told, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Muted {
    /// What was announced.
    pub notice: Notice,
    /// Until then, as it holds now.
    pub until: Timestamp,
}

/// What holds at one moment.
#[derive(Clone, Debug, Default)]
pub struct Mutes {
    hold: Vec<Muted>,
}

impl Mutes {
    /// Of all notices those that hold.
    pub fn at(notices: Vec<Notice>, now: Timestamp) -> Mutes {
        let hold = notices.into_iter().filter_map(|notice| {
            let until = notice.now_and_next(now).0?.until;
            Some(Muted { notice, until })
        });
        Mutes { hold: hold.collect() }
    }

    /// Within a transaction.
    pub(super) async fn read(conn: &mut SqliteConnection, now: Timestamp) -> Result<Mutes, sqlx::Error> {
        Ok(Mutes::at(notice::open(conn, None, now).await?, now))
    }

    /// Whether any of them goes by a tag or a pool.
    pub fn by_marks(&self) -> bool {
        self.hold.iter().any(|muted| matches!(muted.notice.about, About::Tag(_) | About::Pool(_)))
    }

    /// Whether something that was announced holds, by its id.
    pub(super) fn holds(&self, id: &str) -> bool {
        self.hold.iter().any(|muted| muted.notice.id.to_string() == id)
    }

    /// Why people are not told of something; the one that lasts longest, work before silences.
    pub fn muted(&self, told: &Telling) -> Option<&Muted> {
        self.of(NoticeKind::Maintenance, told).or_else(|| self.of(NoticeKind::Silence, told))
    }

    /// The same by one kind.
    pub fn of(&self, kind: NoticeKind, told: &Telling) -> Option<&Muted> {
        let hold = self.hold.iter().filter(|muted| muted.notice.kind == kind && mutes(&muted.notice, told));
        hold.max_by_key(|muted| muted.until)
    }
}

fn mutes(notice: &Notice, told: &Telling) -> bool {
    if !notice.is_of(told.cluster) || !notice.about.means(&told.known) {
        return false;
    }
    match (notice.kind, &notice.condition) {
        (NoticeKind::Maintenance, _) => true,
        (NoticeKind::Silence, Some(condition)) => told.condition == Some(condition),
        (NoticeKind::Silence, None) => !told.calls_people && !is_grave(told.condition),
    }
}

fn is_grave(condition: Option<&str>) -> bool {
    let grave = [Condition::MonitorBlind, Condition::QuorumLost];
    condition.is_some_and(|word| grave.iter().any(|condition| condition.as_str() == word))
}

/// Events on their way into the store, those that people are not told of marked so in their details. Where what was announced
/// cannot be read, none is: people are rather told.
pub(super) async fn marked(conn: &mut SqliteConnection, events: &[NewEvent]) -> Option<Vec<NewEvent>> {
    let mut read: Option<(Timestamp, Mutes)> = None;
    let mut marked: Option<Vec<NewEvent>> = None;
    for (index, event) in events.iter().enumerate() {
        let (Source::Monitor, Some(cluster), Some(subject)) = (event.source, &event.cluster, &event.subject)
        else {
            continue;
        };
        let Ok(subject) = subject.parse::<Subject>() else { continue };
        if read.as_ref().is_none_or(|(at, _)| *at != event.at) {
            let mutes = Mutes::read(conn, event.at).await.unwrap_or_else(|error| {
                tracing::error!(%error, "what operators announced cannot be read; people are told");
                Mutes::default()
            });
            read = Some((event.at, mutes));
        }
        let Some((_, mutes)) = &read else { continue };
        let node = event.node.as_deref().and_then(|node| node.parse().ok());
        let of = event.of.as_deref();
        let known = Known {
            subject: &subject,
            node: node.as_ref(),
            name: of.and_then(|of| of.name.as_deref()),
            tags: of.map_or(&[], |of| &of.tags),
            pool: of.and_then(|of| of.pool.as_deref()),
        };
        let told = Telling {
            cluster,
            condition: event.condition.as_deref(),
            known,
            calls_people: event.urgency == Urgency::Call,
        };
        // Who was told of something is told that it is over, whatever was announced meanwhile.
        if let Some(muted) = mutes.muted(&told)
            && !(event.resolves && outbox::was_told(conn, event).await.unwrap_or(true))
        {
            let all = marked.get_or_insert_with(|| events.to_vec());
            if let Some(event) = all.get_mut(index) {
                event.details = Some(with(event, muted));
                event.urgency = Urgency::Feed;
            }
        }
    }
    marked
}

/// Details with why people are not told, how they would have been, and by what else operators may mean it (see `unmute`).
fn with(event: &NewEvent, Muted { notice, until }: &Muted) -> String {
    let details = event.details.as_deref().and_then(|details| serde_json::from_str(details).ok());
    let mut details = match details {
        Some(Value::Object(details)) => details,
        Some(_) | None => serde_json::Map::new(),
    };
    let mut muted = json!({
        "kind": notice.kind.as_str(), "id": notice.id.to_string(), "by": notice.by, "until": until, "note": notice.note,
    });
    let urgency = match event.urgency {
        Urgency::Feed => None,
        Urgency::Report(severity) => Some(("report", severity)),
        Urgency::Call => Some(("call", event.severity)),
    };
    if let Some((urgency, severity)) = urgency {
        (muted["urgency"], muted["severity"]) = (urgency.into(), severity.as_str().into());
        if let Some(of) = event.of.as_deref() {
            (muted["name"], muted["pool"]) = (json!(of.name), json!(of.pool));
            muted["tags"] = json!(of.tags);
        }
    }
    details.insert("muted".into(), muted);
    Value::Object(details).to_string()
}

#[cfg(test)]
mod tests {
    use engine::observe::NodeName;
    use engine::window::Span;
    use jiff::SignedDuration;
    use uuid::Uuid;

    use super::super::notice::When;
    use super::*;

    const NOW: Timestamp = Timestamp::constant(1_795_867_200, 0);

    fn notice(kind: NoticeKind, about: &str) -> Notice {
        let hour = SignedDuration::from_hours(1);
        Notice {
            id: Uuid::nil(),
            kind,
            cluster: Some("lab".into()),
            about: about.parse().unwrap(),
            condition: None,
            note: String::new(),
            by: "alice (login)".into(),
            made: NOW,
            when: When::Once(Span { from: NOW - hour, until: NOW + hour }),
            ended: None,
        }
    }

    #[test]
    fn who_is_not_told_what() {
        use NoticeKind::{Maintenance, Silence};
        let silence = |about| notice(Silence, about);
        let of = |about, condition: &str| Notice { condition: Some(condition.into()), ..silence(about) };
        let once = |from, until| {
            let at = |minutes| NOW + SignedDuration::from_mins(minutes);
            Notice { when: When::Once(Span { from: at(from), until: at(until) }), ..silence("qemu/101") }
        };
        let ended = Notice { ended: Some((NOW, "bob".into())), ..silence("qemu/101") };
        // What is told: subject, condition, whether it calls people.
        let crash = ("qemu/101", Some("VM_CRASHED"), false);
        let given_up = ("qemu/101", Some("VM_CRASHED"), true);
        let blind = ("cluster", Some("MONITOR_BLIND"), false);
        let vote = ("cluster", Some("QUORUM_LOST"), false);
        let storm = ("cluster", None, true);
        #[rustfmt::skip]
        let table = [
            ("its subject",                                silence("qemu/101"),              crash,    true),
            ("another subject",                            silence("qemu/102"),              crash,    false),
            ("its node",                                   silence("node/pve1"),             crash,    true),
            ("its tag",                                    silence("tag:web"),               crash,    true),
            ("its pool",                                   silence("pool:shop"),             crash,    true),
            ("its name",                                   silence("name:web01"),            crash,    true),
            ("everything",                                 silence("cluster"),               crash,    true),
            ("its condition",                              of("cluster", "VM_CRASHED"),      crash,    true),
            ("another condition",                          of("cluster", "DISK_HIGH"),       crash,    false),
            ("its condition of another one",               of("qemu/102", "VM_CRASHED"),     crash,    false),
            ("another cluster",                            Notice { cluster: Some("edge".into()), ..silence("cluster") }, crash, false),
            ("all clusters",                               Notice { cluster: None, ..silence("cluster") }, crash,    true),
            ("it is to come",                              once(1, 10),                      crash,    false),
            ("it begins now",                              once(0, 10),                      crash,    true),
            ("it is over now",                             once(-10, 0),                     crash,    false),
            ("somebody ended it",                          ended,                            crash,    false),
            ("one that nobody can read",                   Notice { when: When::Unclear, ..silence("cluster") }, crash, false),
            ("people are called: not by the way",          silence("qemu/101"),              given_up, false),
            ("people are called, and that is meant",       of("qemu/101", "VM_CRASHED"),     given_up, true),
            ("blindness: not by the way",                  silence("cluster"),               blind,    false),
            ("blindness, and that is meant",               of("cluster", "MONITOR_BLIND"),   blind,    true),
            ("no quorum: not by the way",                  silence("cluster"),               vote,     false),
            ("no quorum, and that is meant",               of("cluster", "QUORUM_LOST"),     vote,     true),
            ("a storm: never",                             silence("cluster"),               storm,    false),
            ("work on it",                                 notice(Maintenance, "qemu/101"),  crash,    true),
            ("work on it, people are called",              notice(Maintenance, "node/pve1"), given_up, true),
            ("work on everything, and nothing is seen",    notice(Maintenance, "cluster"),   blind,    true),
            ("work on a node is not on the cluster",       notice(Maintenance, "node/pve1"), blind,    false),
            ("work that nobody can read lasts",            Notice { when: When::Unclear, ..notice(Maintenance, "cluster") }, crash, true),
        ];
        let node: NodeName = "pve1".parse().unwrap();
        let tags: [Box<str>; 1] = ["web".into()];
        for (name, notice, (subject, condition, calls_people), expected) in table {
            let subject: Subject = subject.parse().unwrap();
            let guest = matches!(subject, Subject::Guest(_));
            let known = Known {
                subject: &subject,
                node: guest.then_some(&node),
                name: guest.then_some("web01"),
                tags: if guest { &tags } else { &[] },
                pool: guest.then_some("shop"),
            };
            let told = Telling { cluster: "lab", condition, known, calls_people };
            assert_eq!(Mutes::at(vec![notice], NOW).muted(&told).is_some(), expected, "{name}");
        }
    }

    #[test]
    fn of_several_the_one_that_lasts_longest() {
        let subject: Subject = "qemu/101".parse().unwrap();
        let known = Known { subject: &subject, node: None, name: None, tags: &[], pool: None };
        let told = Telling { cluster: "lab", condition: None, known, calls_people: false };
        let until = |kind, minutes| {
            let until = NOW + SignedDuration::from_mins(minutes);
            Notice { when: When::Once(Span { from: NOW, until }), ..notice(kind, "qemu/101") }
        };
        use NoticeKind::{Maintenance, Silence};
        let mutes = Mutes::at(vec![until(Silence, 5), until(Silence, 90), until(Silence, 7)], NOW);
        assert_eq!(mutes.muted(&told).unwrap().until, NOW + SignedDuration::from_mins(90));
        let mutes = Mutes::at(vec![until(Silence, 90), until(Maintenance, 5)], NOW);
        assert_eq!(mutes.muted(&told).unwrap().notice.kind, Maintenance, "work says more than quiet");
    }
}
