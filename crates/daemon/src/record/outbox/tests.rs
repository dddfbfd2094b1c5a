//! What is put into the outbox, and what becomes of it, on a store of its own and a clock that is moved by hand.

use std::path::PathBuf;

use engine::act::{Action, Attempt};
use engine::decide::Hold;
use engine::detect::{Condition, Finding, Trace};
use engine::incident::Resolution;
use engine::observe::{ClusterName, GuestKind, GuestStatus};
use engine::record::{Entry, Fact, Step};
use engine::report::EventKind;
use engine::window::Span;
use jiff::SignedDuration;

use super::super::new::Marks;
use super::super::{NewEntry, NewNotice, NoticeKind, Operator, Source, When};
use super::*;

const BEGAN: i64 = 1_795_000_000;
const INCIDENT: &str = "00000000-0000-8000-8000-000000000001";

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(BEGAN + seconds).unwrap()
}

/// A store, whose folder goes with the test.
struct Fixture {
    store: Store,
    folder: PathBuf,
}

impl Drop for Fixture {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.folder).unwrap_or_default();
    }
}

fn channel(name: &str, least: Severity) -> NewChannel {
    let kind = if name.starts_with("mail") { ChannelKind::Mail } else { ChannelKind::Webhook };
    NewChannel { name: name.into(), kind, least }
}

fn mail() -> NewChannel {
    channel("mail:a@x", Severity::Error)
}

fn hook() -> NewChannel {
    channel("webhook:b", Severity::Error)
}

impl Fixture {
    async fn with(channels: Vec<NewChannel>) -> Fixture {
        let folder = std::env::temp_dir().join(format!("jarvis-outbox-{}", Uuid::new_v4()));
        let store = Store::open(&folder.join("jarvis.db")).await.unwrap();
        store.use_channels(channels, at(0)).await.unwrap();
        Fixture { store, folder }
    }

    async fn tell(&self, entries: &[Entry]) {
        self.tell_of(entries, &[]).await;
    }

    /// The same of a guest with these tags, each at its own time.
    async fn tell_of(&self, entries: &[Entry], tags: &[&str]) {
        let lab: ClusterName = "lab".parse().unwrap();
        let events = entries.iter().filter(|entry| engine::report::is_told(&entry.fact));
        let of = || {
            let tags = tags.iter().map(|tag| (*tag).into()).collect();
            Some(Box::new(Marks { name: None, tags, pool: None }))
        };
        let new =
            |entry| NewEvent { of: of(), ..NewEvent::from_engine(&lab, &engine::report::event(&lab, entry)) };
        let events = events.map(new).collect();
        let entries = entries.iter().map(|entry| NewEntry::from_engine(&lab, true, entry)).collect();
        self.store.save_turn(entries, events, None).await.unwrap();
    }

    async fn waits(&self, channel: &NewChannel) -> Vec<Waiting> {
        self.store.outbox(&channel.name).await.unwrap().unwrap().1
    }

    /// `call Title` or `report Title`, in the order in which they are sent.
    async fn shown(&self, channel: &NewChannel) -> Vec<String> {
        let mut shown = Vec::new();
        for waits in self.waits(channel).await {
            let contents = contents(&self.store.shared.readers, &[waits.id]).await.unwrap();
            shown.push(format!("{} {}", if waits.call { "call" } else { "report" }, contents[0].title));
        }
        shown
    }

    async fn row(&self, channel: &NewChannel) -> ChannelRow {
        let all = self.store.channels().await.unwrap();
        all.into_iter().find(|row| row.name == channel.name).unwrap()
    }

    /// How many events that were given up the message counts.
    async fn begin(&self, ids: &[i64], message: u128) -> u64 {
        let contents = self.store.begin_message(ids, Uuid::from_u128(message)).await.unwrap();
        assert_eq!(contents.len(), ids.len());
        contents.iter().map(|content| content.given_up).sum()
    }

    async fn end(&self, channel: &NewChannel, ids: &[i64], tried: Tried, when: i64) {
        self.store.end_message(channel, ids, true, tried, at(when)).await.unwrap();
    }

    async fn titles(&self) -> Vec<String> {
        let mut rows = self.store.get_recent_events(100).await.unwrap();
        rows.reverse();
        rows.iter().map(|row| format!("{}{}", row.title, if row.resolved { " (over)" } else { "" })).collect()
    }

    async fn emails_sent(&self) -> Vec<bool> {
        let rows = self.store.get_autonomy_actions(10).await.unwrap();
        rows.iter().map(|row| row.email_sent).collect()
    }
}

fn entry(seconds: i64, fact: Fact) -> Entry {
    let subject = "qemu/101".parse().map(engine::observe::Subject::Guest).unwrap();
    let (name, node) = (Some("web01".into()), Some("pve1".parse().unwrap()));
    Entry { at: at(seconds), subject, name, node, fact }
}

fn crash() -> Finding {
    Finding::GuestCrashed { kind: GuestKind::Qemu, previous: GuestStatus::Running, trace: Trace::Hidden }
}

fn opened(seconds: i64) -> Entry {
    entry(seconds, Fact::Opened { incident: INCIDENT.parse().unwrap(), finding: crash(), group: None })
}

fn resolved(seconds: i64) -> Entry {
    let lasted = SignedDuration::from_secs(seconds);
    let (incident, by) = (INCIDENT.parse().unwrap(), Resolution::Itself);
    entry(seconds, Fact::Resolved { incident, finding: crash(), lasted, by })
}

fn step(seconds: i64, step: Step) -> Entry {
    let condition = Condition::VmCrashed;
    entry(seconds, Fact::Remedy { incident: INCIDENT.parse().unwrap(), condition, step })
}

fn action() -> Action {
    Action::StartGuest { guest: "qemu/101".parse().unwrap(), node: "pve1".parse().unwrap() }
}

fn escalated(seconds: i64) -> Entry {
    let (words, runbook) = ("it did not help".into(), "vm-crashed-restart".into());
    step(seconds, Step::Escalated { words, action: action(), runbook, level: 3, attempts: 1 })
}

fn turned(seconds: i64) -> Entry {
    let (incident, from) = (INCIDENT.parse().unwrap(), Condition::VmCrashed);
    entry(seconds, Fact::Turned { incident, from, finding: crash() })
}

fn held(seconds: i64) -> Entry {
    let holds = vec![Hold::Maintenance(at(3600))];
    step(seconds, Step::Held { action: action(), holds, runbook: "vm-crashed-restart".into(), level: 3 })
}

fn recommended(seconds: i64) -> Entry {
    step(seconds, Step::Recommended { action: action(), runbook: "vm-crashed-restart".into() })
}

fn missed(seconds: i64) -> Entry {
    let runbook = "vm-crashed-restart".into();
    let attempt = Attempt { number: 1, action: action(), runbook, at: at(seconds), level: 3 };
    step(seconds, Step::Verified { attempt, helped: false, words: "it is stopped".into(), upid: None })
}

fn plain(seconds: i64, severity: Severity, title: &str) -> NewEvent {
    NewEvent::plain(at(seconds), EventKind::Alert, severity, Source::System, title, "m")
}

fn failed(next_try: i64) -> Tried {
    Tried::Failed { error: "not reached".into(), next_try: at(next_try) }
}

fn ids(waits: &[Waiting]) -> Vec<i64> {
    waits.iter().map(|waits| waits.id).collect()
}

#[tokio::test]
async fn each_channel_gets_what_it_asked_for() {
    let all = channel("webhook:all", Severity::Info);
    let fixture = Fixture::with(vec![mail(), all.clone()]).await;
    fixture.tell(&[opened(0), missed(20)]).await;
    fixture.store.save_event(plain(21, Severity::Warning, "a warning")).await.unwrap();
    let about =
        NewEvent { not_over: Some(all.name.clone()), ..plain(22, Severity::Error, "about one of them") };
    fixture.store.save_event(about).await.unwrap();
    fixture.tell(&[escalated(30)]).await;
    let crashed = "report VM web01 (101) crashed";
    let missed = "report Remediation failed: VM_CRASHED on pve1";
    let call = "call Remediation escalated: VM_CRASHED on pve1";
    assert_eq!(fixture.shown(&mail()).await, [call, crashed, missed, "report about one of them"]);
    assert_eq!(fixture.shown(&all).await, [call, crashed, missed, "report a warning"]);
}

#[tokio::test]
async fn without_a_channel_nothing_is_put_in() {
    let fixture = Fixture::with(Vec::new()).await;
    fixture.tell(&[opened(0), escalated(1)]).await;
    fixture.store.use_channels(vec![mail()], at(2)).await.unwrap();
    assert_eq!(fixture.shown(&mail()).await, [""; 0]);
}

#[tokio::test]
async fn a_call_has_the_story_until_then_and_its_end_is_called_too() {
    let fixture = Fixture::with(vec![mail(), hook()]).await;
    fixture.tell(&[opened(0)]).await;
    fixture.tell(&[missed(20), escalated(20)]).await;
    let calls: Vec<Waiting> = fixture.waits(&mail()).await.into_iter().filter(|waits| waits.call).collect();
    let message = Uuid::from_u128(7);
    let [content] = &fixture.store.begin_message(&ids(&calls), message).await.unwrap()[..] else {
        panic!("not one call");
    };
    let story: Vec<String> =
        content.story.iter().map(|line| format!("{} {}", line.kind, line.words)).collect();
    assert_eq!(story[1..], ["missed it is stopped", "escalated it did not help"]);
    assert!(story[0].starts_with("opened running to stopped, and no task asked for it"), "{story:?}");
    // A second try is the same message.
    fixture.store.begin_message(&ids(&calls), Uuid::from_u128(8)).await.unwrap();
    assert_eq!(fixture.waits(&mail()).await[0].message, Some(message));

    let hooked: Vec<Waiting> = fixture.waits(&hook()).await.into_iter().filter(|waits| waits.call).collect();
    fixture.end(&hook(), &ids(&hooked), Tried::Accepted, 21).await;
    assert_eq!(fixture.emails_sent().await, [false, false], "a webhook is no mail");
    fixture.end(&mail(), &ids(&calls), failed(30), 21).await;
    assert_eq!(fixture.emails_sent().await, [false, false], "it was not accepted");
    fixture.end(&mail(), &ids(&calls), Tried::Accepted, 30).await;
    assert_eq!(
        fixture.emails_sent().await,
        [true, false],
        "newest first: that people were called, and what failed"
    );

    fixture.tell(&[resolved(60)]).await;
    let [end, ..] = &fixture.shown(&mail()).await[..] else { panic!("nothing waits") };
    assert_eq!(end, "call Resolved: VM_CRASHED on pve1");
}

#[tokio::test]
async fn an_end_of_what_nobody_was_called_for_waits_for_the_report() {
    let fixture = Fixture::with(vec![mail()]).await;
    fixture.tell(&[opened(0), resolved(60)]).await;
    let expected = ["report VM web01 (101) crashed", "report Resolved: VM_CRASHED on pve1"];
    assert_eq!(fixture.shown(&mail()).await, expected);
}

#[tokio::test]
async fn a_channel_that_fails_for_long_is_told_once_over_the_others() {
    let fixture = Fixture::with(vec![mail(), hook()]).await;
    fixture.tell(&[opened(0)]).await;
    let waits = ids(&fixture.waits(&mail()).await);
    for minute in [1, 10, 16, 30] {
        fixture.end(&mail(), &waits, failed(minute * 60 + 10), minute * 60).await;
    }
    let row = fixture.row(&mail()).await;
    assert_eq!((row.failures, row.failing_since, row.waiting), (4, Some(at(60)), 1));
    assert_eq!(row.next_try, Some(at(1810)));
    let crashed = "report VM web01 (101) crashed".to_owned();
    assert_eq!(fixture.shown(&mail()).await, std::slice::from_ref(&crashed), "not over itself");
    assert_eq!(fixture.shown(&hook()).await, [crashed, "report A mail channel fails".into()]);
    assert_eq!(fixture.titles().await[1..], ["A mail channel fails"], "once");

    fixture.end(&mail(), &waits, Tried::Accepted, 2000).await;
    assert_eq!(
        fixture.titles().await[1..],
        ["A mail channel fails (over)", "A mail channel works again (over)"]
    );
    let row = fixture.row(&mail()).await;
    assert_eq!((row.failures, row.failing_since, row.waiting, row.delivered), (0, None, 0, 1));
    assert_eq!((row.reported, row.last_error.as_deref()), (Some(at(2000)), Some("not reached")));
}

#[tokio::test]
async fn what_is_refused_is_given_up_counted_and_told() {
    let fixture = Fixture::with(vec![mail()]).await;
    fixture.tell(&[opened(0), missed(1)]).await;
    let waits = ids(&fixture.waits(&mail()).await);
    fixture.end(&mail(), &waits, Tried::Refused { error: "550 nobody".into(), next_try: None }, 5).await;
    let row = fixture.row(&mail()).await;
    assert_eq!((row.waiting, row.refused, row.untold, row.failures, row.next_try), (0, 2, 2, 0, None));
    assert_eq!(row.failing_since, None, "a message was, not the channel");
    assert_eq!(row.last_error.as_deref(), Some("550 nobody"));
    assert_eq!(fixture.titles().await.last().unwrap(), "A mail channel refuses something", "at once");
    fixture.tell(&[resolved(6)]).await;
    let waits = ids(&fixture.waits(&mail()).await);
    assert_eq!(fixture.begin(&waits, 7).await, 2);
    fixture.end(&mail(), &waits, Tried::Accepted, 7).await;
    let row = fixture.row(&mail()).await;
    assert_eq!((row.refused, row.untold), (2, 0), "it was said in the message that was accepted");
}

#[tokio::test]
async fn a_call_that_is_refused_waits_and_that_is_told() {
    let fixture = Fixture::with(vec![mail(), hook()]).await;
    fixture.tell(&[escalated(0)]).await;
    let call = ids(&fixture.waits(&mail()).await);
    let refused = Tried::Refused { error: "550 nobody".into(), next_try: Some(at(15)) };
    fixture.end(&mail(), &call, refused, 5).await;
    let row = fixture.row(&mail()).await;
    assert_eq!((row.waiting, row.refused, row.untold, row.failures), (1, 0, 0, 1));
    assert_eq!((row.next_try, row.failing_since), (Some(at(15)), Some(at(5))));
    let last = fixture.store.get_recent_events(1).await.unwrap();
    assert_eq!(last[0].title, "A mail channel refuses something");
    assert!(last[0].message.contains("tried again"), "{}", last[0].message);
}

#[tokio::test]
async fn reports_wait_two_days_and_calls_five() {
    const DAY: i64 = 86_400;
    let fixture = Fixture::with(vec![mail()]).await;
    fixture.tell(&[opened(0), escalated(0)]).await;
    let call = [fixture.waits(&mail()).await[0].id];
    for (when, waits, expired) in [(2 * DAY, 2, 0), (2 * DAY + 1, 1, 1), (5 * DAY, 1, 1), (5 * DAY + 1, 0, 2)]
    {
        fixture.end(&mail(), &call, failed(when + 10), when).await;
        let row = fixture.row(&mail()).await;
        assert_eq!((row.waiting, row.expired, row.untold), (waits, expired, expired), "after {when} s");
    }
}

#[tokio::test]
async fn when_too_much_waits_the_oldest_reports_go_and_calls_last() {
    let fixture = Fixture::with(vec![mail()]).await;
    fixture.tell(&[opened(0), escalated(0)]).await;
    let most = usize::try_from(WAITING_MAX).unwrap();
    let many = (0..most).map(|n| plain(1, Severity::Error, &n.to_string())).collect();
    fixture.store.save_events(many, None).await.unwrap();
    let row = fixture.row(&mail()).await;
    assert_eq!((row.waiting, row.dropped, row.untold), (WAITING_MAX.unsigned_abs(), 2, 2));
    let shown = fixture.shown(&mail()).await;
    assert_eq!(shown[..2], ["call Remediation escalated: VM_CRASHED on pve1", "report 1"]);
}

/// Whoever has it twice can tell by its identity: whatever is given up meanwhile, its body stays.
#[tokio::test]
async fn a_message_that_was_begun_says_the_same_at_each_try() {
    const DAY: i64 = 86_400;
    let fixture = Fixture::with(vec![mail()]).await;
    let save =
        |seconds, title: &'static str| fixture.store.save_event(plain(seconds, Severity::Error, title));
    save(0, "refused").await.unwrap();
    fixture.end(&mail(), &[1], Tried::Refused { error: "554 no".into(), next_try: None }, 1).await;
    save(2, "old").await.unwrap();
    save(DAY, "young").await.unwrap();
    assert_eq!(fixture.begin(&[2, 3], 7).await, 1);
    fixture.tell(&[escalated(DAY)]).await;
    assert_eq!(fixture.begin(&[4], 8).await, 0, "the other one says it");
    save(3, "old as well").await.unwrap();
    fixture.end(&mail(), &[2, 3], failed(0), 2 * DAY + 100).await;
    let row = fixture.row(&mail()).await;
    assert_eq!((row.waiting, row.expired, row.untold), (3, 1, 2), "only what was not begun");
    assert_eq!(fixture.begin(&[2, 3], 9).await, 1, "as it was");
    let many = (0..WAITING_MAX).map(|n| plain(2 * DAY, Severity::Error, &n.to_string())).collect();
    fixture.store.save_events(many, None).await.unwrap();
    let row = fixture.row(&mail()).await;
    assert_eq!((row.waiting, row.dropped, row.untold), (WAITING_MAX.unsigned_abs(), 3, 5));
    assert_eq!(fixture.begin(&[2, 3], 9).await, 1, "nothing of it was dropped");
    fixture.end(&mail(), &[2, 3], Tried::Accepted, 2 * DAY + 200).await;
    assert_eq!(fixture.row(&mail()).await.untold, 4, "what it did not say is left to the next one");
    assert_eq!(fixture.begin(&[9], 10).await, 4);
    fixture.end(&mail(), &[9], Tried::Accepted, 2 * DAY + 300).await;
    assert_eq!(fixture.row(&mail()).await.untold, 0);
}

#[tokio::test]
async fn a_message_that_was_begun_is_given_up_as_one() {
    const DAY: i64 = 86_400;
    let fixture = Fixture::with(vec![mail()]).await;
    for (seconds, title) in [(0, "old"), (DAY, "young")] {
        fixture.store.save_event(plain(seconds, Severity::Error, title)).await.unwrap();
    }
    fixture.begin(&[1, 2], 7).await;
    for (when, waits, expired) in [(2 * DAY + 1, 2, 0), (3 * DAY, 2, 0), (3 * DAY + 1, 0, 2)] {
        fixture.end(&mail(), &[1, 2], failed(when + 10), when).await;
        let row = fixture.row(&mail()).await;
        assert_eq!((row.waiting, row.expired, row.untold), (waits, expired, expired), "after {when} s");
    }
}

#[tokio::test]
async fn what_waits_for_a_channel_that_is_gone_is_given_up() {
    let fixture = Fixture::with(vec![mail(), hook()]).await;
    fixture.tell(&[opened(0)]).await;
    let waits = ids(&fixture.waits(&mail()).await);
    fixture.end(&mail(), &waits, failed(10), 0).await;
    fixture.end(&mail(), &waits, failed(2000), 1000).await;
    fixture.store.use_channels(vec![hook()], at(1001)).await.unwrap();
    assert!(fixture.store.outbox(&mail().name).await.unwrap().is_none());
    let told = fixture.titles().await;
    let gone = "A mail channel is not configured any more (over)";
    assert_eq!(told[1..], ["A mail channel fails (over)", gone]);
    let message = fixture.store.get_recent_events(1).await.unwrap()[0].message.clone();
    assert!(message.starts_with("what still waited for it is given up: 1 of"), "{message}");
    // What is configured again begins with what happens from then on.
    fixture.store.use_channels(vec![mail(), hook()], at(1002)).await.unwrap();
    assert_eq!(fixture.shown(&mail()).await, [""; 0]);
    assert_eq!(fixture.shown(&hook()).await.len(), 3);
    let row = fixture.row(&mail()).await;
    assert_eq!((row.dropped, row.untold), (1, 1), "and says what it missed");
}

/// Events without a cluster are everybody's, also of those who see one cluster.
#[tokio::test]
async fn no_event_about_a_channel_says_to_whom_or_what_a_server_said() {
    let fixture = Fixture::with(vec![mail(), hook()]).await;
    fixture.store.save_event(plain(0, Severity::Error, "one")).await.unwrap();
    let refused = || Tried::Refused { error: "SERVER WORDS".into(), next_try: None };
    let failed = |when| Tried::Failed { error: "SERVER WORDS".into(), next_try: at(when) };
    fixture.end(&mail(), &[1], refused(), 1).await;
    fixture.end(&hook(), &[2], failed(10), 1).await;
    fixture.end(&hook(), &[2], failed(2000), 1000).await;
    fixture.end(&mail(), &[1], refused(), 1001).await;
    fixture.end(&mail(), &[1], failed(1200), 1100).await;
    fixture.end(&mail(), &[1], failed(3000), 2100).await;
    fixture.end(&mail(), &[1], refused(), 2101).await;
    fixture.end(&mail(), &[1], Tried::Accepted, 2200).await;
    fixture.store.use_channels(vec![mail()], at(2300)).await.unwrap();
    let expected = [
        "A mail channel refuses something (over)",
        "A webhook fails (over)",
        "A mail channel fails (over)",
        "A mail channel works again (over)",
        "A webhook is not configured any more (over)",
    ];
    assert_eq!(fixture.titles().await[1..], expected);
    for row in fixture.store.get_recent_events(100).await.unwrap() {
        let said = format!("{row:?}");
        let secrets = ["SERVER", "a@x", "webhook:b", "mail:"];
        assert!(secrets.iter().all(|secret| !said.contains(secret)), "{said}");
    }
}

#[tokio::test]
async fn what_waits_is_not_pruned() {
    let fixture = Fixture::with(vec![mail(), hook()]).await;
    fixture.tell(&[opened(0)]).await;
    let waits = ids(&fixture.waits(&mail()).await);
    fixture.end(&mail(), &waits, Tried::Accepted, 5).await;
    let week = 7 * 86_400;
    assert_eq!(fixture.store.cleanup_old_messages(7, at(week)).await.unwrap(), 0);
    assert_eq!(fixture.store.cleanup_old_messages(7, at(week + 1)).await.unwrap(), 1);
    assert_eq!(fixture.shown(&hook()).await.len(), 1);
}

/// A full disk, or a foreign hand: the daemon starts all the same, and says who is told once it can.
#[tokio::test]
async fn who_is_told_is_said_as_soon_as_the_store_takes_it() {
    let fixture = Fixture::with(vec![mail()]).await;
    let refuse = "CREATE TRIGGER no BEFORE UPDATE ON outbox_channels BEGIN SELECT RAISE(FAIL, 'no'); END";
    let file = sqlx::sqlite::SqliteConnectOptions::new().filename(fixture.folder.join("jarvis.db"));
    let mut hand = sqlx::ConnectOptions::connect(&file).await.unwrap();
    sqlx::query(refuse).execute(&mut hand).await.unwrap();
    fixture.store.use_channels(vec![hook()], at(1)).await.unwrap_err();
    assert_eq!(fixture.row(&mail()).await.name, "mail:a@x", "as it was");
    let names = |rows: Vec<ChannelRow>| rows.into_iter().map(|row| row.name).collect::<Vec<_>>();
    let (sender, stop) = crate::supervise::stop();
    let clock = Arc::new(crate::clock::Clock::wall());
    let later = crate::tell::use_later(fixture.store.clone(), vec![hook()], clock, stop);
    // Nobody waits for its pauses.
    tokio::time::pause();
    let mend = async {
        tokio::time::sleep(std::time::Duration::from_secs(7)).await;
        sqlx::query("DROP TRIGGER no").execute(&mut hand).await.unwrap();
    };
    tokio::join!(later, mend);
    tokio::time::resume();
    drop(sender);
    assert_eq!(names(fixture.store.channels().await.unwrap()), ["webhook:b"]);
}

/// What somebody asked for quiet about is recorded and shown, and reaches no channel; a call does, unless work is announced.
#[tokio::test]
async fn what_is_muted_reaches_no_channel() {
    type Announced = Option<(NoticeKind, &'static str, Option<&'static str>)>;
    #[rustfmt::skip]
    let table: [(&str, Announced, &[&str]); 6] = [
        ("nothing is announced",             None, &["call", "report"]),
        ("its node is worked on",            Some((NoticeKind::Maintenance, "node/pve1", None)), &[]),
        ("another node is",                  Some((NoticeKind::Maintenance, "node/pve2", None)), &["call", "report"]),
        ("it is silenced",                   Some((NoticeKind::Silence, "qemu/101", None)), &["call"]),
        ("and its crashes by name",          Some((NoticeKind::Silence, "qemu/101", Some("VM_CRASHED"))), &[]),
        ("another condition of it is",       Some((NoticeKind::Silence, "qemu/101", Some("VM_FAULT"))), &["call", "report"]),
    ];
    for (row, announced, expected) in table {
        let fixture = Fixture::with(vec![mail()]).await;
        if let Some((kind, about, condition)) = announced {
            let when = When::Once(Span { from: at(-60), until: at(3600) });
            let (about, condition) = (about.parse().unwrap(), condition.map(str::to_owned));
            let new = NewNotice { kind, cluster: None, about, condition, note: String::new(), when };
            let by = Operator { name: "alice".into(), via: "login".into() };
            fixture.store.set_notice(new, &by, at(-60)).await.unwrap().unwrap();
        }
        fixture.tell(&[opened(0), escalated(60)]).await;
        let waits = fixture.waits(&mail()).await;
        let of_it = waits.iter().filter(|waits| waits.made >= at(0));
        let kinds: Vec<_> = of_it.map(|waits| if waits.call { "call" } else { "report" }).collect();
        assert_eq!(kinds, expected, "{row}");
        let shown = fixture.titles().await;
        assert!(shown.iter().any(|title| title == "VM web01 (101) crashed"), "{row}: {shown:?}");
    }
}

/// What is still so when the quiet is over is told, once; what mended itself meanwhile is not.
#[tokio::test]
async fn what_is_still_so_after_the_quiet_is_told_once() {
    let node = |from, until| (NoticeKind::Maintenance, "node/pve1", from, until);
    let silence = |from, until| (NoticeKind::Silence, "qemu/101", from, until);
    type Given = (NoticeKind, &'static str, i64, i64);
    type Row = (&'static str, Vec<Given>, Option<usize>, Vec<Entry>, i64, Vec<&'static str>);
    let still = || vec!["report Not over after maintenance: VM web01 (101) crashed"];
    let proposed = "report Not over after silence: Remediation recommended: vm-crashed-restart";
    #[rustfmt::skip]
    let table: Vec<Row> = vec![
        ("nothing was announced",        vec![],                          None,    vec![opened(0)],               4000, vec!["report VM web01 (101) crashed"]),
        ("work lasts",                   vec![node(-60, 3600)],           None,    vec![opened(0)],               3599, vec![]),
        ("work is over",                 vec![node(-60, 3600)],           None,    vec![opened(0)],               3600, still()),
        ("work was ended before",        vec![node(-60, 3600)],           Some(0), vec![opened(0)],               1800, still()),
        ("it is over itself",            vec![node(-60, 3600)],           None,    vec![opened(0), resolved(90)], 3600, vec![]),
        ("another work goes on",         vec![node(-60, 60), node(-60, 3600)], None, vec![opened(0)],             1800, vec![]),
        ("and is over, too",             vec![node(-60, 60), node(-60, 3600)], None, vec![opened(0)],             3600, still()),
        ("a silence goes on after work", vec![node(-60, 60), silence(-60, 3600)], None, vec![opened(0)],          1800, vec![]),
        ("people would have been called", vec![node(-60, 3600)],          None,    vec![opened(0), escalated(60)], 3600, vec!["call Not over after maintenance: Remediation escalated: VM_CRASHED on pve1"]),
        ("people were called in spite",  vec![silence(-60, 3600)],        None,    vec![opened(0), escalated(60)], 3600, vec!["call Remediation escalated: VM_CRASHED on pve1"]),
        ("what held it then",            vec![node(-60, 3600)],           None,    vec![opened(0), held(1)],      3600, still()),
        ("what was proposed in work",    vec![node(-60, 3600)],           None,    vec![opened(0), recommended(60)], 3600, still()),
        ("what is proposed since, in a silence", vec![silence(10, 3600)], None,    vec![opened(0), recommended(60)], 3600, vec!["report VM web01 (101) crashed", proposed]),
        ("what was proposed, and done in vain", vec![silence(10, 3600)],  None,    vec![opened(0), recommended(60), missed(90)], 3600, vec!["report VM web01 (101) crashed", "report Not over after silence: Remediation failed: VM_CRASHED on pve1"]),
        ("it was another crash, then",   vec![node(-60, 3600)],           None,    vec![opened(0), turned(60)],   3600, still()),
        ("work by a tag goes on",        vec![node(-60, 60), (NoticeKind::Maintenance, "tag:web", -60, 3600)], None, vec![opened(0)], 1800, vec![]),
        ("by a name",                    vec![node(-60, 60), (NoticeKind::Maintenance, "name:web01", -60, 3600)], None, vec![opened(0)], 1800, vec![]),
        ("by another tag",               vec![node(-60, 60), (NoticeKind::Maintenance, "tag:db", -60, 3600)], None, vec![opened(0)], 1800, still()),
    ];
    for (row, announced, ended, told, when, expected) in table {
        let fixture = Fixture::with(vec![mail()]).await;
        let by = Operator { name: "alice".into(), via: "login".into() };
        let mut ids = Vec::new();
        for (kind, about, from, until) in announced {
            let when = When::Once(Span { from: at(from), until: at(until) });
            let (about, note) = (about.parse().unwrap(), String::new());
            let new = NewNotice { kind, cluster: None, about, condition: None, note, when };
            ids.push(fixture.store.set_notice(new, &by, at(-60)).await.unwrap().unwrap());
        }
        fixture.tell_of(&told, &["web"]).await;
        if let Some(which) = ended {
            fixture.store.end_notice(ids[which].id, &by, at(1000)).await.unwrap().unwrap();
        }
        for _ in 0..3 {
            fixture.store.tell_unmuted(at(when)).await.unwrap();
        }
        let shown = fixture.shown(&mail()).await;
        let of_it: Vec<_> = shown
            .iter()
            .filter(|shown| [" VM web01", "Remediation"].iter().any(|of| shown.contains(of)))
            .collect();
        assert_eq!(of_it, expected, "{row}");
    }
}

/// Who was called hears that it is over, also when somebody asked for quiet meanwhile.
#[tokio::test]
async fn the_end_of_what_was_told_is_told_whatever_was_announced_since() {
    let fixture = Fixture::with(vec![mail()]).await;
    fixture.tell(&[opened(0), escalated(60)]).await;
    for (kind, about) in [(NoticeKind::Maintenance, "node/pve1"), (NoticeKind::Silence, "qemu/101")] {
        let when = When::Once(Span { from: at(70), until: at(3600) });
        let new = NewNotice {
            kind,
            cluster: None,
            about: about.parse().unwrap(),
            condition: None,
            note: String::new(),
            when,
        };
        let by = Operator { name: "alice".into(), via: "login".into() };
        fixture.store.set_notice(new, &by, at(70)).await.unwrap().unwrap();
    }
    fixture.tell(&[missed(80), resolved(90)]).await;
    let shown = fixture.shown(&mail()).await;
    let ours: Vec<_> =
        shown.iter().filter(|shown| !shown.contains("Silence") && !shown.contains("Maint")).collect();
    let expected = [
        "call Remediation escalated: VM_CRASHED on pve1",
        "call Resolved: VM_CRASHED on pve1",
        "report VM web01 (101) crashed",
    ];
    assert_eq!(ours, expected);
}
