//! Socket: `/cluster` and `/events` over Socket.IO, long-polling first and WebSocket after, or either alone.
//!
//! `/cluster` sends whole arrays, each of which makes the ones before it worthless. So a packet that a slow client
//! has no room for is simply not sent to it. `/events` must not lose one: each client is followed by a task that
//! knows the last number it sent, and reads from the store whatever the client had no room for.
//!
//! A client that stopped reading is not waited for: the kernel gives up on it (see `listen`), or the heartbeat does.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use socketioxide::extract::{SocketRef, TryData};
use socketioxide::handler::ConnectHandler;
use socketioxide::layer::SocketIoLayer;
use socketioxide::{SendError, SocketError, SocketIo};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;

use super::auth::Verified;
use super::bucket::Bucket;
use super::caller::Caller;
use super::login::{BAD_TOKEN, NO_TOKEN};
use super::peer::Peer;
use super::pump;
use super::refusal::Refusal;
use super::seats::{Seat, Seats, Vacated};
use super::web::App;
use crate::record::{EventRow, Store, StoreError};

/// Packets that may wait for one client: all that it may have missed, and room to spare. The engine closes a
/// connection whose heartbeat finds no room, so catching up must never fill it. Some 800 KB of events, held only
/// for a client that does not read, and for it only until the kernel or the heartbeat gives up.
const PACKETS_MAX: usize = MISSED_MAX as usize + 256;
/// Wishes for a snapshot that may wait.
const WISHES_MAX: usize = 256;
/// The most that a client may send at once. All it ever sends is a token and `requestRefresh`.
const MESSAGE_MAX: usize = 64 * 1024;
/// How long a connection may live without having been let into a namespace.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// What a client that comes back is given at most of what it missed.
const MISSED_MAX: u32 = 1000;
/// How many rows are read at once for a client that lags.
const CATCH_UP_ROWS: u32 = 200;
/// A client that had no room is looked at again so often, for so long, and is then given only so many at a time:
/// one that reads gets 1,280 a second, and has room for a heartbeat meanwhile.
const ROOM_EVERY: Duration = Duration::from_millis(25);
const ROOM_ROWS: usize = 32;
const ROOM_WAIT: Duration = Duration::from_secs(30);

/// How long a client waits to be let in for the store to say where the events stand.
const NEWEST_WAIT: Duration = Duration::from_secs(2);
/// How long to wait before the store is asked again, and before a client is put out again.
const STORE_EVERY: Duration = Duration::from_secs(1);
const PUT_OUT_EVERY: Duration = Duration::from_secs(1);

/// A snapshot costs megabytes in a large cluster: one client may ask for so many at once, then one per so long.
const REFRESH_BURST: u32 = 3;
const REFRESH_EVERY: Duration = Duration::from_secs(2);

/// Wall time is compared again at least so often, since a machine may sleep.
const CLOCK_EVERY: Duration = Duration::from_secs(60);

const EVENTS: &str = "/events";

/// Builds the engine and its two namespaces, and starts the task that feeds `/cluster`.
pub(super) fn build(app: Arc<App>) -> (SocketIoLayer, SocketIo) {
    let (layer, io) = SocketIo::builder()
        .connect_timeout(CONNECT_MAX)
        .max_buffer_size(PACKETS_MAX)
        .max_payload(MESSAGE_MAX as u64)
        .ws_max_message_size(MESSAGE_MAX)
        .ws_max_frame_size(MESSAGE_MAX)
        .build_layer();
    let seats = Arc::new(Seats::new(app.limits.sockets, app.limits.sockets_per_peer));
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
        async move |socket: SocketRef| cluster(app, socket, wishes).await
    };
    let events = async move |socket: SocketRef| events(app, socket).await;
    io.ns("/cluster", cluster.with(admit.clone()));
    io.ns(EVENTS, events.with(admit));
    (layer, io)
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
    #[serde(default)]
    since: Value,
}

/// Who was let in; kept with the socket.
#[derive(Clone)]
struct Guest {
    login: Verified,
    since: Option<i64>,
    /// The last event before it was let in; `None` where nobody asked or the store did not answer.
    newest: Option<i64>,
    seat: Arc<Seat>,
}

/// What its namespace needs to know of a guest; without its seat, which must not outlive the connection.
struct Arrival {
    login: Verified,
    since: Option<i64>,
    newest: Option<i64>,
}

/// Why a client was not let in, in the words that it is told.
#[derive(Debug, Clone, Copy)]
enum NotAdmitted {
    NoToken,
    BadToken,
    Since,
    Elsewhere,
    Full,
}

impl fmt::Display for NotAdmitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NotAdmitted::NoToken => NO_TOKEN,
            NotAdmitted::BadToken => BAD_TOKEN,
            NotAdmitted::Since => "since must be a whole number, the seq of the last event received",
            NotAdmitted::Elsewhere => "This login is for other clusters",
            NotAdmitted::Full => "Too many connections",
        })
    }
}

async fn admit(
    app: &App,
    seats: &Arc<Seats>,
    socket: &SocketRef,
    auth: &Handshake,
) -> Result<(), NotAdmitted> {
    let login = match &auth.token {
        Value::Null => return Err(NotAdmitted::NoToken),
        Value::String(token) if token.is_empty() => return Err(NotAdmitted::NoToken),
        Value::String(token) => {
            let connection = socket.id.to_string();
            let login = app.auth.verify_socket(token, &connection, Timestamp::now());
            login.ok_or(NotAdmitted::BadToken)?
        }
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            return Err(NotAdmitted::BadToken);
        }
    };
    // The arrays are those of the first cluster.
    let first = app.pages.first().map(|(name, _)| name);
    if socket.ns() != EVENTS && !first.is_some_and(|first| login.caller.sees(first)) {
        return Err(NotAdmitted::Elsewhere);
    }
    let since = if auth.since.is_null() {
        None
    } else {
        Some(auth.since.as_i64().filter(|seq| *seq >= 0).ok_or(NotAdmitted::Since)?)
    };
    let peer = socket.req_parts().extensions.get::<Peer>().copied().ok_or(NotAdmitted::Full)?;
    let seat = Seats::take(seats, peer.address).ok_or(NotAdmitted::Full)?;
    // Before the client knows that it is in: what is committed after that, it must be sent.
    let newest = if socket.ns() == EVENTS { newest(&app.store).await } else { None };
    socket.extensions.insert(Guest { login, since, newest, seat: Arc::new(seat) });
    Ok(())
}

async fn newest(store: &Store) -> Option<i64> {
    let rows = tokio::time::timeout(NEWEST_WAIT, store.get_recent_events(1)).await;
    Some(rows.ok()?.ok()?.first().map_or(0, |row| row.id))
}

/// Gives the guest's seat back when it leaves. `None`: it left before anybody looked.
fn seated(socket: &SocketRef) -> Option<(Arrival, Vacated)> {
    let Guest { login, since, newest, seat } = socket.extensions.get::<Guest>()?;
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
    Some((Arrival { login, since, newest }, vacated))
}

/// One page at `/cluster`, until it goes.
async fn cluster(app: Arc<App>, socket: SocketRef, wishes: mpsc::Sender<SocketRef>) {
    let Some((arrival, vacated)) = seated(&socket) else { return };
    let _looking = app.page.looking();
    let refreshes = Arc::new(Bucket::new(REFRESH_BURST, REFRESH_EVERY));
    let again = wishes.clone();
    socket.on("requestRefresh", async move |socket: SocketRef| {
        if refreshes.take(Instant::now()).is_ok() {
            wish(&again, socket).await;
        }
    });
    wish(&wishes, socket.clone()).await;
    // The socket must not keep the sender: it would keep the pump from ending with the server.
    drop(wishes);
    stay(&app, socket, &arrival.login, vacated, std::future::pending()).await;
}

/// One client at `/events`, until it goes.
async fn events(app: Arc<App>, socket: SocketRef) {
    let Some((arrival, vacated)) = seated(&socket) else { return };
    let follower = Follower { store: &app.store, socket: &socket, caller: &arrival.login.caller };
    stay(&app, socket.clone(), &arrival.login, vacated, follower.follow(&arrival)).await;
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

/// Sends one client every event once and in order, from the live stream while it keeps up and from the store while
/// it does not.
struct Follower<'a> {
    store: &'a Store,
    socket: &'a SocketRef,
    caller: &'a Caller,
}

/// Why an event was not sent.
enum Unsent {
    NoRoom,
    Gone,
}

struct Gone;

impl Follower<'_> {
    /// Ends when the client is gone or is to be put out.
    async fn follow(&self, arrival: &Arrival) {
        // First where it stands, then the stream, then what came between: so nothing falls between them.
        let Some(mut cursor) = self.start(arrival).await else { return };
        let mut live = self.store.committed();
        if !self.catch_up(&mut cursor, false).await {
            return;
        }
        loop {
            let kept_up = match live.recv().await {
                Ok(row) if row.id <= cursor => true,
                Ok(row) => match self.send(&row) {
                    Ok(()) => {
                        cursor = row.id;
                        true
                    }
                    Err(Unsent::NoRoom) => false,
                    Err(Unsent::Gone) => return,
                },
                Err(RecvError::Lagged(_)) => false,
                // The store closes after the server; a client of the next one asks it for what it missed.
                Err(RecvError::Closed) => std::future::pending().await,
            };
            if !kept_up && !self.catch_up(&mut cursor, true).await {
                return;
            }
        }
    }

    /// The number after which the client is to be sent everything.
    async fn start(&self, arrival: &Arrival) -> Option<i64> {
        let newest = match arrival.newest {
            Some(newest) => newest,
            None => self.recent(1).await.first().map_or(0, |row| row.id),
        };
        let Some(since) = arrival.since else { return Some(newest) };
        if since > newest {
            // Another database, or an older copy of it: its numbers mean nothing to us.
            return self.gap(since, newest).then_some(newest);
        }
        if newest - since <= i64::from(MISSED_MAX) {
            return Some(since);
        }
        let oldest = self.recent(MISSED_MAX).await.last().map_or(newest, |row| row.id);
        if oldest <= since + 1 {
            return Some(since);
        }
        self.gap(since, oldest - 1).then_some(oldest - 1)
    }

    /// Tells a client that it will not be sent the events after `after` up to and with `until`.
    fn gap(&self, after: i64, until: i64) -> bool {
        self.socket.emit("gap", &Gap { after, until }).is_ok()
    }

    /// Sends everything after `cursor` that the store holds. False when the client is gone or has stood still for
    /// too long.
    async fn catch_up(&self, cursor: &mut i64, mut gently: bool) -> bool {
        loop {
            let rows = self.insist(|store| store.get_events_after_seq(*cursor, CATCH_UP_ROWS)).await;
            if rows.is_empty() {
                return true;
            }
            for (sent, row) in rows.iter().enumerate() {
                if gently && sent % ROOM_ROWS == 0 {
                    tokio::time::sleep(ROOM_EVERY).await;
                }
                match tokio::time::timeout(ROOM_WAIT, self.send_patiently(row)).await {
                    Ok(Ok(waited)) => gently |= waited,
                    Ok(Err(Gone)) | Err(_) => return false,
                }
                *cursor = row.id;
            }
        }
    }

    /// Whether it had to wait for room.
    async fn send_patiently(&self, row: &EventRow) -> Result<bool, Gone> {
        let mut waited = false;
        loop {
            match self.send(row) {
                Ok(()) => return Ok(waited),
                Err(Unsent::Gone) => return Err(Gone),
                Err(Unsent::NoRoom) => tokio::time::sleep(ROOM_EVERY).await,
            }
            waited = true;
        }
    }

    fn send(&self, row: &EventRow) -> Result<(), Unsent> {
        if !self.caller.sees_named(row.cluster.as_deref()) {
            return Ok(());
        }
        match self.socket.emit("event", &row.socket()) {
            Ok(()) => Ok(()),
            Err(SendError::Socket(SocketError::InternalChannelFull)) => Err(Unsent::NoRoom),
            Err(SendError::Socket(SocketError::Closed)) => Err(Unsent::Gone),
            Err(SendError::Serialize(error)) => {
                // It would fail for everybody and for ever; the others are not held up for it.
                tracing::error!(seq = row.id, "an event could not be written: {error}");
                Ok(())
            }
        }
    }

    async fn recent(&self, limit: u32) -> Vec<EventRow> {
        self.insist(|store| store.get_recent_events(limit)).await
    }

    /// Asks until the store answers; the client leaving ends it.
    async fn insist<'s, F>(&'s self, ask: impl Fn(&'s Store) -> F) -> Vec<EventRow>
    where
        F: Future<Output = Result<Vec<EventRow>, StoreError>>,
    {
        loop {
            match ask(self.store).await {
                Ok(rows) => return rows,
                Err(error) => {
                    tracing::warn!("a client waits for its events: {:#}", anyhow::Error::from(error));
                    tokio::time::sleep(STORE_EVERY).await;
                }
            }
        }
    }
}

#[derive(Serialize)]
struct Gap {
    after: i64,
    until: i64,
}
