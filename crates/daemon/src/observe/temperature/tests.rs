//! Sensors in every shape in which nodes show them, and every way of not showing them.
//!
//! The node_exporter is a socket of this process with prepared answers; ssh is `tests/data/ssh`. Where something hangs,
//! time is tokio's and jumps.

use std::path::Path;
use std::sync::Arc;

use expect_test::{Expect, expect};
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

fn shown(read: &Result<Zones, Blindness>) -> String {
    match read {
        Ok(zones) if zones.is_empty() => "no sensors".into(),
        Ok(zones) => {
            let lines: Vec<String> =
                zones.iter().map(|(name, celsius)| format!("{name}: {celsius}")).collect();
            lines.join("\n")
        }
        Err(Blindness { cause, words }) => format!("{cause:?}: {words}"),
    }
}

fn node(name: &str) -> NodeName {
    name.parse().unwrap()
}

// ---- node_exporter ----

#[test]
fn what_node_exporter_shows() {
    #[rustfmt::skip]
    let table: [(&str, &str, Expect); 10] = [
        ("an Intel machine with an NVMe disk", r#"
# HELP node_hwmon_chip_names Annotation metric for human-readable chip names
# TYPE node_hwmon_chip_names gauge
node_hwmon_chip_names{chip="nvme_nvme0",chip_name="nvme"} 1
node_hwmon_chip_names{chip="platform_coretemp_0",chip_name="coretemp"} 1
node_hwmon_chip_names{chip="thermal_thermal_zone0",chip_name="acpitz"} 1
# HELP node_hwmon_sensor_label Label for given chip and sensor
# TYPE node_hwmon_sensor_label gauge
node_hwmon_sensor_label{chip="nvme_nvme0",label="Composite",sensor="temp1"} 1
node_hwmon_sensor_label{chip="platform_coretemp_0",label="Core 0",sensor="temp2"} 1
node_hwmon_sensor_label{chip="platform_coretemp_0",label="Package id 0",sensor="temp1"} 1
# HELP node_hwmon_temp_celsius Hardware monitor for temperature (input)
# TYPE node_hwmon_temp_celsius gauge
node_hwmon_temp_celsius{chip="nvme_nvme0",sensor="temp1"} 26.85
node_hwmon_temp_celsius{chip="platform_coretemp_0",sensor="temp1"} 35
node_hwmon_temp_celsius{chip="platform_coretemp_0",sensor="temp2"} 3.4e+01
node_hwmon_temp_celsius{chip="thermal_thermal_zone0",sensor="temp0"} 27.8
node_hwmon_temp_crit_celsius{chip="platform_coretemp_0",sensor="temp1"} 100
node_hwmon_temp_max_celsius{chip="platform_coretemp_0",sensor="temp1"} 80
node_thermal_zone_temp{type="acpitz",zone="0"} 27.8
node_thermal_zone_temp{type="x86_pkg_temp",zone="1"} 35"#,
            expect![[r#"
                an Intel machine with an NVMe disk
                acpitz: 27.8
                acpitz temp0: 27.8
                coretemp Core 0: 34
                coretemp Package id 0: 35
                nvme Composite: 26.85
                x86_pkg_temp: 35
            "#]]),
        ("two sockets, two disks, two zones of a kind", r#"
node_hwmon_chip_names{chip="platform_coretemp_0",chip_name="coretemp"} 1
node_hwmon_chip_names{chip="platform_coretemp_1",chip_name="coretemp"} 1
node_hwmon_sensor_label{chip="platform_coretemp_0",label="Package id 0",sensor="temp1"} 1
node_hwmon_sensor_label{chip="platform_coretemp_0",label="Core 0",sensor="temp2"} 1
node_hwmon_sensor_label{chip="platform_coretemp_1",label="Package id 1",sensor="temp1"} 1
node_hwmon_sensor_label{chip="platform_coretemp_1",label="Core 0",sensor="temp2"} 1
node_hwmon_temp_celsius{chip="platform_coretemp_0",sensor="temp1"} 50
node_hwmon_temp_celsius{chip="platform_coretemp_0",sensor="temp2"} 49
node_hwmon_temp_celsius{chip="platform_coretemp_1",sensor="temp1"} 52
node_hwmon_temp_celsius{chip="platform_coretemp_1",sensor="temp2"} 51
node_thermal_zone_temp{type="acpitz",zone="0"} 27
node_thermal_zone_temp{type="acpitz",zone="1"} 29"#,
            expect![[r#"
                two sockets, two disks, two zones of a kind
                acpitz 0: 27
                acpitz 1: 29
                coretemp Package id 0: 50
                coretemp Package id 1: 52
                platform_coretemp_0 Core 0: 49
                platform_coretemp_1 Core 0: 51
            "#]]),
        ("an AMD machine: no labels, chips by their PCI address", r#"
node_hwmon_chip_names{chip="pci0000:00_0000:00:18_3",chip_name="k10temp"} 1
node_hwmon_temp_celsius{chip="pci0000:00_0000:00:18_3",sensor="temp1"} 47.375
node_hwmon_temp_celsius{chip="0000:00:03_1_0000:09:00_0",sensor="temp1"} 44"#,
            expect![[r#"
                an AMD machine: no labels, chips by their PCI address
                0000:00:03_1_0000:09:00_0 temp1: 44
                k10temp temp1: 47.375
            "#]]),
        ("what cannot be true", r#"
node_hwmon_temp_celsius{chip="a",sensor="temp1"} NaN
node_hwmon_temp_celsius{chip="a",sensor="temp2"} +Inf
node_hwmon_temp_celsius{chip="a",sensor="temp3"} 65261.85
node_hwmon_temp_celsius{chip="a",sensor="temp4"} -128
node_hwmon_temp_celsius{chip="a",sensor="temp5"} 126.5"#,
            expect![[r#"
                what cannot be true
                a temp5: 126.5
            "#]]),
        ("escapes, blanks, timestamps, a comma at the end", "
node_hwmon_sensor_label { chip = \"c\" , label = \"a \\\"hot\\\" one, at C:\\\\ \\n end}\" , sensor = \"temp1\" , } 1 1700000000000
\tnode_hwmon_temp_celsius{chip=\"c\",sensor=\"temp1\",} 41.5 1700000000000
node_thermal_zone_temp{zone=\"0\",type=\"\"} 40",
            expect![[r#"
                escapes, blanks, timestamps, a comma at the end
                0: 40
                c a "hot" one, at C:\ end}: 41.5
            "#]]),
        ("broken lines beside good ones", r#"
node_hwmon_temp_celsius{chip="a",sensor="temp1"}
node_hwmon_temp_celsius{chip="a",sensor="temp1} 40
node_hwmon_temp_celsius{chip="a",sensor=temp1} 40
node_hwmon_temp_celsius{chip="a" 40
node_hwmon_temp_celsius
node_hwmon_temp_celsius{chip="a",sensor="temp2"} hot
node_hwmon_temp_celsius{chip="a",sensor="temp3"} 40"#,
            expect![[r#"
                broken lines beside good ones
                a temp3: 40
            "#]]),
        ("the same sensor twice: the hotter counts", r#"
node_hwmon_temp_celsius{chip="a",sensor="temp1"} 40
node_hwmon_temp_celsius{chip="a",sensor="temp1"} 60"#,
            expect![[r#"
                the same sensor twice: the hotter counts
                a temp1: 60
            "#]]),
        ("a virtual machine: an exporter without sensors", r#"
# HELP node_scrape_collector_success node_exporter: Whether a collector succeeded.
node_scrape_collector_success{collector="hwmon"} 1"#,
            expect![[r#"
                a virtual machine: an exporter without sensors
                no sensors
            "#]]),
        ("something else", "<html>It works!</html>", expect![[r#"
            something else
            Malformed: no node_exporter
        "#]]),
        ("another exporter", "windows_thermalzone_temperature_celsius{name=\"x\"} 40", expect![[r#"
            another exporter
            Malformed: no node_exporter
        "#]]),
    ];
    for (row, text, expected) in table {
        let read = exporter::metrics(text).ok_or_else(|| blind(Cause::Malformed, "no node_exporter"));
        expected.assert_eq(&format!("{row}\n{}\n", shown(&read)));
    }
}

#[test]
fn a_node_of_very_many_sensors_keeps_the_hottest() {
    let line =
        |n: usize| format!("node_hwmon_temp_celsius{{chip=\"c\",sensor=\"temp{n}\"}} {}\n", n as f64 / 100.0);
    let text: String = (0..SENSORS_MAX + 500).map(line).collect();
    let zones = exporter::metrics(&text).unwrap();
    assert_eq!(zones.len(), SENSORS_MAX);
    assert_eq!(zones.get("c temp1523"), Some(&15.23));
    assert_eq!(zones.get("c temp499"), None);
    let long = format!("node_thermal_zone_temp{{type=\"{}\",zone=\"0\"}} 40", "é".repeat(1_000));
    assert!(exporter::metrics(&long).unwrap().keys().all(|name| name.chars().count() == NAME_MAX));
}

/// Answers every question with the same bytes, and then says no more; the questions come back.
async fn answering(answer: Vec<u8>) -> (String, tokio::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (asked, questions) = tokio::sync::mpsc::channel(8);
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut question = vec![0; 4096];
            let length = socket.read(&mut question).await.unwrap();
            asked.send(String::from_utf8_lossy(&question[..length]).into_owned()).await.unwrap();
            // Whoever has read enough hangs up.
            let written = socket.write_all(&answer).await;
            if answer.is_empty() || written.is_err() {
                std::future::pending::<()>().await;
            }
        }
    });
    (format!("http://{address}"), questions)
}

fn http(status: &str, headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

#[tokio::test]
async fn how_node_exporter_answers() {
    let metrics = "node_thermal_zone_temp{type=\"x86_pkg_temp\",zone=\"0\"} 41\n";
    let chunked = format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{metrics}\r\n0\r\n\r\n",
        metrics.len()
    );
    let cut = format!("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nConnection: close\r\n\r\n{metrics}");
    let large = "# ".repeat(BODY_MAX_IN_TEST / 2 + 1);
    #[rustfmt::skip]
    let table: [(&str, Vec<u8>, Expect); 9] = [
        ("metrics",               http("200 OK", "Content-Type: text/plain; version=0.0.4\r\n", metrics), expect!["metrics: x86_pkg_temp: 41"]),
        ("in parts",              chunked.into_bytes(),                                       expect!["in parts: x86_pkg_temp: 41"]),
        ("a redirection",         http("302 Found", "Location: http://127.0.0.1:1/\r\n", ""), expect!["a redirection: Malformed: node_exporter's address answers 302 Found"]),
        ("a password is wanted",  http("401 Unauthorized", "", ""),                           expect!["a password is wanted: Refused: node_exporter refuses to answer: 401 Unauthorized"]),
        ("another path",          http("404 Not Found", "", "404 page not found"),            expect!["another path: Malformed: node_exporter's address answers 404 Not Found"]),
        ("its collectors fail",   http("500 Internal Server Error", "", "x"),                 expect!["its collectors fail: Malformed: node_exporter's address answers 500 Internal Server Error"]),
        ("a page for people",     http("200 OK", "", "<html>"),                               expect!["a page for people: Malformed: the answer holds no metrics of a node_exporter"]),
        ("more than is read",     http("200 OK", "", &large),                                 expect!["more than is read: Malformed: node_exporter answers with more than 4194304 bytes"]),
        ("no HTTP",               b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(),                        expect!["no HTTP: Unreachable: node_exporter is not reached: error sending request: client error (SendRequest): invalid HTTP version parsed"]),
    ];
    for (row, answer, expected) in table {
        let (url, mut questions) = answering(answer).await;
        let source = Source::node_exporter(format!("{url}/metrics?node={{node}}"), None).unwrap();
        expected.assert_eq(&format!("{row}: {}", shown(&source.read(&node("pve1")).await)));
        let question = questions.recv().await.unwrap();
        assert!(question.starts_with("GET /metrics?node=pve1 HTTP/1.1\r\n"), "{row}: {question}");
        assert!(!question.to_lowercase().contains("authorization"), "{row}: {question}");
        assert!(questions.try_recv().is_err(), "{row}: asked once");
    }
    let (url, _questions) = answering(cut.into_bytes()).await;
    let source = Source::node_exporter(url, None).unwrap();
    let read = tokio::time::timeout(Duration::from_secs(60), source.read(&node("pve1"))).await.unwrap();
    assert!(matches!(read, Err(Blindness { cause: Cause::Unreachable, .. })), "cut off: {read:?}");
}

/// As much as is read, and a little more.
const BODY_MAX_IN_TEST: usize = 4 * 1024 * 1024;

#[tokio::test]
async fn a_node_exporter_that_is_not_there() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    let source = Source::node_exporter(format!("http://127.0.0.1:{port}/metrics"), None).unwrap();
    let Err(Blindness { cause, words }) = source.read(&node("pve1")).await else {
        panic!("something answers")
    };
    assert_eq!(cause, Cause::Unreachable);
    assert!(
        words.starts_with("node_exporter is not reached: ") && !words.contains(&port.to_string()),
        "{words}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_node_exporter_that_hangs_is_given_up() {
    let (url, _questions) = answering(Vec::new()).await;
    let source = Source::node_exporter(url, None).unwrap();
    let read = source.read(&node("pve1")).await;
    assert_eq!(shown(&read), "Unreachable: node_exporter does not answer within 5 s");
}

/// A node_exporter behind TLS, with a certificate that it signed itself; its address and the certificate.
async fn behind_tls() -> (String, String) {
    let own = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
    let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
    let config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], key)
            .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            // A client that does not believe the certificate breaks off here.
            let Ok(mut socket) = acceptor.accept(socket).await else { continue };
            let mut question = [0; 4096];
            assert!(socket.read(&mut question).await.unwrap() > 0);
            socket.write_all(&http("200 OK", "", "node_thermal_zone_temp{type=\"a\"} 41")).await.unwrap();
        }
    });
    (format!("https://localhost:{port}/metrics"), own.cert.pem())
}

#[tokio::test]
async fn a_certificate_is_believed_by_the_authority_that_is_given_and_no_other() {
    let (url, authority) = behind_tls().await;
    let another = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/ca.pem")).unwrap();
    #[rustfmt::skip]
    let table: [(&str, &[u8], Expect); 2] = [
        ("its own",        authority.as_bytes(), expect!["its own: a: 41"]),
        ("somebody else's", &another,            expect!["somebody else's: Untrusted: node_exporter is not reached: error sending request: client error (Connect): invalid peer certificate: UnknownIssuer"]),
    ];
    for (row, authority, expected) in table {
        let source = Source::node_exporter(url.clone(), Some(authority)).unwrap();
        expected.assert_eq(&format!("{row}: {}", shown(&source.read(&node("pve1")).await)));
    }
    Source::node_exporter("https://a".into(), Some(b"-----BEGIN CERTIFICATE-----\nAA")).unwrap_err();
}

// ---- ssh ----

fn stand_in() -> Source {
    let ssh = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/ssh");
    Source(Kind::Ssh(Ssh { user: "root".into(), key_file: "/etc/jarvis/a key".into(), ssh }))
}

#[tokio::test]
async fn what_ssh_brings() {
    #[rustfmt::skip]
    let table: [(&str, Expect); 9] = [
        ("pve1",      expect![[r#"
            pve1
            acpitz 0: 27.8
            acpitz 1: 29.8
            acpitz temp1: 27.8
            coretemp Package id 0: 61
            coretemp Package id 1: 63
            hwmon2 Core 0: 59
            hwmon3 Core 0: 62
            nct6798 SYSTIN: -2.5
            nvme Composite: 38.85
            x86_pkg_temp: 61
        "#]]),
        ("bare",      expect![[r#"
            bare
            no sensors
        "#]]),
        ("arguments", expect![[r#"
            arguments
            Unreachable: ssh does not get in: -o BatchMode=yes -o ConnectTimeout=5 -o IdentitiesOnly=yes -o ControlMaster=no -o ClearAllForwardings=yes -o LogLevel=ERROR -T -x -a -i /etc/jarvis/a key -- root@arguments grep -sH . /sys/class/hwmon/hwmon*/name /sys/class/hwmon/hwmon*/temp*_label /sys/class/hwmon/hwmon*/temp*_input /sys/class/thermal/thermal_zone*/type /sys/class/thermal/thermal_zone*/temp (0 secrets)
        "#]]),
        ("stranger",  expect![[r#"
            stranger
            Untrusted: ssh does not get in: Host key verification failed.
        "#]]),
        ("locked",    expect![[r#"
            locked
            Refused: ssh does not get in: root@locked: Permission denied (publickey).
        "#]]),
        ("away",      expect![[r#"
            away
            Unreachable: ssh does not get in: ssh: connect to host away port 22: No route to host
        "#]]),
        ("mute",      expect![[r#"
            mute
            Unreachable: ssh does not get in: it does not say why
        "#]]),
        ("fish",      expect![[r#"
            fish
            Malformed: the node does not list its sensors (exit status: 124): fish: No matches for wildcard
        "#]]),
        ("flood",     expect![[r#"
            flood
            Malformed: the node answers with more than 262144 bytes
        "#]]),
    ];
    for (name, expected) in table {
        expected.assert_eq(&format!("{name}\n{}\n", shown(&stand_in().read(&node(name)).await)));
    }
}

#[tokio::test]
async fn the_command_is_one_that_a_shell_understands() {
    let read = stand_in().read(&node("this-machine")).await;
    assert!(read.is_ok(), "whatever sensors this machine has: {read:?}");
}

/// That the answer comes at all says that the child is gone: it is waited for.
#[tokio::test(start_paused = true)]
async fn an_ssh_that_hangs_is_ended() {
    let read = stand_in().read(&node("hang")).await;
    assert_eq!(shown(&read), "Unreachable: ssh has not finished after 10 s");
}

#[tokio::test]
async fn without_an_ssh() {
    let ssh = Ssh { ssh: "/nonexistent/ssh".into(), ..Ssh::new("root".into(), "/key".into()) };
    let read = Source(Kind::Ssh(ssh)).read(&node("pve1")).await;
    assert_eq!(shown(&read), "Unreachable: ssh cannot be started: No such file or directory (os error 2)");
}

// ---- Who is asked ----

#[test]
fn a_name_is_only_a_name() {
    #[rustfmt::skip]
    let table = [
        ("as PVE names them",           "pve1",               true),
        ("with a hyphen",               "pve-node-01",        true),
        ("in capitals",                 "PVE1",               true),
        ("beginning with a digit",      "1u-rack",            true),
        ("a host of somebody else's",   "metrics.example.com", false),
        ("an address",                  "10.0.0.1",           false),
        ("an address as one number",    "2130706433",         false),
        ("the same in hexadecimal",     "0x7f000001",         false),
        ("an underscore",               "pve_1",              false),
    ];
    for (row, name, good) in table {
        assert_eq!(host(&node(name)).is_ok(), good, "{row}");
    }
    assert!(host(&node(&"a".repeat(64))).is_err(), "no label is that long");
}

fn sensors(source: Option<Source>) -> Sensors {
    Sensors::new("lab".parse().unwrap(), source, Duration::from_secs(300))
}

#[tokio::test]
async fn a_round_reads_every_node_and_shows_what_it_read_for_two_rounds() {
    let from: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let clock = Clock::faster(from, std::time::Instant::now(), 0.0);
    let sensors = sensors(Some(stand_in()));
    let seen = sensors.round(["pve1", "bare", "away"].map(node).into(), &clock).await;
    assert!(matches!(seen.get(&node("pve1")), Some(Seen::At { value, .. }) if value.len() == 10), "{seen:?}");
    assert!(matches!(seen.get(&node("bare")), Some(Seen::At { value, .. }) if value.is_empty()));
    assert!(matches!(seen.get(&node("away")), Some(Seen::NotReached(_))));
    let names = |now| sensors.latest(now).keys().map(NodeName::to_string).collect::<Vec<_>>().join(" ");
    let minutes = SignedDuration::from_mins;
    assert_eq!(names(from), "bare pve1");
    assert_eq!(names(from + minutes(10)), "bare pve1", "the next round may fail");
    assert_eq!(names(from + minutes(11)), "");
    // A round that does not reach it leaves what was read before.
    sensors.round(vec![node("away")], &clock).await;
    assert_eq!(names(from), "bare pve1");
}

#[tokio::test]
async fn nobody_is_asked_without_a_source_and_one_address_is_not_taken_for_two_nodes() {
    let clock = Clock::wall();
    assert!(sensors(None).round(vec![node("pve1")], &clock).await.is_empty());
    let (url, mut questions) =
        answering(http("200 OK", "", "node_thermal_zone_temp{type=\"a\",zone=\"0\"} 41")).await;
    let one = sensors(Some(Source::node_exporter(url, None).unwrap()));
    let seen = one.round(["pve1", "pve2"].map(node).into(), &clock).await;
    assert!(seen.values().all(|seen| matches!(seen, Seen::NotReached(_))) && seen.len() == 2, "{seen:?}");
    assert!(questions.try_recv().is_err(), "nobody was asked");
    let seen = one.round(vec![node("pve1")], &clock).await;
    assert!(matches!(seen.get(&node("pve1")), Some(Seen::At { value, .. }) if value.get("a") == Some(&41.0)));
}

#[tokio::test]
async fn the_page_is_handed_news_only() {
    let from: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let clock = Clock::faster(from, std::time::Instant::now(), 0.0);
    let sensors = sensors(Some(stand_in()));
    assert_eq!(sensors.news(from), None, "nothing was read yet");
    sensors.round(["pve1", "bare"].map(node).into(), &clock).await;
    let news = sensors.news(from).unwrap();
    assert_eq!(news.values().map(BTreeMap::len).collect::<Vec<_>>(), [0, 10]);
    assert_eq!(sensors.news(from), None, "the same");
    let late = from + SignedDuration::from_mins(11);
    assert_eq!(sensors.news(late), Some(BTreeMap::new()), "too old, so it is gone");
    assert_eq!(sensors.news(late), None);
}
