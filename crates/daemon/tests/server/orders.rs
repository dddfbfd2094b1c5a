//! What operators say about incidents: who may, what is answered, and how it reaches the engine.

use std::sync::{Arc, Mutex};

use daemon::operate::{ORDERS_MAX, Ordered, Taken};
use daemon::report::caller::Role;
use engine::act::Action;
use engine::decide::{Hold, KillSwitch};
use engine::{Next, Prospect};
use jiff::Timestamp;
use tokio::sync::mpsc;

use super::harness::{Fixture, edge, lab};
use super::v1::{opened, publish, tell};

const OPEN: &str = "00000000-0000-0000-0000-000000000007";
const IN_BOTH: &str = "00000000-0000-0000-0000-000000000008";

/// An engine that answers so, and all that it was told.
fn engine(fixture: &Fixture, answers: Taken) -> Arc<Mutex<Vec<String>>> {
    let (desk, mut orders) = mpsc::channel::<Ordered>(ORDERS_MAX);
    fixture.live.open_desk(&lab(), desk);
    let told = Arc::new(Mutex::new(Vec::new()));
    let hears = Arc::clone(&told);
    tokio::spawn(async move {
        while let Some(Ordered { incident, by, order, reply }) = orders.recv().await {
            let incident = incident.to_string();
            hears.lock().unwrap().push(format!("{} {order:?} {by}", &incident[35..]));
            reply.send(answers.clone()).unwrap();
        }
    });
    told
}

#[tokio::test]
async fn what_is_said_of_an_incident_reaches_its_engine_with_who_it_was() {
    let fixture = Fixture::of_two().await;
    publish(&fixture, Timestamp::now());
    tell(&fixture, "lab", vec![opened(0, 7), opened(0, 8)]).await;
    tell(&fixture, "edge", vec![opened(0, 8)]).await;
    fixture.user("vera", Role::Viewer, None).await;
    fixture.user("olga", Role::Operator, None).await;
    fixture.user("otto", Role::Operator, Some(&[edge()])).await;
    let told = engine(&fixture, Taken::Recorded(None));
    let ask = async |who: &str, path: &str, body: &str| {
        let token = fixture.token_of(who).await;
        fixture.ask(&format!("POST /api/v1/incidents/{path}"), &token, body).await.shown()
    };
    let taken =
        |order: &str| format!(r#"200 {{"id":"{OPEN}","cluster":"lab","order":"{order}","next":null}}"#);
    let absent =
        r#"404 {"status":404,"title":"Not Found","detail":"there is no such incident, or it is pruned"}"#;
    let unknown = r#"404 {"status":404,"title":"Not Found","detail":"about an incident one says approve, dismiss, acknowledge or resolve"}"#;
    #[rustfmt::skip]
    let table = [
        ("approved",                  "olga", format!("{OPEN}/approve"),                 taken("approve"),     Some("7 Approve olga (login)")),
        ("dismissed",                 "olga", format!("{OPEN}/dismiss"),                 taken("dismiss"),     Some("7 Dismiss olga (login)")),
        ("seen",                      "olga", format!("{OPEN}/acknowledge"),             taken("acknowledge"), Some("7 Acknowledge olga (login)")),
        ("over",                      "olga", format!("{OPEN}/resolve"),                 taken("resolve"),     Some("7 Resolve olga (login)")),
        ("its cluster named",         "olga", format!("{OPEN}/approve?cluster=lab"),     taken("approve"),     Some("7 Approve olga (login)")),
        ("another one named",         "olga", format!("{OPEN}/approve?cluster=edge"),    absent.into(),        None),
        ("one of two of this id",     "olga", format!("{IN_BOTH}/approve?cluster=edge"), "409".into(),         None),
        ("another word",              "olga", format!("{OPEN}/explode"),                 unknown.into(),       None),
        ("in capitals",               "olga", format!("{OPEN}/Approve"),                 unknown.into(),       None),
        ("no such incident",          "olga", OPEN.replace('7', "9") + "/approve",       absent.into(),        None),
        ("no id",                     "olga", "x/approve".into(),                        absent.into(),        None),
        ("a path",                    "olga", "..%2f..%2fx/approve".into(),              absent.into(),        None),
        ("a parameter that is none",  "olga", format!("{OPEN}/approve?force=1"),         "400".into(),         None),
        ("by a viewer",               "vera", format!("{OPEN}/approve"),                 "403".into(),         None),
        ("by one of another cluster", "otto", format!("{OPEN}/approve"),                 absent.into(),        None),
        ("named by them",             "otto", format!("{OPEN}/approve?cluster=lab"),     absent.into(),        None),
    ];
    for (name, who, path, expected, reaches) in table {
        let answer = ask(who, &path, "").await;
        assert!(answer == expected || answer.starts_with(&format!("{expected} ")), "{name}: {answer}");
        let heard: Vec<_> = told.lock().unwrap().drain(..).collect();
        assert_eq!(heard, reaches.into_iter().collect::<Vec<_>>(), "{name}");
    }
    for (answers, expected) in [
        (Taken::NotOpen, r#"409 {"status":409,"title":"Conflict","detail":"the incident is over"}"#),
        (
            Taken::NotRecorded,
            r#"500 {"status":500,"title":"Internal Server Error","detail":"it holds until the next start, but the store did not take it"}"#,
        ),
    ] {
        engine(&fixture, answers);
        assert_eq!(ask("olga", &format!("{OPEN}/approve"), "").await, expected);
    }
    let action = Action::StartGuest { guest: "qemu/101".parse().unwrap(), node: "pve1".parse().unwrap() };
    let holds = vec![Hold::KillSwitch(KillSwitch::On), Hold::NoQuorum];
    let prospect = Prospect {
        incident: OPEN.parse().unwrap(),
        next: Next::Held { action, holds },
        approved: Some("olga (login)".into()),
        dismissed: None,
        acknowledged: None,
    };
    engine(&fixture, Taken::Recorded(Some(Box::new(prospect))));
    let answer = ask("olga", &format!("{OPEN}/approve"), "").await;
    assert!(answer.contains(r#""step":"held","action":"start it on pve1""#), "{answer}");
    assert!(answer.contains(r#""words":"the kill switch is on""#), "{answer}");
    assert!(answer.contains(r#""word":"noQuorum""#), "{answer}");
    let (desk, orders) = mpsc::channel::<Ordered>(ORDERS_MAX);
    fixture.live.open_desk(&lab(), desk);
    drop(orders);
    let answer = ask("olga", &format!("{OPEN}/approve"), "").await;
    assert!(answer.starts_with("503 ") && answer.contains("the engine does not answer"), "{answer}");
    fixture.stop().await;
}
