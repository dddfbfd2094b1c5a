//! A node's journal as PVE sends it: packed whether asked or not, without a length, ended by the end of the
//! connection; and what a bad server can make of that.

#![allow(clippy::unwrap_used, reason = "helpers of tests; a panic is the report")]

#[path = "common/server.rs"]
#[allow(dead_code, reason = "shared with other tests, which use more of it")]
mod server;

use std::io::Write;
use std::time::Duration;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder};
use jiff::Timestamp;
use pve::types::Journal;
use pve::{Client, Endpoint, Error, JournalQuery, Limits, NodeName, Secret, Token, Trust};
use server::{Identity, Play, Server};

const MIB: u64 = 1024 * 1024;
const CURSOR: &str = "s=0f;i=1c;b=2d;m=3e;t=4f;x=5a";

fn packed(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

/// Only what PVE sends: no Content-Length.
fn answer(body: &[u8]) -> Vec<u8> {
    let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\n\r\n";
    [head.as_bytes(), body].concat()
}

fn lines(lines: &[&str]) -> Vec<u8> {
    serde_json::to_vec(&serde_json::json!({ "data": lines })).unwrap()
}

async fn journal_of(play: Play) -> (Result<Option<Journal>, Error>, Server) {
    let identity = Identity::new();
    let server = Server::start(&identity, vec![play]).await;
    let endpoint = Endpoint::new(&format!("https://{}", server.address), Trust::Insecure).unwrap();
    let token = Token::new("mon@pve!t1", Secret::new("5e3c1f00-dead-beef-0000-1234567890ab")).unwrap();
    let limits =
        Limits { journal: MIB, body: 64 * MIB, forwarded: Duration::from_secs(20), ..Limits::default() };
    let client = Client::new(endpoint, token, limits).unwrap();
    let since = JournalQuery::Since(Timestamp::from_second(1_795_453_930).unwrap());
    (client.node_journal(&NodeName::new("pve1").unwrap(), since).await, server)
}

/// Name, what the server does, the lines that are read, the cursor.
type Row<'a> = (&'a str, Play, Option<Vec<&'a str>>, Option<&'a str>);

#[tokio::test]
async fn what_is_read() {
    let line = "Nov 23 22:17:07 pve1 kernel: qemu-system-x86[335]: segfault at 0 ip 0 error 14";
    let whole = packed(&lines(&[CURSOR, line, "b\u{fc}", CURSOR]));
    let plain = [b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n", &*lines(&[line])].concat();
    #[rustfmt::skip]
    let table: Vec<Row<'_>> = vec![
        ("packed, closed properly", Play::Close(answer(&whole)), Some(vec![line, "b\u{fc}"]), Some(CURSOR)),
        ("packed, closed as PVE closes", Play::Cut(answer(&whole)), Some(vec![line, "b\u{fc}"]), Some(CURSOR)),
        ("not packed", Play::Close(plain), Some(vec![line]), None),
        ("nothing new", Play::Cut(answer(&packed(&lines(&[CURSOR, CURSOR])))), Some(vec![]), Some(CURSOR)),
        ("an empty list", Play::Cut(answer(&packed(&lines(&[])))), Some(vec![]), None),
        ("nothing, packed", Play::Cut(answer(&packed(b""))), None, None),
        ("nothing at all", Play::Close(answer(b"")), None, None),
        ("null", Play::Cut(answer(&packed(br#"{"data":null}"#))), None, None),
    ];
    for (name, play, expected, cursor) in table {
        let (answer, server) = journal_of(play).await;
        let journal = answer.unwrap_or_else(|error| panic!("{name}: {error}"));
        let read =
            journal.as_ref().map(|journal| journal.lines.iter().map(|line| &**line).collect::<Vec<_>>());
        assert_eq!(read, expected, "{name}");
        assert_eq!(journal.and_then(|journal| journal.cursor).as_deref(), cursor, "{name}");
        let asked = &server.seen()[0].text;
        assert!(
            asked.starts_with("GET /api2/json/nodes/pve1/journal?since=1795453930 HTTP/1.1\r\n"),
            "{asked}"
        );
        assert!(
            !asked.to_lowercase().contains("accept-encoding"),
            "it would make PVE pack all answers: {asked}"
        );
    }
}

#[tokio::test]
async fn bad_journals() {
    let whole = packed(&lines(&[CURSOR, "a line", CURSOR]));
    let half = &whole[..whole.len() / 2];
    let unsealed = &whole[..whole.len() - 4];
    let mut changed = whole.clone();
    let seal = changed.len() - 8;
    changed[seal] ^= 1;
    let mut deflated = DeflateEncoder::new(Vec::new(), Compression::best());
    deflated.write_all(b"{}").unwrap();
    let deflated = deflated.finish().unwrap();
    // 64 MiB of blanks in 64 kB.
    let bomb = packed(&vec![b' '; 64 * 1024 * 1024]);
    assert!(bomb.len() < 100_000);
    let many = packed(&[br#"{"data":["#, &*b"0,".repeat(400_000), b"0]}"].concat());
    #[rustfmt::skip]
    let table: Vec<(&str, Play, &str)> = vec![
        ("cut in the middle", Play::Cut(answer(half)), "Malformed at its compression"),
        ("cut in the middle, closed properly", Play::Close(answer(half)), "Malformed at its compression"),
        ("without the length at its end", Play::Cut(answer(unsealed)), "Malformed at its compression"),
        ("a wrong checksum", Play::Cut(answer(&changed)), "Malformed at its compression"),
        ("packed otherwise", Play::Cut(answer(&deflated)), "Malformed at its compression"),
        ("not packed although it says so", Play::Cut(answer(&lines(&["x"]))), "Malformed at its compression"),
        ("a bomb", Play::Cut(answer(&bomb)), "TooLarge: 1048576"),
        ("an object", Play::Cut(answer(&packed(br#"{"data":{"a":1}}"#))), "Malformed at data"),
        ("no JSON", Play::Cut(answer(&packed(b"-- No entries --"))), "Malformed at its beginning or end"),
        ("JSON cut short", Play::Cut(answer(&packed(br#"{"data":["a""#))), "Malformed at data"),
        ("more rows than a journal has", Play::Cut(answer(&many)), "Malformed at data"),
        ("403", Play::Close(b"HTTP/1.1 403 Permission check failed (/nodes/pve1, Sys.Syslog)\r\nConnection: close\r\n\r\n".to_vec()),
            "Forbidden: /nodes/pve1 Sys.Syslog"),
        ("400, empty", Play::Close(b"HTTP/1.1 400 Parameter verification failed.\r\nConnection: close\r\n\r\n".to_vec()),
            "Rejected with 400"),
    ];
    for (name, play, expected) in table {
        let (answer, _server) = journal_of(play).await;
        let error = answer.expect_err(name);
        let text = |text: &Option<Box<str>>| text.as_deref().unwrap_or("?").to_owned();
        let told = if let Error::Malformed { place, .. } = &error {
            format!("Malformed at {place}")
        } else if let Error::TooLarge { limit, seen, .. } = &error {
            assert_eq!(*seen, limit + 1, "{name}: no more was unpacked");
            format!("TooLarge: {limit}")
        } else if let Error::Forbidden { path, privilege, .. } = &error {
            format!("Forbidden: {} {}", text(path), text(privilege))
        } else if let Error::Rejected { status, .. } = &error {
            format!("Rejected with {status}")
        } else {
            format!("{error:?}")
        };
        let shown = told.strip_suffix("[250000]").unwrap_or(&told);
        assert_eq!(shown, expected, "{name}: {error}");
    }
}

/// A body that does not end is read up to the limit only.
#[tokio::test]
async fn a_journal_without_end() {
    let head = answer(b"");
    let flood = Play::Flood { head, piece: vec![0x1f; 64 * 1024], bytes: 100 * MIB };
    let (answer, server) = journal_of(flood).await;
    let error = answer.unwrap_err();
    assert!(matches!(error, Error::TooLarge { limit: MIB, .. }), "{error}");
    assert!(server.flooded() < 50 * MIB, "{} bytes left the server", server.flooded());
}
