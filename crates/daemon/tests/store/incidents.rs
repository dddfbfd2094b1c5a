//! The incidents as rows: what the journal says of each, also of those from before there was the table.

use daemon::record::{IncidentFilter, IncidentRow, NewEntry, NewEvent, Store, Window};
use engine::detect::{Finding, Trace};
use engine::incident::{IncidentId, Resolution};
use engine::observe::{GuestKind, GuestStatus};
use engine::record::{Entry, Fact};
use jiff::{SignedDuration, Timestamp};

use super::help::{Folder, at, checkpoint, lab, run};

const BEGAN: &str = "2026-11-23T18:58:01.250Z";

fn crash(kind: GuestKind) -> Finding {
    Finding::GuestCrashed { kind, previous: GuestStatus::Running, trace: Trace::Hidden }
}

fn entry(after: i64, incident: u128, fact: impl FnOnce(IncidentId) -> Fact) -> Entry {
    Entry {
        at: at(BEGAN) + SignedDuration::from_secs(after),
        subject: "qemu/101".parse().unwrap(),
        name: Some("web01".into()),
        node: Some("pve1".parse().unwrap()),
        fact: fact(serde_json::from_str(&incident.to_string()).unwrap()),
    }
}

fn opened(after: i64, incident: u128) -> Entry {
    entry(after, incident, |incident| Fact::Opened { incident, finding: crash(GuestKind::Qemu), group: None })
}

fn turned(after: i64, incident: u128) -> Entry {
    entry(after, incident, |incident| {
        let from = crash(GuestKind::Qemu).condition();
        Fact::Turned { incident, from, finding: crash(GuestKind::Lxc) }
    })
}

fn resolved(after: i64, incident: u128) -> Entry {
    entry(after, incident, |incident| {
        let lasted = SignedDuration::from_secs(60);
        Fact::Resolved { incident, finding: crash(GuestKind::Lxc), lasted, by: Resolution::Removed }
    })
}

async fn tell(store: &Store, entries: &[Entry]) {
    let events =
        entries.iter().map(|entry| NewEvent::from_engine(&lab(), &engine::report::event(&lab(), entry)));
    let (events, entries) =
        (events.collect(), entries.iter().map(|entry| NewEntry::from_engine(&lab(), true, entry)).collect());
    store.save_turn(entries, events, None).await.unwrap();
}

async fn all(store: &Store) -> Vec<IncidentRow> {
    let window = Window { limit: 100, ..Window::default() };
    store.list_incidents(window, IncidentFilter::default()).await.unwrap().rows
}

/// `7 VM_CRASHED +0 turned +30 removed +60 journal 1,2,3`, with seconds after [`BEGAN`].
async fn shown(store: &Store) -> Vec<String> {
    let mut shown = Vec::new();
    for row in all(store).await {
        let entries = store.incident_entries(&row, 100).await.unwrap().rows;
        let seqs: Vec<String> = entries.iter().map(|entry| entry.seq.to_string()).collect();
        let after = |time: Timestamp| format!("+{}", time.duration_since(at(BEGAN)).as_secs());
        shown.push(format!(
            "{} {} {} turned {} {} {} journal {}",
            row.id.trim_start_matches(['0', '-']),
            row.condition,
            after(row.opened),
            row.turned.map_or("-".into(), after),
            row.resolution.map_or("-", |how| how.as_str()),
            row.resolved.map_or("-".into(), after),
            seqs.join(",")
        ));
    }
    shown
}

const ALL: [&str; 3] = [
    "9 CT_CRASHED +40 turned +40 removed +40 journal 5,6,7",
    "8 VM_CRASHED +10 turned - anew +90 journal 2,8",
    "7 CT_CRASHED +0 turned +30 removed +60 journal 1,3,4",
];

async fn all_of_it(store: &Store) {
    tell(store, &[opened(0, 7)]).await;
    tell(store, &[opened(10, 8)]).await;
    tell(store, &[turned(30, 7)]).await;
    tell(store, &[resolved(60, 7)]).await;
    // Everything in one turn.
    tell(store, &[opened(40, 9), turned(40, 9), resolved(40, 9)]).await;
    let checkpoint =
        daemon::record::Checkpoint { at: at(BEGAN) + SignedDuration::from_secs(90), ..checkpoint("{}") };
    store.start_anew("its state cannot be read", checkpoint).await.unwrap();
}

#[tokio::test]
async fn an_incident_is_what_the_journal_says_of_it() {
    let folder = Folder::new();
    let store = Store::open(&folder.path("jarvis.db")).await.unwrap();
    all_of_it(&store).await;
    assert_eq!(shown(&store).await, ALL);
    assert_eq!(store.open_incidents().await.unwrap(), []);
    let row = &all(&store).await[2];
    let titles: Vec<String> =
        store.incident_events(row, 100).await.unwrap().rows.into_iter().map(|event| event.title).collect();
    assert_eq!(titles, ["VM web01 (101) crashed", "VM web01 (101) crashed", "Resolved: CT_CRASHED on pve1"]);
    assert!(row.details.as_deref().unwrap().contains("web01"), "{row:?}");
    assert!(store.close().await);
}

#[tokio::test]
async fn a_file_from_before_the_table_has_its_incidents_all_the_same() {
    for (name, lost, expected) in [
        ("the journal has all of them", "", ALL.map(str::to_owned).to_vec()),
        (
            "the oldest are in the events alone",
            "DELETE FROM journal WHERE seq <= 4; UPDATE journal SET at_ms = at_ms + 1;",
            vec![
                "9 CT_CRASHED +40 turned +40 removed +40 journal 5,6,7".to_owned(),
                "8 VM_CRASHED +10 turned - - +90 journal ".to_owned(),
                "7 CT_CRASHED +0 turned - - +60 journal ".to_owned(),
            ],
        ),
    ] {
        let folder = Folder::new();
        let path = folder.path("jarvis.db");
        let store = Store::open(&path).await.unwrap();
        all_of_it(&store).await;
        assert!(store.close().await);
        let before = "DROP TABLE incidents; DROP TABLE incident_entries; DELETE FROM jarvis_schema WHERE version >= 5;";
        run(&path, &format!("{before} {lost}")).await;
        let store = Store::open(&path).await.unwrap();
        assert_eq!(shown(&store).await, expected, "{name}");
        assert!(store.close().await);
    }
}

#[tokio::test]
async fn what_is_open_is_kept_however_old_it_is() {
    let folder = Folder::new();
    let store = Store::open(&folder.path("jarvis.db")).await.unwrap();
    tell(&store, &[opened(0, 7), opened(1, 8), resolved(60, 7)]).await;
    let later = at(BEGAN) + SignedDuration::from_hours(24 * 40);
    assert_eq!(store.cleanup_old_incidents(41, later).await.unwrap(), 0);
    assert_eq!(store.cleanup_old_incidents(30, later).await.unwrap(), 1);
    assert_eq!(shown(&store).await, ["8 VM_CRASHED +1 turned - - - journal 2"]);
    assert!(store.close().await);
}

/// Each column is of the last event that says it, not of whichever row the grouping came upon.
#[tokio::test]
async fn what_only_the_events_know_is_what_the_last_of_them_says() {
    let folder = Folder::new();
    let path = folder.path("jarvis.db");
    let store = Store::open(&path).await.unwrap();
    assert!(store.close().await);
    run(
        &path,
        r#"DROP TABLE incidents; DROP TABLE incident_entries; DELETE FROM jarvis_schema WHERE version >= 5;
        INSERT INTO events (id, timestamp, at_ms, type, severity, source, summary, cluster, incident_id, condition,
            subject, node, details, resolved, resolved_ms) VALUES
        -- Turned for the worse and moved, told late what came first, and is over.
        (1, '', 3000, 'alert', 'warning', 'monitor', '', 'lab', 'turned', 'RAM_HIGH', 'node/pve1', 'pve1', '"high"', 1, 9000),
        (2, '', 1000, 'alert', 'warning', 'monitor', '', 'lab', 'turned', 'RAM_HIGH', 'node/pve1', 'pve1', '"first"', 1, 9000),
        (3, '', 5000, 'alert', 'critical', 'monitor', '', 'lab', 'turned', 'RAM_CRITICAL', 'node/pve1', 'pve2', '"critical"', 1, 9000),
        (4, '', 9000, 'alert', 'info', 'monitor', '', 'lab', 'turned', 'RAM_CRITICAL', 'node/pve1', NULL, '"over"', 1, 9000),
        -- Open; what it was told with last says neither its node nor its subject.
        (5, '', 2000, 'alert', 'error', 'monitor', '', 'lab', 'open', 'VM_CRASHED', 'qemu/101', 'pve1', '"crashed"', 0, NULL),
        (6, '', 4000, 'alert', 'error', 'monitor', '', 'lab', 'open', 'VM_FAULT', NULL, NULL, NULL, 0, NULL),
        -- Another cluster's with the same id, of which only the end is left.
        (7, '', 9500, 'alert', 'info', 'monitor', '', 'edge', 'open', 'CPU_HIGH', 'node/edge1', 'edge1', '"end"', 1, 9500),
        -- No alert.
        (8, '', 100, 'status', 'info', 'monitor', '', 'lab', 'open', 'NEWS', 'qemu/101', 'pve9', '"news"', 0, NULL);"#,
    )
    .await;
    let store = Store::open(&path).await.unwrap();
    let ms = Timestamp::as_millisecond;
    let rows: Vec<String> = all(&store)
        .await
        .into_iter()
        .map(|row| {
            let (node, details) = (row.node.unwrap_or("-".into()), row.details.unwrap_or("-".into()));
            let resolved = row.resolved.map_or("-".into(), |at| ms(at).to_string());
            let IncidentRow { cluster, id, condition, severity, subject, .. } = row;
            let severity = severity.as_str();
            let opened = ms(row.opened);
            format!("{cluster}/{id} {condition} {severity} {subject} {node} {opened} {resolved} {details}")
        })
        .collect();
    assert_eq!(
        rows,
        [
            r#"edge/open CPU_HIGH info node/edge1 edge1 9500 9500 "end""#,
            r#"lab/open VM_FAULT error qemu/101 pve1 2000 - "crashed""#,
            r#"lab/turned RAM_CRITICAL critical node/pve1 pve2 1000 9000 "critical""#,
        ]
    );
    assert!(store.close().await);
}
