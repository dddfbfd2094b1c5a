//! Socket: `/cluster` and `/events` over Socket.IO, long-polling first and WebSocket after, or either alone.
//!
//! `/cluster` sends the old page whole arrays, each of which makes the ones before it worthless. So a packet that a
//! slow client has no room for is simply not sent to it (`pump`). Who says `deltas: true` is sent a snapshot of each
//! cluster that it sees and then what changes (`feeds`). `/events` must not lose one: each client is followed by a
//! task that knows the last number it sent, and reads from the store whatever the client had no room for (`follow`).
//!
//! A client that stopped reading is not waited for: the kernel gives up on it (see `listen`), or the heartbeat does.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use engine::observe::ClusterName;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use socketioxide::extract::{SocketRef, TryData};
use socketioxide::handler::ConnectHandler;
use socketioxide::layer::SocketIoLayer;
use socketioxide::{SocketError, SocketIo};
use tokio::sync::mpsc;

use super::auth::Verified;
use super::bucket::Bucket;
use super::feeds::{self, Ask, Feeds, Resync};
use super::follow::{Follower, MISSED_MAX};
use super::login::{BAD_TOKEN, NO_TOKEN};
use super::peer::Peer;
use super::pump;
use super::refusal::Refusal;
use super::seats::{Seat, Seats, Vacated};
use super::switches;
use super::tally::Kind;
use super::web::{App, shown};
use crate::record::{Scope, Store};

/// Packets that may wait for one client: all that it may have missed, and room to spare. The engine closes a
/// connection whose heartbeat finds no room, so catching up must never fill it. Some 800 KB of events, held only
/// for a client that does not read, and for it only until the kernel or the heartbeat gives up.
const PACKETS_MAX: usize = MISSED_MAX as usize + 256;
/// Wishes for a snapshot that may wait.
const WISHES_MAX: usize = 256;
/// The most that a client may send at once. All it ever sends is a token and short wishes.
const MESSAGE_MAX: usize = 64 * 1024;
/// How long a connection may live without having been let into a namespace.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// How long a client waits to be let in for the store to say where the events stand.
const NEWEST_WAIT: Duration = Duration::from_secs(2);
/// How long to wait before a client is put out again.
const PUT_OUT_EVERY: Duration = Duration::from_secs(1);

/// A snapshot costs megabytes in a large cluster: one client may ask for so many at once, then one per so long.
const REFRESH_BURST: u32 = 3;
const REFRESH_EVERY: Duration = Duration::from_secs(2);

/// Wall time is compared again at least so often, since a machine may sleep.
const CLOCK_EVERY: Duration = Duration::from_secs(60);

const EVENTS: &str = "/events";

/// Builds the engine and its two namespaces, and starts the tasks that feed `/cluster`.
///
/// # Errors
/// The system gives no random bits.
pub(super) fn build(app: Arc<App>) -> anyhow::Result<(SocketIoLayer, SocketIo)> {
    let (layer, io) = SocketIo::builder()
        .connect_timeout(CONNECT_MAX)
        .max_buffer_size(PACKETS_MAX)
        .max_payload(MESSAGE_MAX as u64)
        .ws_max_message_size(MESSAGE_MAX)
        .ws_max_frame_size(MESSAGE_MAX)
        .build_layer();
    let seats = Arc::new(Seats::new(app.limits.sockets, app.limits.sockets_per_peer));
    let feeds = Feeds::start(&io, &app.pages, &app.live, &app.stop)?;
    let (wishes, wished) = mpsc::channel(WISHES_MAX);
    tokio::spawn(pump::run(io.clone(), app.clone(), wished));

    let admit = {
        let app = app.clone();
        async move |socket: SocketRef, TryData(auth): TryData<Handshake>| {
            admit(&app, &seats, &socket, &auth.unwrap_or_default()).await
        }
    };
    let cluster = {
        let app = app.clone();
        async move |socket: SocketRef| cluster(app, socket, wishes, &feeds).await
    };
    let events = async move |socket: SocketRef| events(app, socket).await;
    io.ns("/cluster", cluster.with(admit.clone()));
    io.ns(EVENTS, events.with(admit));
    Ok((layer, io))
}

/// Which pages may open a socket, and how long a client may take to post.
pub(super) async fn gate(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if !request.uri().path().starts_with("/socket.io") {
        return next.run(request).await;
    }
    if !app.origins.admits(request.headers()) {
        // Not a word of the two on which the page logs out.
        return Refusal::new(
            StatusCode::FORBIDDEN,
            "This origin may not connect; allowed_origins in the configuration lists those that may",
        )
        .into_response();
    }
    // A poll waits for news, and a WebSocket lives; only a post has to come to its end.
    if request.method() != Method::POST {
        return next.run(request).await;
    }
    match tokio::time::timeout(app.limits.read, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Refusal::new(StatusCode::REQUEST_TIMEOUT, "The body came too slowly").into_response(),
    }
}

/// What a client says when it connects; whatever it may be.
#[derive(Debug, Default, Deserialize)]
struct Handshake {
    #[serde(default)]
    token: Value,
    /// The number of the last event that it has; with deltas, the version that it has of each cluster.
    #[serde(default)]
    since: Value,
    /// Whether it wants deltas instead of arrays.
    #[serde(default)]
    deltas: Value,
    /// Which clusters it wants: `"all"`, or a list of names.
    #[serde(default)]
    clusters: Value,
}

/// What a client wants, understood.
#[derive(Clone, Debug, PartialEq)]
struct Wanted {
    since: Option<i64>,
    versions: BTreeMap<String, u64>,
    deltas: bool,
    clusters: Clusters,
}

/// Which clusters a client asked for. What it may not see it is not sent, whatever it asks for.
#[derive(Clone, Debug, PartialEq)]
enum Clusters {
    /// It did not say: an old client, which knows of one cluster.
    Unsaid,
    All,
    Named(Vec<String>),
}

impl Handshake {
    fn wanted(&self) -> Result<Wanted, NotAdmitted> {
        let deltas = match &self.deltas {
            Value::Null => false,
            Value::Bool(deltas) => *deltas,
            Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
                return Err(NotAdmitted::Deltas);
            }
        };
        let clusters = match &self.clusters {
            Value::Null => Clusters::Unsaid,
            Value::String(word) if word == "all" => Clusters::All,
            Value::Array(names) => {
                let names: Option<_> = names.iter().map(|name| name.as_str().map(str::to_owned)).collect();
                Clusters::Named(names.ok_or(NotAdmitted::Clusters)?)
            }
            Value::String(_) | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
                return Err(NotAdmitted::Clusters);
            }
        };
        let mut wanted = Wanted { since: None, versions: BTreeMap::new(), deltas, clusters };
        if deltas {
            wanted.versions = feeds::versions(&self.since).ok_or(NotAdmitted::Versions)?;
        } else if !self.since.is_null() {
            let since = self.since.as_i64().filter(|seq| *seq >= 0);
            wanted.since = Some(since.ok_or(NotAdmitted::Since)?);
        }
        Ok(wanted)
    }
}

/// Who was let in; kept with the socket.
#[derive(Clone)]
struct Guest {
    arrival: Arrival,
    seat: Arc<Seat>,
}

/// What its namespace needs to know of a guest; without its seat, which must not outlive the connection.
#[derive(Clone)]
struct Arrival {
    login: Verified,
    wanted: Wanted,
    /// The last event before it was let in; `None` where nobody asked or the store did not answer.
    newest: Option<i64>,
}

impl Arrival {
    /// Whether it is sent anything of a cluster that it named, or of all where it did not say.
    fn sees(&self, cluster: &ClusterName) -> bool {
        let asked = match &self.wanted.clusters {
            Clusters::Unsaid | Clusters::All => true,
            Clusters::Named(names) => names.iter().any(|name| name == cluster.as_str()),
        };
        asked && self.login.caller.sees(cluster)
    }

    /// Which events it is sent. Who did not say is an old page, which takes every event for one of its own cluster.
    fn scope(&self, app: &App) -> Scope {
        if self.wanted.clusters == Clusters::All && self.login.caller.clusters.is_none() {
            // Those of clusters that are not watched any more too.
            return Scope::ALL;
        }
        if self.wanted.clusters == Clusters::Unsaid {
            return shown(app, &self.login.caller);
        }
        let known = app.pages.iter().map(|(cluster, _)| cluster);
        Scope::of(known.filter(|cluster| self.sees(cluster)))
            .and_unknown(self.login.caller.clusters.is_none())
    }
}

/// Why a client was not let in, in the words that it is told.
#[derive(Debug, Clone, Copy, PartialEq)]
enum NotAdmitted {
    NoToken,
    BadToken,
    Since,
    Elsewhere,
    Versions,
    Deltas,
    Clusters,
    Full,
}

impl fmt::Display for NotAdmitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NotAdmitted::NoToken => NO_TOKEN,
            NotAdmitted::BadToken => BAD_TOKEN,
            NotAdmitted::Since => "since must be a whole number, the seq of the last event received",
            NotAdmitted::Elsewhere => "This login is for other clusters",
            NotAdmitted::Versions => {
                "since must say which version it has of each cluster, {CLUSTER: version}"
            }
            NotAdmitted::Deltas => "deltas must be true or false",
            NotAdmitted::Clusters => "clusters must be \"all\" or a list of names",
            NotAdmitted::Full => "Too many connections",
        })
    }
}

/// The one place that knows what a socket's token says.
fn known(app: &App, socket: &SocketRef, token: &Value) -> Result<Verified, NotAdmitted> {
    match token {
        Value::Null => Err(NotAdmitted::NoToken),
        Value::String(token) if token.is_empty() => Err(NotAdmitted::NoToken),
        Value::String(token) => {
            let connection = socket.id.to_string();
            app.auth.verify_socket(token, &connection, Timestamp::now()).ok_or(NotAdmitted::BadToken)
        }
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => Err(NotAdmitted::BadToken),
    }
}

async fn admit(
    app: &App,
    seats: &Arc<Seats>,
    socket: &SocketRef,
    auth: &Handshake,
) -> Result<(), NotAdmitted> {
    let login = known(app, socket, &auth.token)?;
    let wanted = auth.wanted()?;
    // The arrays of the old page are those of the first cluster.
    let first = app.pages.first().map(|(name, _)| name);
    if socket.ns() != EVENTS && !wanted.deltas && !first.is_some_and(|first| login.caller.sees(first)) {
        return Err(NotAdmitted::Elsewhere);
    }
    let peer = socket.req_parts().extensions.get::<Peer>().copied().ok_or(NotAdmitted::Full)?;
    let seat = Seats::take(seats, peer.address).ok_or(NotAdmitted::Full)?;
    // Before the client knows that it is in: what is committed after that, it must be sent.
    let newest = if socket.ns() == EVENTS { newest(&app.store).await } else { None };
    let arrival = Arrival { login, wanted, newest };
    socket.extensions.insert(Guest { arrival, seat: Arc::new(seat) });
    Ok(())
}

async fn newest(store: &Store) -> Option<i64> {
    let rows = tokio::time::timeout(NEWEST_WAIT, store.get_recent_events(1)).await;
    Some(rows.ok()?.ok()?.first().map_or(0, |row| row.id))
}

/// Gives the guest's seat back when it leaves. `None`: it left before anybody looked.
fn seated(socket: &SocketRef) -> Option<(Arrival, Vacated)> {
    let Guest { arrival, seat } = socket.extensions.get::<Guest>()?;
    let vacated = seat.vacated();
    // The only other one goes with the guest.
    drop(seat);
    socket.on_disconnect(async |socket: SocketRef| {
        socket.extensions.remove::<Guest>();
    });
    if !socket.connected() {
        // It went before the handler was there to hear of it.
        socket.extensions.remove::<Guest>();
        return None;
    }
    Some((arrival, vacated))
}

/// One page at `/cluster`, until it goes.
async fn cluster(app: Arc<App>, socket: SocketRef, wishes: mpsc::Sender<SocketRef>, feeds: &Feeds) {
    let Some((arrival, vacated)) = seated(&socket) else { return };
    if arrival.wanted.deltas {
        // The socket must not keep the sender: it would keep the pump from ending with the server.
        drop(wishes);
        return deltas(&app, socket, &arrival, vacated, feeds).await;
    }
    let work = async {
        if !app.pages.first().is_some_and(|(cluster, _)| arrival.login.caller.sees(cluster)) {
            // The arrays are of the first cluster, which is none of its own.
            drop(wishes);
            return std::future::pending().await;
        }
        let _present = app.tally.enter(Kind::Arrays);
        let _looking = app.page.looking();
        socket.join(pump::ARRAYS);
        let refreshes = Arc::new(Bucket::new(REFRESH_BURST, REFRESH_EVERY));
        let again = wishes.clone();
        socket.on("requestRefresh", async move |socket: SocketRef| {
            if refreshes.take(Instant::now()).is_ok() {
                wish(&again, socket).await;
            }
        });
        wish(&wishes, socket.clone()).await;
        drop(wishes);
        std::future::pending().await
    };
    stay(&app, socket.clone(), &arrival.login, vacated, work).await;
}

/// One page of ours at `/cluster`, until it goes.
async fn deltas(app: &App, socket: SocketRef, arrival: &Arrival, vacated: Vacated, feeds: &Feeds) {
    let _present = app.tally.enter(Kind::Deltas);
    let (ask, asked) = mpsc::channel(feeds::ASKED_MAX);
    let refresh = ask.clone();
    // More than may wait says nothing new.
    socket.on("requestRefresh", async move |_: SocketRef| drop(refresh.try_send(Ask::Refresh)));
    socket.on("resync", async move |_: SocketRef, TryData(resync): TryData<Resync>| {
        if let Ok(Resync { cluster }) = resync {
            drop(ask.try_send(Ask::Resync(cluster)));
        }
    });
    let refreshes = Bucket::new(REFRESH_BURST, REFRESH_EVERY);
    let sees = |cluster: &ClusterName| arrival.sees(cluster);
    let work = feeds.follow(&socket, sees, &arrival.wanted.versions, asked, &refreshes);
    stay(app, socket.clone(), &arrival.login, vacated, work).await;
}

/// One client at `/events`, until it goes.
async fn events(app: Arc<App>, socket: SocketRef) {
    let Some((arrival, vacated)) = seated(&socket) else { return };
    let _present = app.tally.enter(Kind::Events);
    switches::listen(&app, &socket, arrival.login.pass);
    let follower = Follower { store: &app.store, socket: &socket, scope: arrival.scope(&app) };
    let work = follower.follow(arrival.wanted.since, arrival.newest);
    stay(&app, socket.clone(), &arrival.login, vacated, work).await;
}

/// Until it goes, its token ends, the server stops, or `work` gives up on it.
async fn stay(
    app: &App,
    socket: SocketRef,
    login: &Verified,
    mut vacated: Vacated,
    work: impl Future<Output = ()>,
) {
    let mut stop = app.stop.clone();
    tokio::select! {
        () = vacated.wait() => return,
        () = stop.asked() => return,
        () = end_of(app, login) => {
            // A client that was put out does not come back by itself; the name tells it why. Without room for it
            // the client learns it when it connects again.
            if let Err(error) = socket.emit("auth_expired", &Expired { message: BAD_TOKEN }) {
                tracing::debug!(id = %socket.id, "not told that its login ended: {error}");
            }
        }
        () = work => {}
    }
    let put_out = async {
        // A full buffer has no room even for this.
        while let Err(SocketError::InternalChannelFull) = socket.clone().disconnect() {
            tokio::time::sleep(PUT_OUT_EVERY).await;
        }
    };
    tokio::select! {
        () = vacated.wait() => {}
        () = stop.asked() => {}
        () = put_out => {}
    }
}

#[derive(Serialize)]
struct Expired {
    message: &'static str,
}

async fn wish(wishes: &mpsc::Sender<SocketRef>, socket: SocketRef) {
    if wishes.send(socket).await.is_err() {
        tracing::debug!("a page asked for a snapshot while the server stops");
    }
}

/// Returns when the login is over, or is not what it was: whoever may more or less now comes in anew.
async fn end_of(app: &App, login: &Verified) {
    let mut changes = app.auth.changes();
    loop {
        let now = Timestamp::now();
        if app.auth.still(login.pass, now).is_none_or(|still| still.caller != login.caller) {
            return;
        }
        let left = login.left(now).unwrap_or(CLOCK_EVERY).min(CLOCK_EVERY);
        // Either is a reason to ask again; the sender lives as long as the server.
        drop(tokio::time::timeout(left, changes.changed()).await);
    }
}
