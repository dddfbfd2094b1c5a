//! A real server on loopback over a store in a folder of its own, and the few lines of HTTP and Engine.IO that
//! ask it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use daemon::act::Hands;
use daemon::record::Store;
use daemon::report::auth::{Auth, NewUser, Password, UserName};
use daemon::report::caller::{Caller, Role, Via};
use daemon::report::live::Live;
use daemon::report::page::Page;
use daemon::report::{Limits, Server, ServerOptions, TlsFiles};
use engine::observe::ClusterName;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) const PASSWORD: &str = "correct horse";
pub(crate) const DESK: &str = "https://desk.example.org:8443";
/// Nothing here takes longer, a poll that waits for the next ping neither; what does is broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// What has not come after that does not come. By the world's clock, also where the test's own stands still.
const HEARD_WITHIN: Duration = Duration::from_secs(20);

/// A folder that goes with the test.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Folder {
        let path = std::env::temp_dir().join(format!("jarvis-server-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&path).unwrap();
        Folder(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

pub(crate) struct Fixture {
    pub(crate) server: Server,
    pub(crate) store: Store,
    pub(crate) auth: Arc<Auth>,
    pub(crate) live: Arc<Live>,
    /// The first cluster's.
    pub(crate) page: Arc<Page>,
    token: String,
    pub(crate) pages: Vec<(ClusterName, Arc<Page>)>,
    // Last, so that it goes when everything in it is closed.
    pub(crate) folder: Folder,
}

impl Fixture {
    pub(crate) async fn new() -> Fixture {
        Fixture::within(Limits::default()).await
    }

    pub(crate) async fn within(limits: Limits) -> Fixture {
        Fixture::with(limits, Some(Password::new(PASSWORD))).await
    }

    pub(crate) async fn with(limits: Limits, password: Option<Password>) -> Fixture {
        Fixture::made(Folder::new(), limits, password, Vec::new(), vec![lab(), edge()], None).await
    }

    /// With another cluster after the first.
    pub(crate) async fn of_two() -> Fixture {
        Fixture::of(Folder::new(), &["lab", "edge"], Limits::default(), Some(Password::new(PASSWORD))).await
    }

    /// With hands in clusters, in a folder that may have been one's before.
    pub(crate) async fn acting(
        folder: Folder,
        limits: Limits,
        password: Option<Password>,
        hands: Vec<(ClusterName, Hands)>,
    ) -> Fixture {
        Fixture::acting_in(folder, limits, password, hands, vec![lab()]).await
    }

    /// As [`Fixture::acting`], with these clusters.
    pub(crate) async fn acting_in(
        folder: Folder,
        limits: Limits,
        password: Option<Password>,
        hands: Vec<(ClusterName, Hands)>,
        clusters: Vec<ClusterName>,
    ) -> Fixture {
        Fixture::made(folder, limits, password, hands, clusters, None).await
    }

    /// In a folder that may have been one's before, with these clusters.
    pub(crate) async fn of(
        folder: Folder,
        clusters: &[&str],
        limits: Limits,
        password: Option<Password>,
    ) -> Fixture {
        let clusters = clusters.iter().map(|name| name.parse().unwrap()).collect();
        Fixture::made(folder, limits, password, Vec::new(), clusters, None).await
    }

    pub(crate) async fn listening(
        limits: Limits,
        password: Option<Password>,
        tls: Option<TlsFiles>,
    ) -> Fixture {
        Fixture::made(Folder::new(), limits, password, Vec::new(), vec![lab(), edge()], tls).await
    }

    async fn made(
        folder: Folder,
        limits: Limits,
        password: Option<Password>,
        hands: Vec<(ClusterName, Hands)>,
        clusters: Vec<ClusterName>,
        tls: Option<TlsFiles>,
    ) -> Fixture {
        let store = Store::open(&folder.path().join("jarvis.db")).await.unwrap();
        let auth = Arc::new(Auth::open(folder.path(), store.clone(), password).await.unwrap());
        auth.settle().await.unwrap();
        let token = auth.issue(&UserName::admin(), false, Timestamp::now()).await.unwrap().token;
        let live = Arc::new(Live::new(clusters.clone(), Duration::from_secs(12), Instant::now()));
        let pages: Vec<_> = clusters.into_iter().map(|name| (name, Arc::new(Page::new()))).collect();
        let options = ServerOptions {
            listen: "127.0.0.1:0".parse().unwrap(),
            allowed_origins: vec![DESK.into()],
            names: ["jarvis.lan", "x", "y"].map(Into::into).into(),
            public_url: None,
            behind_proxy: vec!["127.0.0.1".parse().unwrap()],
            tls,
            store: store.clone(),
            auth: auth.clone(),
            live: live.clone(),
            pages: pages.clone(),
            autonomy_ceiling: 2,
            hands,
        };
        let server = Server::start_within(options, limits).await.unwrap();
        Fixture { server, store, auth, live, page: pages[0].1.clone(), pages, token, folder }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.local_addr()
    }

    /// An admin's.
    pub(crate) fn token(&self) -> String {
        self.token.clone()
    }

    /// A user who was not there, with a password if any.
    pub(crate) async fn user(&self, name: &str, role: Role, clusters: Option<&[ClusterName]>) {
        let new = NewUser {
            name: name.parse().unwrap(),
            role,
            clusters: clusters.map(Into::into),
            password: Some(Password::new(PASSWORD)),
        };
        self.auth.add_user(&admin(), new, Timestamp::now()).await.unwrap();
    }

    /// A login of somebody.
    pub(crate) async fn token_of(&self, name: &str) -> String {
        self.auth.issue(&name.parse().unwrap(), false, Timestamp::now()).await.unwrap().token
    }

    /// A call of `/api/v1` with a JSON body, or none.
    pub(crate) async fn ask(&self, call: &str, token: &str, body: &str) -> Reply {
        let bearer = format!("Authorization: Bearer {token}");
        self.call(call, &[&bearer, "Content-Type: application/json"], body).await
    }

    /// One call on a connection of its own; `lines` are headers.
    pub(crate) async fn call(&self, call: &str, lines: &[&str], body: &str) -> Reply {
        let length = format!("Content-Length: {}", body.len());
        let mut lines = lines.to_vec();
        if !body.is_empty() {
            lines.push(&length);
        }
        let mut stream = TcpStream::connect(self.address()).await.unwrap();
        let head =
            format!("{call} HTTP/1.1\r\nHost: jarvis.lan\r\nConnection: close\r\n{}\r\n", joined(&lines));
        // A server that refuses a connection or a body need not read it; what it says is read all the same.
        drop(stream.write_all(head.as_bytes()).await);
        drop(stream.write_all(body.as_bytes()).await);
        Reply::read(stream).await
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> Reply {
        self.call(&format!("GET {path}"), &[&format!("Authorization: Bearer {token}")], "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> Reply {
        self.call(&format!("POST {path}"), &["Content-Type: application/json"], body).await
    }

    /// As [`Fixture::post`], from somebody else: loopback is the test's trusted proxy.
    pub(crate) async fn post_from(&self, peer: &str, path: &str, body: &str) -> Reply {
        let from = format!("X-Forwarded-For: {peer}");
        self.call(&format!("POST {path}"), &[&from, "Content-Type: application/json"], body).await
    }

    /// A polling client that has been let into a namespace, or the answer that refused it.
    pub(crate) async fn join(&self, namespace: &str, auth: &str) -> Polling<'_> {
        let address = "/socket.io/?EIO=4&transport=polling";
        let hello = self.call(&format!("GET {address}"), &[], "").await;
        let sid = hello.body.split('"').nth(3).unwrap();
        let polling = Polling { fixture: self, address: format!("{address}&sid={sid}") };
        polling.say(&format!("40{namespace},{auth}")).await;
        polling
    }

    pub(crate) async fn stop(self) {
        self.server.shutdown().await;
        assert!(self.store.close().await);
    }
}

/// The admin, as the server takes them.
pub(crate) fn admin() -> Caller {
    Caller { name: "admin".into(), role: Role::Admin, clusters: None, via: Via::Session }
}

/// The next first of July: within a year, whenever the tests run, and by summer's clocks.
pub(crate) fn next_summer() -> Date {
    let today = TimeZone::UTC.to_datetime(Timestamp::now()).date();
    let summer = |year| Date::new(year, 7, 1).unwrap();
    let this = summer(today.year());
    if this > today { this } else { summer(today.year() + 1) }
}

/// Two days of the week on which it is not today, nor tomorrow, nor was yesterday, wherever one is; in the week's order.
pub(crate) fn days_ahead() -> [&'static str; 2] {
    const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    let today = TimeZone::UTC.to_datetime(Timestamp::now()).weekday().to_monday_zero_offset();
    let mut ahead = [3, 4].map(|days| (usize::try_from(today).unwrap() + days) % DAYS.len());
    ahead.sort_unstable();
    ahead.map(|day| DAYS[day])
}

pub(crate) fn lab() -> ClusterName {
    "lab".parse().unwrap()
}

/// Another cluster, which the old page does not show.
pub(crate) fn edge() -> ClusterName {
    "edge".parse().unwrap()
}

/// Engine.IO over long-polling, by hand: the client that reads only when told to.
pub(crate) struct Polling<'a> {
    fixture: &'a Fixture,
    address: String,
}

impl Polling<'_> {
    pub(crate) async fn say(&self, packet: &str) {
        let reply = self.fixture.call(&format!("POST {}", self.address), &[], packet).await;
        assert_eq!((reply.status, reply.body.as_str()), (200, "ok"));
    }

    /// The next packets, without pings, which are answered.
    pub(crate) async fn hear(&self) -> Vec<String> {
        let began = Instant::now();
        while began.elapsed() < HEARD_WITHIN {
            let reply = self.fixture.call(&format!("GET {}", self.address), &[], "").await;
            assert_eq!(reply.status, 200, "{}", reply.body);
            let packets: Vec<_> = reply.body.split('\u{1e}').map(str::to_owned).collect();
            if packets.iter().any(|packet| packet == "2") {
                self.say("3").await;
            }
            let news: Vec<_> = packets.into_iter().filter(|packet| packet != "2").collect();
            if !news.is_empty() {
                return news;
            }
        }
        panic!("nothing but pings");
    }

    /// The packets up to the first that begins so.
    pub(crate) async fn hear_until(&self, beginning: &str) -> Vec<String> {
        let mut heard = Vec::new();
        let began = Instant::now();
        while began.elapsed() < HEARD_WITHIN {
            heard.extend(self.hear().await);
            if heard.iter().any(|packet: &String| packet.starts_with(beginning)) {
                return heard;
            }
        }
        panic!("{beginning} did not come: {heard:?}");
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) async fn read(mut stream: impl AsyncRead + Unpin) -> Reply {
        let mut bytes = Vec::new();
        // A connection that is reset after the answer has still given it.
        drop(tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("an answer"));
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Reply { status, head: head.to_owned(), body: body.to_owned() }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// `401 {"error":...}`.
    pub(crate) fn shown(&self) -> String {
        format!("{} {}", self.status, self.body)
    }
}

fn joined(lines: &[&str]) -> String {
    lines.iter().map(|line| format!("{line}\r\n")).collect()
}
