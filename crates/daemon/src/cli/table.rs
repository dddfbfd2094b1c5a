//! What people read: short tables, one line each, of the daemon's JSON. A terminal obeys control characters, so none
//! of what was said elsewhere reaches it as one.

use std::fmt::Write;

use serde_json::Value;

use crate::record::level_name;
use crate::words;

/// Longest text in one cell, in characters; the last cell of a line is as long as it is.
const CELL_MAX: usize = 40;
/// Where each list has its cluster.
const CLUSTER: usize = 2;

/// As a terminal may show it.
pub(super) fn plain(text: &str) -> String {
    words::plain(text).into_owned()
}

/// `jarvis status`
pub(super) fn status(answer: &Value) -> String {
    let (monitor, health) = (&answer["monitor"], &answer["health"]);
    let yes = |value: &Value, yes: &str, no: &str, unknown: &str| match value.as_bool() {
        Some(true) => yes.to_owned(),
        Some(false) => no.to_owned(),
        None => unknown.to_owned(),
    };
    let level = monitor["autonomyLevel"].as_u64().and_then(|level| u8::try_from(level).ok());
    let level = level.map_or_else(|| "?".to_owned(), |level| format!("{level} {}", level_name(level)));
    let parts = health["components"].as_object().into_iter().flatten();
    let ill: Vec<String> = parts
        .filter(|(_, part)| part["status"] != "ok")
        .map(|(name, part)| format!("{name} {}", part["status"].as_str().unwrap_or("?")))
        .collect();
    let word = text(&health["status"]);
    let health_words = if ill.is_empty() { word } else { format!("{word}: {}", plain(&ill.join(", "))) };
    let uptime = health["uptime"].as_u64().map_or_else(|| "?".to_owned(), duration);
    let seen = |value: &Value| yes(value, "seen", "NOT SEEN", "?");
    // The incidents are counted in the store: one that takes no writes does not know of those since.
    let stored = health["components"]["store"]["status"].as_str().is_none_or(|word| word == "ok");
    let counted = if stored { "" } else { " written down, and the store fails: what came since is not" };
    let clusters: Vec<_> = match answer["clusters"].as_array() {
        Some(clusters) => clusters
            .iter()
            .map(|cluster| {
                let open = count(&cluster["openIncidents"], "open incident");
                format!("{}: {}, {open}{counted}", text(&cluster["cluster"]), seen(&cluster["seeing"]))
            })
            .collect(),
        None => vec![seen(&monitor["running"])],
    };
    let clusters = clusters.into_iter().map(|words| ("cluster", words));
    let lines = [
        ("autonomy", level),
        ("kill switch", yes(&monitor["killSwitch"], "ON, Jarvis does nothing on its own", "off", "?")),
        ("at work on", count(&monitor["activeRemediations"], "incident")),
        ("health", health_words),
        ("pages open", count(&health["components"]["sockets"]["clients"], "page")),
        ("running for", uptime),
        ("version", text(&health["version"])),
    ];
    clusters.chain(lines).fold(String::new(), |mut out, (name, value)| {
        // Writing to a string cannot fail.
        writeln!(out, "{name:<12} {value}").unwrap_or_default();
        out
    })
}

/// `jarvis incidents`
pub(super) fn incidents(rows: &[Value], with_cluster: bool) -> String {
    let head = ["SINCE (UTC)", "SEVERITY", "CLUSTER", "NODE", "CONDITION", "WHAT", "NEXT"].map(str::to_owned);
    let cells = rows.iter().map(|row| {
        let (target, subject) = (text(&row["target"]), text(&row["subject"]));
        let what = if target == subject { subject } else { format!("{target} ({subject})") };
        let quiet = ["maintenance", "silence"].into_iter().find(|kind| row[kind].is_object()).map(|kind| {
            let (word, row) = (if kind == "silence" { "silenced" } else { kind }, &row[kind]);
            format!("{word} until {} by {}", short(&row["until"]), text(&row["by"]))
        });
        let next: Vec<String> = over(row).or_else(|| next(&row["next"])).into_iter().chain(quiet).collect();
        let next = if next.is_empty() { "-".to_owned() } else { next.join("; ") };
        let [severity, cluster, node, kind] =
            ["severity", "cluster", "node", "type"].map(|key| text(&row[key]));
        [time(&row["detectedAt"]), severity, cluster, node, kind, what, next]
    });
    shown(head, cells, with_cluster)
}

/// Since when an incident is over, and how it ended.
fn over(incident: &Value) -> Option<String> {
    let at = &incident["resolvedAt"];
    let how = match incident["resolution"].as_str() {
        Some("itself") => "by itself".to_owned(),
        Some("mended") => "mended by Jarvis".to_owned(),
        Some("closed") => "closed by an operator".to_owned(),
        Some("removed") => "what it is about is gone".to_owned(),
        Some("unwatched") => "not watched any more".to_owned(),
        Some("superseded") => "part of something worse".to_owned(),
        Some("anew") => "told again since, when watching began anew".to_owned(),
        Some(_) | None => text(&incident["resolution"]),
    };
    at.is_string().then(|| format!("over since {}: {how}", time(at)))
}

/// What comes next for an incident; `None` where the daemon says nothing of it.
pub(super) fn next(next: &Value) -> Option<String> {
    let action = || text(&next["action"]);
    let times = || format!("attempt {} of {}", next["attempt"], next["of"]);
    let words = match next["step"].as_str()? {
        "nothing" => "no runbook is for it: people are told".to_owned(),
        "looks" => "it is looked at".to_owned(),
        "held" => {
            let holds = next["holds"].as_array().map_or(&[][..], Vec::as_slice);
            let words: Vec<String> = holds.iter().map(|hold| text(&hold["words"])).collect();
            // Nothing objects any more where a wait has just passed.
            match words.is_empty() {
                true => format!("{}, any moment", action()),
                false => format!("{}: held: {}", action(), words.join("; ")),
            }
        }
        "proposed" => format!("{}, if somebody approves", action()),
        "acts" => format!("{}, {}", action(), times()),
        "verifies" => {
            format!("{}, {}: done, and looked after until {}", action(), times(), short(&next["until"]))
        }
        "people" => "it was tried as often as its runbook allows, and no more is done".to_owned(),
        other => plain(other),
    };
    let seen = next["acknowledgedBy"].as_str().map(|by| format!("; seen by {}", plain(by)));
    Some(words + &seen.unwrap_or_default())
}

/// `jarvis events`
pub(super) fn events(rows: &[Value], with_cluster: bool) -> String {
    let head = ["TIME (UTC)", "SEVERITY", "CLUSTER", "NODE", "WHAT"].map(str::to_owned);
    let cells = rows.iter().map(|row| {
        let (title, message) = (text(&row["title"]), text(&row["message"]));
        let what = if message == "-" { title } else { format!("{title}: {message}") };
        let [severity, cluster, node] = ["severity", "cluster", "node"].map(|key| text(&row[key]));
        [time(&row["at"]), severity, cluster, node, what]
    });
    shown(head, cells, with_cluster)
}

/// `jarvis actions`
pub(super) fn actions(rows: &[Value], with_cluster: bool) -> String {
    let head = ["TIME (UTC)", "RESULT", "CLUSTER", "ACTION", "FOR", "DETAILS"].map(str::to_owned);
    let cells = rows.iter().map(|row| {
        let attempt = row["attempt"].as_u64().unwrap_or(1);
        let action = text(&row["action"]);
        let action = if attempt > 1 { format!("{action} (attempt {attempt})") } else { action };
        let [result, cluster, key, details] =
            ["result", "cluster", "incidentKey", "resultDetails"].map(|key| text(&row[key]));
        [time(&row["at"]), result, cluster, action, key, details]
    });
    shown(head, cells, with_cluster)
}

/// `jarvis why`: an incident's story, by the journal; for a viewer, who may not read it, by what was told.
pub(super) fn story(story: &Value) -> String {
    let incident = &story["incident"];
    let [key, subject, target, cluster, id] =
        ["key", "subject", "target", "cluster", "id"].map(|key| text(&incident[key]));
    let name = if target == subject { subject } else { format!("{subject} ({target})") };
    let node = incident["node"].as_str().map(|node| format!(" on {}", plain(node))).unwrap_or_default();
    let end = match over(incident) {
        Some(words) => words,
        None => "not over".to_owned(),
    };
    let mut shown = format!("{key}: {name}{node}, cluster {cluster}; {end}\n{id}\n");
    for (kind, what) in
        [("maintenance", "nothing is done, and nobody is told"), ("silence", "people are not told")]
    {
        let row = &incident[kind];
        if row.is_object() {
            let (until, by) = (short(&row["until"]), text(&row["by"]));
            shown.push_str(&format!("{kind} until {until} by {by}: {what}\n"));
        }
    }
    shown.push('\n');
    let rows = story["journal"].as_array().or_else(|| story["events"].as_array());
    for row in rows.into_iter().flatten() {
        // The words begin with the kind, the condition and the subject, which stand above.
        let line = match row["words"].as_str() {
            Some(words) => {
                let kind = words.split(' ').next().unwrap_or_default();
                let (_, what) = words.split_once(": ").unwrap_or(("", words));
                format!("{:<10} {}", plain(kind), plain(what))
            }
            None => format!("{}: {}", text(&row["title"]), text(&row["message"])),
        };
        shown.push_str(&format!("{}  {line}\n", time(&row["at"])));
    }
    if story["truncated"] == Value::Bool(true) {
        shown.push_str("there is more than is shown\n");
    }
    shown
}

/// `jarvis maintenance list`, `jarvis silence list`
pub(super) fn notices(silences: bool, rows: &[Value]) -> String {
    let head = ["ID", "STATE", "CLUSTER", "SUBJECT", "BY", "WHEN"].map(str::to_owned);
    let cells = rows.iter().map(|row| {
        let id: String = text(&row["id"]).chars().take(8).collect();
        let subject = match row["condition"].as_str() {
            Some(condition) => format!("{} of {}", plain(condition), text(&row["subject"])),
            None => text(&row["subject"]),
        };
        let cluster = row["cluster"].as_str().map_or_else(|| "all".to_owned(), plain);
        let note = row["note"].as_str().filter(|note| !note.is_empty());
        let note = note.map(|note| format!(" ({})", plain(note))).unwrap_or_default();
        let when = format!("{}{note}", when(silences, row));
        [id, word(row), cluster, subject, text(&row["by"]), when]
    });
    let several = rows.iter().any(|row| row["cluster"] != rows[0]["cluster"]);
    shown(head, cells, several || rows.iter().any(|row| row["cluster"].is_null()))
}

/// One of them, in a line.
pub(super) fn notice(silence: bool, row: &Value) -> String {
    let kind = if silence { "silence" } else { "maintenance" };
    let condition = row["condition"].as_str().map(|word| format!("{} of ", plain(word))).unwrap_or_default();
    let place = row["cluster"].as_str().map_or_else(|| "all clusters".to_owned(), plain);
    let subject = text(&row["subject"]);
    let (when, id) = (when(silence, row), text(&row["id"]));
    format!("{kind} {}: {condition}{subject} in {place}, {when}\n{id}\n", word(row))
}

fn word(row: &Value) -> String {
    match row["state"].as_str() {
        Some("inForce") => "in force".to_owned(),
        Some("toCome") => "to come".to_owned(),
        Some(other) => plain(other),
        None => "?".to_owned(),
    }
}

/// When it holds. Times are UTC, but for those of a zone's clocks, which name it.
fn when(silence: bool, row: &Value) -> String {
    if let Some(by) = row["endedBy"].as_str() {
        return format!("ended {} by {}", short(&row["endedAt"]), plain(by));
    }
    let days: Vec<&str> = row["days"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if days.is_empty() {
        let until = short(&row["until"]);
        return match silence || row["state"] == "inForce" {
            true => format!("until {until}"),
            false => format!("{} to {until}", short(&row["from"])),
        };
    }
    let lasts = row["minutes"].as_u64().map_or_else(|| "?".to_owned(), |minutes| duration(minutes * 60));
    let weekly =
        format!("{} at {} {} for {lasts}", plain(&days.join(",")), text(&row["at"]), text(&row["zone"]));
    match (row["current"]["until"].is_string(), row["next"]["from"].is_string()) {
        (true, _) => format!("{weekly}; now until {}", short(&row["current"]["until"])),
        (false, true) => format!("{weekly}; next {}", short(&row["next"]["from"])),
        (false, false) => weekly,
    }
}

/// `2026-11-24 02:05 UTC`
fn short(value: &Value) -> String {
    format!("{} UTC", time(value).chars().take(16).collect::<String>())
}

/// The cluster's column, the third of each list, only where there is more than one.
fn shown<const N: usize>(
    head: [String; N],
    cells: impl Iterator<Item = [String; N]>,
    with_cluster: bool,
) -> String {
    let lines = std::iter::once(head).chain(cells).map(|line| {
        let kept = line.into_iter().enumerate().filter(|(column, _)| with_cluster || *column != CLUSTER);
        kept.map(|(_, cell)| cell).collect()
    });
    aligned(lines.collect())
}

/// Each column as wide as its widest cell, the last one as it is.
fn aligned(mut lines: Vec<Vec<String>>) -> String {
    for line in &mut lines {
        let but_the_last = line.len().saturating_sub(1);
        for cell in &mut line[..but_the_last] {
            if cell.chars().count() > CELL_MAX {
                *cell = cell.chars().take(CELL_MAX - 1).chain(['…']).collect();
            }
        }
    }
    let columns = lines.first().map_or(0, Vec::len);
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for line in &lines {
        let mut shown = String::new();
        for (cell, width) in line.iter().zip(&widths) {
            // Writing to a string cannot fail.
            write!(shown, "{cell:<width$}  ").unwrap_or_default();
        }
        out.push_str(shown.trim_end());
        out.push('\n');
    }
    out
}

/// A text, `-` where there is none.
fn text(value: &Value) -> String {
    value.as_str().filter(|text| !text.is_empty()).map_or_else(|| "-".to_owned(), plain)
}

/// `2026-11-24 02:05:10`
fn time(value: &Value) -> String {
    let text = text(value).replacen('T', " ", 1);
    text.split('.').next().unwrap_or_default().trim_end_matches('Z').to_owned()
}

fn count(value: &Value, what: &str) -> String {
    match value.as_u64() {
        None => "?".to_owned(),
        Some(0) => format!("no {what}"),
        Some(1) => format!("1 {what}"),
        Some(n) => format!("{n} {what}s"),
    }
}

fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    #[test]
    fn how_it_stands() {
        let well = json!({
            "monitor": { "running": true, "autonomyLevel": 2, "killSwitch": false, "activeRemediations": 0 },
            "health": { "status": "ok", "uptime": 93_784, "version": "0.1.0",
                "components": { "store": { "status": "ok" }, "sockets": { "status": "ok", "clients": 3 } } },
            "clusters": [
                { "cluster": "lab", "seeing": true, "openIncidents": 0 },
                { "cluster": "edge", "seeing": false, "openIncidents": 12 },
            ],
        });
        expect![[r#"
            cluster      lab: seen, no open incident
            cluster      edge: NOT SEEN, 12 open incidents
            autonomy     2 L2_RECOMMEND
            kill switch  off
            at work on   no incident
            health       ok
            pages open   3 pages
            running for  1 d 2 h
            version      0.1.0
        "#]]
        .assert_eq(&status(&well));
        let ill = json!({
            "monitor": { "running": false, "autonomyLevel": 0, "killSwitch": true, "activeRemediations": 1 },
            "health": { "status": "degraded", "uptime": 42, "version": "0.1.0",
                "components": { "store": { "status": "down" }, "monitor": { "status": "blind" } } },
            "clusters": [{ "cluster": "lab", "seeing": true, "openIncidents": 0 }],
        });
        expect![[r#"
            cluster      lab: seen, no open incident written down, and the store fails: what came since is not
            autonomy     0 L0_OBSERVE
            kill switch  ON, Jarvis does nothing on its own
            at work on   1 incident
            health       degraded: monitor blind, store down
            pages open   ?
            running for  42 s
            version      0.1.0
        "#]]
        .assert_eq(&status(&ill));
    }

    #[test]
    fn what_comes_next() {
        let table = [
            ("an old daemon", json!(null)),
            ("nothing", json!({ "step": "nothing" })),
            ("a look", json!({ "step": "looks" })),
            (
                "an objection",
                json!({ "step": "held", "action": "start it", "holds": [{ "words": "locked" }] }),
            ),
            ("a wait that has passed", json!({ "step": "held", "action": "start it", "holds": [] })),
            ("a proposal", json!({ "step": "proposed", "action": "start it on pve1" })),
            ("an attempt", json!({ "step": "acts", "action": "start it on pve1", "attempt": 1, "of": 3 })),
            (
                "a verification",
                json!({ "step": "verifies", "action": "start it", "attempt": 1, "of": 3, "until": "2026-11-24T02:05:10.123Z" }),
            ),
            ("people", json!({ "step": "people" })),
            ("people have seen it", json!({ "step": "people", "acknowledgedBy": "olga (login)" })),
            ("a step of a newer daemon", json!({ "step": "\u{1b}dances" })),
        ];
        let told = table.iter().map(|(name, value)| format!("{name}: {}\n", next(value).unwrap_or_default()));
        expect![[r#"
            an old daemon: 
            nothing: no runbook is for it: people are told
            a look: it is looked at
            an objection: start it: held: locked
            a wait that has passed: start it, any moment
            a proposal: start it on pve1, if somebody approves
            an attempt: start it on pve1, attempt 1 of 3
            a verification: start it, attempt 1 of 3: done, and looked after until 2026-11-24 02:05 UTC
            people: it was tried as often as its runbook allows, and no more is done
            people have seen it: it was tried as often as its runbook allows, and no more is done; seen by olga (login)
            a step of a newer daemon: �dances
        "#]]
        .assert_eq(&told.collect::<String>());
    }

    #[test]
    fn what_is_listed() {
        let incidents_of = [
            json!({ "cluster": "lab", "detectedAt": "2026-11-24T02:05:10.123Z", "severity": "error", "node": "pve1",
                "type": "VM_CRASHED", "subject": "qemu/101", "target": "web01",
                "next": { "step": "held", "action": "start it on pve1", "holds": [
                    { "words": "the kill switch is on" }, { "words": "it is locked (backup)" }] } }),
            json!({ "cluster": "edge", "detectedAt": "2026-11-24T02:04:10.123Z", "severity": "critical", "node": null,
                "type": "QUORUM_LOST", "subject": "cluster", "target": "cluster", "next": { "step": "nothing" } }),
        ];
        expect![[r#"
            SINCE (UTC)          SEVERITY  CLUSTER  NODE  CONDITION    WHAT              NEXT
            2026-11-24 02:05:10  error     lab      pve1  VM_CRASHED   web01 (qemu/101)  start it on pve1: held: the kill switch is on; it is locked (backup)
            2026-11-24 02:04:10  critical  edge     -     QUORUM_LOST  cluster           no runbook is for it: people are told
        "#]]
        .assert_eq(&incidents(&incidents_of, true));
        expect![[r#"
            SINCE (UTC)          SEVERITY  NODE  CONDITION   WHAT              NEXT
            2026-11-24 02:05:10  error     pve1  VM_CRASHED  web01 (qemu/101)  start it on pve1: held: the kill switch is on; it is locked (backup)
        "#]]
        .assert_eq(&incidents(&incidents_of[..1], false));
        let rows = [
            json!({ "cluster": "edge", "at": "2026-11-24T02:05:10.123Z", "severity": "critical", "node": "pve1",
                "title": "Node pve1 offline", "message": "it left the cluster" }),
            json!({ "cluster": null, "at": "2026-11-24T02:05:09.000Z", "severity": "info", "node": null,
                "title": "\u{1b}[31mred\u{202e}\nsecond line", "message": "" }),
        ];
        expect![[r#"
            TIME (UTC)           SEVERITY  CLUSTER  NODE  WHAT
            2026-11-24 02:05:10  critical  edge     pve1  Node pve1 offline: it left the cluster
            2026-11-24 02:05:09  info      -        -     �[31mred� second line
        "#]]
        .assert_eq(&events(&rows, true));
        expect![[r#"
            TIME (UTC)           SEVERITY  NODE  WHAT
            2026-11-24 02:05:10  critical  pve1  Node pve1 offline: it left the cluster
            2026-11-24 02:05:09  info      -     �[31mred� second line
        "#]]
        .assert_eq(&events(&rows, false));
        let rows = [
            json!({ "cluster": "lab", "at": "2026-11-24T02:05:10.000Z", "result": "failure", "action": "start_vm",
            "attempt": 2, "incidentKey": format!("VM_CRASHED:{}", "1".repeat(60)), "resultDetails": "VM is locked" }),
        ];
        expect![[r#"
            TIME (UTC)           RESULT   ACTION                FOR                                       DETAILS
            2026-11-24 02:05:10  failure  start_vm (attempt 2)  VM_CRASHED:1111111111111111111111111111…  VM is locked
        "#]].assert_eq(&actions(&rows, false));
    }

    #[test]
    fn what_is_announced() {
        let rows = [
            json!({ "id": "0123456789ab", "state": "inForce", "cluster": "lab", "subject": "node/pve1", "by": "alice (login)",
                "note": "new memory", "days": [], "from": "2026-12-01T21:00:00.000Z", "until": "2026-12-01T23:00:00.000Z" }),
            json!({ "id": "1123456789ab", "state": "toCome", "cluster": "lab", "subject": "tag:web", "by": "bob (token x)",
                "note": "", "days": ["mon", "sun"], "at": "02:00", "minutes": 180, "zone": "Europe/Berlin", "current": null,
                "next": { "from": "2026-12-06T01:00:00.000Z", "until": "2026-12-06T04:00:00.000Z" } }),
            json!({ "id": "2123456789ab", "state": "inForce", "cluster": null, "subject": "cluster", "by": "bob", "note": "",
                "days": ["mon"], "at": "02:00", "minutes": 60, "zone": "UTC",
                "current": { "from": "2026-12-07T02:00:00.000Z", "until": "2026-12-07T03:00:00.000Z" }, "next": null }),
            json!({ "id": "3123456789ab", "state": "toCome", "cluster": "lab", "subject": "qemu/101", "by": "bob", "note": "",
                "days": [], "from": "2026-12-01T21:00:00.000Z", "until": "2026-12-01T23:00:00.000Z" }),
            json!({ "id": "4123456789ab", "state": "ended", "cluster": "lab", "subject": "qemu/101", "by": "bob", "note": "\u{1b}[31m",
                "days": [], "until": "2026-12-01T23:00:00.000Z", "endedAt": "2026-12-01T22:30:00.000Z", "endedBy": "eve" }),
        ];
        expect![[r#"
            ID        STATE     CLUSTER  SUBJECT    BY             WHEN
            01234567  in force  lab      node/pve1  alice (login)  until 2026-12-01 23:00 UTC (new memory)
            11234567  to come   lab      tag:web    bob (token x)  mon,sun at 02:00 Europe/Berlin for 3 h 0 min; next 2026-12-06 01:00 UTC
            21234567  in force  all      cluster    bob            mon at 02:00 UTC for 1 h 0 min; now until 2026-12-07 03:00 UTC
            31234567  to come   lab      qemu/101   bob            2026-12-01 21:00 UTC to 2026-12-01 23:00 UTC
            41234567  ended     lab      qemu/101   bob            ended 2026-12-01 22:30 UTC by eve (�[31m)
        "#]].assert_eq(&notices(false, &rows));
        let silences = [
            json!({ "id": "0123456789ab", "state": "inForce", "cluster": "lab", "subject": "qemu/101", "by": "alice",
            "condition": "DISK_HIGH", "note": "", "until": "2026-12-01T23:00:00.000Z" }),
        ];
        expect![[r#"
            ID        STATE     SUBJECT                BY     WHEN
            01234567  in force  DISK_HIGH of qemu/101  alice  until 2026-12-01 23:00 UTC
        "#]]
        .assert_eq(&notices(true, &silences));
        expect![[r#"
            silence in force: DISK_HIGH of qemu/101 in lab, until 2026-12-01 23:00 UTC
            0123456789ab
        "#]]
        .assert_eq(&notice(true, &silences[0]));
    }
}
