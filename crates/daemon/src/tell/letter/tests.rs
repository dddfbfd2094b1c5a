//! What letters say: of each kind, and of what others have written into them.

use expect_test::expect;

use super::*;
use crate::record::Line;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_795_000_000 + second).unwrap()
}

fn content() -> Content {
    Content {
        at: at(0),
        seq: 7,
        id: "00000000-0000-4000-8000-000000000007".into(),
        severity: "error".into(),
        title: "VM web01 (101) crashed".into(),
        message: "VM web01 (101) on pve1: its process crashed".into(),
        cluster: Some("lab".into()),
        node: Some("pve1".into()),
        condition: Some("VM_CRASHED".into()),
        subject: Some("qemu/101".into()),
        target: Some("web01".into()),
        incident_id: Some("01234567-89ab-8def-8123-456789abcdef".into()),
        over: false,
        story: Vec::new(),
        story_left_out: 0,
        given_up: 0,
    }
}

fn call() -> Letter {
    let step =
        |second, kind: &str, words: &str| Line { at: at(second), kind: kind.into(), words: words.into() };
    let content = Content {
        severity: "critical".into(),
        title: "Remediation escalated: VM_CRASHED on pve1".into(),
        message: "VM web01 (101) on pve1: 3 attempts have not helped".into(),
        story: vec![
            step(0, "opened", "its process crashed"),
            step(15, "acting", "start it on pve1, attempt 1 of 3"),
            step(195, "escalated", "3 attempts have not helped"),
        ],
        ..content()
    };
    letter(Kind::Call, vec![content])
}

fn letter(kind: Kind, contents: Vec<Content>) -> Letter {
    let (message, public_url) = (Uuid::from_u128(1), Some("https://jarvis.example.org".into()));
    Letter { message, kind, made: at(0), contents, untold: 0, public_url }
}

#[test]
fn a_call_tells_the_whole_story() {
    let letter = call();
    expect![["JARVIS NEEDS YOU: lab: VM_CRASHED web01 (qemu/101) on pve1"]].assert_eq(&letter.subject());
    expect![[r#"
        VM web01 (101) on pve1: 3 attempts have not helped.

        lab: VM_CRASHED web01 (qemu/101) on pve1; critical, 2026-11-18 11:06:40 UTC
        https://jarvis.example.org/incidents/01234567-89ab-8def-8123-456789abcdef

        What happened (times are UTC):

        2026-11-18 11:06:40  opened     its process crashed
        2026-11-18 11:06:55  acting     start it on pve1, attempt 1 of 3
        2026-11-18 11:09:55  escalated  3 attempts have not helped

        Jarvis does nothing more about it until it is over, or somebody says so:

          jarvis approve 01234567-89ab-8def-8123-456789abcdef     try once more, within every guardrail
          jarvis acknowledge 01234567-89ab-8def-8123-456789abcdef somebody has seen it
          jarvis resolve 01234567-89ab-8def-8123-456789abcdef     it is over, whatever is still so

    "#]]
    .assert_eq(&letter.text());
    expect![[r#"
        <!DOCTYPE html><html><body style="font-family:sans-serif"><p><b>VM web01 (101) on pve1: 3 attempts have not helped.</b></p><p>lab: VM_CRASHED web01 (qemu/101) on pve1; critical, 2026-11-18 11:06:40 UTC</p><p><a href="https://jarvis.example.org/incidents/01234567-89ab-8def-8123-456789abcdef">https://jarvis.example.org/incidents/01234567-89ab-8def-8123-456789abcdef</a></p><p>What happened (times are UTC):</p><table cellpadding="4"><tr><td>2026-11-18 11:06:40</td><td>opened</td><td>its process crashed</td></tr><tr><td>2026-11-18 11:06:55</td><td>acting</td><td>start it on pve1, attempt 1 of 3</td></tr><tr><td>2026-11-18 11:09:55</td><td>escalated</td><td>3 attempts have not helped</td></tr></table><p>Jarvis does nothing more about it until it is over, or somebody says so:</p><table cellpadding="4"><tr><td><code>jarvis approve 01234567-89ab-8def-8123-456789abcdef</code></td><td>try once more, within every guardrail</td></tr><tr><td><code>jarvis acknowledge 01234567-89ab-8def-8123-456789abcdef</code></td><td>somebody has seen it</td></tr><tr><td><code>jarvis resolve 01234567-89ab-8def-8123-456789abcdef</code></td><td>it is over, whatever is still so</td></tr></table></body></html>
    "#]].assert_eq(&letter.html());
}

#[test]
fn a_report_lists_what_happened() {
    let over = Content {
        over: true,
        severity: "info".into(),
        title: "Resolved: VM_CRASHED on pve1".into(),
        ..content()
    };
    let letter = Letter { untold: 2, ..letter(Kind::Report, vec![content(), over]) };
    expect![[r#"
        2026-11-18 11:06:40  error     lab: VM web01 (101) crashed
            VM web01 (101) on pve1: its process crashed
            https://jarvis.example.org/incidents/01234567-89ab-8def-8123-456789abcdef

        2026-11-18 11:06:40  resolved  lab: Resolved: VM_CRASHED on pve1
            VM web01 (101) on pve1: its process crashed
            https://jarvis.example.org/incidents/01234567-89ab-8def-8123-456789abcdef

        2 earlier events could not be told and are given up: `jarvis events` has them.
    "#]]
    .assert_eq(&letter.text());
    expect![[r#"
        <!DOCTYPE html><html><body style="font-family:sans-serif"><table cellpadding="4"><tr valign="top"><td>2026-11-18 11:06:40</td><td>error</td><td><b>lab: VM web01 (101) crashed</b><br>VM web01 (101) on pve1: its process crashed<br><a href="https://jarvis.example.org/incidents/01234567-89ab-8def-8123-456789abcdef">https://jarvis.example.org/incidents/01234567-89ab-8def-8123-456789abcdef</a></td></tr><tr valign="top"><td>2026-11-18 11:06:40</td><td>resolved</td><td><b>lab: Resolved: VM_CRASHED on pve1</b><br>VM web01 (101) on pve1: its process crashed<br><a href="https://jarvis.example.org/incidents/01234567-89ab-8def-8123-456789abcdef">https://jarvis.example.org/incidents/01234567-89ab-8def-8123-456789abcdef</a></td></tr></table><p>2 earlier events could not be told and are given up: `jarvis events` has them.</p></body></html>
    "#]].assert_eq(&letter.html());
}

#[test]
fn subjects() {
    let of = |kind, contents: Vec<Content>| letter(kind, contents).subject();
    let over = || Content { over: true, ..content() };
    let storm = Content {
        condition: None,
        subject: Some("cluster".into()),
        title: "Storm of incidents".into(),
        ..content()
    };
    let node = Content { subject: Some("node/pve1".into()), target: Some("pve1".into()), ..content() };
    let bad = Content { severity: "critical".into(), title: "Node pve2 offline".into(), ..content() };
    let long = Content { title: "x".repeat(500), ..content() };
    let hostile = Content { title: "a\r\nBcc: evil@example.org\u{202e}".into(), ..content() };
    #[rustfmt::skip]
    let table = [
        ("a test",                    of(Kind::Test, vec![]),                   "Jarvis: a test".to_owned()),
        ("people are called",         of(Kind::Call, vec![content()]),          "JARVIS NEEDS YOU: lab: VM_CRASHED web01 (qemu/101) on pve1".into()),
        ("it is over",                of(Kind::Call, vec![over()]),             "Jarvis, over: lab: VM_CRASHED web01 (qemu/101) on pve1".into()),
        ("of no incident",            of(Kind::Call, vec![storm]),              "JARVIS NEEDS YOU: lab: Storm of incidents".into()),
        ("of a node, named once",     of(Kind::Call, vec![node]),               "JARVIS NEEDS YOU: lab: VM_CRASHED node/pve1".into()),
        ("one event",                 of(Kind::Report, vec![content()]),        "Jarvis: lab: VM web01 (101) crashed".into()),
        ("several, and the worst",    of(Kind::Report, vec![content(), bad, over()]), "Jarvis: 3 events, lab: Node pve2 offline".into()),
        ("a long one",                of(Kind::Report, vec![long]),             format!("Jarvis: lab: {}…", "x".repeat(106))),
        ("another header in a title", of(Kind::Report, vec![hostile]),          "Jarvis: lab: a  Bcc: evil@example.org\u{fffd}".into()),
    ];
    for (name, subject, expected) in table {
        assert_eq!(subject, expected, "{name}");
    }
}

/// PVE allows none of that in a name; a server that only claims to be PVE may send it, and an operator may write it.
#[test]
fn what_others_wrote_is_text_everywhere() {
    let bad = "<script>alert(1)</script>\"'&\r\n.\r\nRCPT TO:<evil@example.org>";
    let mut hostile = Content {
        title: bad.into(),
        message: bad.into(),
        cluster: Some(bad.into()),
        node: Some(bad.into()),
        subject: Some(bad.into()),
        target: Some(bad.into()),
        incident_id: Some(bad.into()),
        ..content()
    };
    hostile.story = vec![Line { at: at(0), kind: bad.into(), words: bad.into() }];
    for kind in [Kind::Call, Kind::Report] {
        let letter = letter(kind, vec![hostile.clone()]);
        let (html, text) = (letter.html(), letter.text());
        assert!(!html.contains("<script") && !html.contains('\''), "{kind:?}: {html}");
        assert!(!html.contains("<a "), "{kind:?}: such an id is no link: {html}");
        assert!(text.lines().all(|line| line != "." && !line.starts_with("RCPT")), "{kind:?}: {text}");
        assert!(!letter.subject().contains(['\r', '\n']), "{kind:?}");
        let json: serde_json::Value = serde_json::from_str(&letter.json()).unwrap();
        assert_eq!(json["data"]["events"][0]["title"], bad, "{kind:?}: programs get it as it is");
    }
}

#[test]
fn a_webhook_s_body() {
    let mut value: serde_json::Value = serde_json::from_str(&call().json()).unwrap();
    value["data"]["events"][0]["story"].as_array_mut().unwrap().truncate(1);
    expect![[r#"
        {
          "data": {
            "events": [
              {
                "at": "2026-11-18T11:06:40Z",
                "cluster": "lab",
                "condition": "VM_CRASHED",
                "id": "00000000-0000-4000-8000-000000000007",
                "incidentId": "01234567-89ab-8def-8123-456789abcdef",
                "link": "https://jarvis.example.org/incidents/01234567-89ab-8def-8123-456789abcdef",
                "message": "VM web01 (101) on pve1: 3 attempts have not helped",
                "node": "pve1",
                "over": false,
                "seq": 7,
                "severity": "critical",
                "story": [
                  {
                    "at": "2026-11-18T11:06:40Z",
                    "kind": "opened",
                    "words": "its process crashed"
                  }
                ],
                "subject": "qemu/101",
                "target": "web01",
                "title": "Remediation escalated: VM_CRASHED on pve1"
              }
            ],
            "givenUp": 0
          },
          "timestamp": "2026-11-18T11:06:40.000Z",
          "type": "jarvis.call"
        }"#]]
    .assert_eq(&serde_json::to_string_pretty(&value).unwrap());
}
