//! Feeds: who is sent the deltas of which cluster, and how those are brought back who had no room or were away.
//!
//! One task a cluster makes the versions ([`Feed`]) and the snapshots, each written once for all who wait for it. Each
//! client has a task that knows the version it has and sends what leads on from there. A client that has no room is
//! not sent half of anything: it stays at its version, and when there is room again it gets what leads on, or a
//! snapshot where that is not kept any more.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use engine::observe::ClusterName;
use serde::Deserialize;
use serde_json::Value;
use socketioxide::extract::SocketRef;
use socketioxide::{SendError, SocketError, SocketIo};
use tokio::sync::{mpsc, oneshot, watch};

use super::bucket::Bucket;
use super::delta::{Delta, Feed, News, Picture, Ring, Text};
use super::live::Live;
use super::page::{Looking, Page};
use crate::key;
use crate::supervise::Stop;

/// How many that wait for a snapshot are served by one.
const TOGETHER_MAX: usize = 256;
/// Wishes for a snapshot that may wait; who comes then waits to be let wish.
const WISHES_MAX: usize = 256;
/// What a poll brings is published in some pieces at nearly one moment, and makes one delta.
const GATHER: Duration = Duration::from_millis(100);
/// How soon it is looked again whether a cluster is still seen.
const SEEING_EVERY: Duration = Duration::from_secs(2);
/// After so long without a client the rows are forgotten. Until then those who come back are led on from where they are.
const KEPT_FOR: Duration = Duration::from_secs(120);
/// From so many rows on, comparing and writing them would hold up an async thread for milliseconds.
const ROWS_INLINE: usize = 500;
/// A client that had no room is looked at again so often, for so long.
const ROOM_EVERY: Duration = Duration::from_millis(25);
const ROOM_WAIT: Duration = Duration::from_secs(30);
/// Wishes of one client that may wait for its turn; more say nothing new.
pub(super) const ASKED_MAX: usize = 16;

/// Every cluster's feed, in the configuration's order.
pub(super) struct Feeds {
    all: Vec<Arc<Channel>>,
    /// Counts up whenever any of them has news.
    news: watch::Sender<u64>,
}

/// What the task of one cluster and the tasks of its clients share.
struct Channel {
    cluster: ClusterName,
    page: Arc<Page>,
    told: Mutex<Told>,
    wishes: mpsc::Sender<Wish>,
}

#[derive(Default)]
struct Told {
    version: u64,
    ring: Ring,
    /// The newest word on how fresh the rows are, and how many there were.
    seen: Option<Text>,
    serial: u64,
    clients: usize,
}

/// A client that wants to begin anew.
struct Wish {
    socket: SocketRef,
    /// The version that it was sent, and the serial of the news in it.
    sent: oneshot::Sender<Result<(u64, u64), Unsent>>,
}

/// Why something was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unsent {
    NoRoom,
    Gone,
}

/// What a client asks for besides.
#[derive(Debug)]
pub(super) enum Ask {
    /// A snapshot of every cluster that it sees.
    Refresh,
    /// A snapshot of one: what came does not follow what it has.
    Resync(String),
}

/// The body of `resync`.
#[derive(Debug, Deserialize)]
pub(super) struct Resync {
    pub(super) cluster: String,
}

/// The versions that a client says it has: `{CLUSTER: version}`. `None`: it is no such thing.
pub(super) fn versions(since: &Value) -> Option<BTreeMap<String, u64>> {
    if since.is_null() {
        return Some(BTreeMap::new());
    }
    since.as_object()?.iter().map(|(cluster, version)| Some((cluster.clone(), version.as_u64()?))).collect()
}

impl Feeds {
    /// Starts a task for each cluster; they end with the server.
    pub(super) fn start(
        io: &SocketIo,
        pages: &[(ClusterName, Arc<Page>)],
        live: &Arc<Live>,
        stop: &Stop,
    ) -> anyhow::Result<Arc<Feeds>> {
        let (news, _) = watch::channel(0);
        let mut all = Vec::new();
        for (cluster, page) in pages {
            let (wishes, wished) = mpsc::channel(WISHES_MAX);
            // No number of an earlier life is one of this one, wherever the clock stands. 48 bits are whole in JavaScript.
            let mut bytes = [0; 8];
            bytes[2..].copy_from_slice(&key::random::<6>()?);
            let feed = Feed::new(cluster.clone(), u64::from_be_bytes(bytes));
            let told = Told { version: feed.version(), ..Told::default() };
            let channel = Arc::new(Channel {
                cluster: cluster.clone(),
                page: page.clone(),
                told: Mutex::new(told),
                wishes,
            });
            all.push(channel.clone());
            let maker = Maker {
                io: io.clone(),
                channel,
                live: live.clone(),
                news: news.clone(),
                feed: Some(Box::new(feed)),
            };
            tokio::spawn(maker.run(wished, stop.clone()));
        }
        Ok(Arc::new(Feeds { all, news }))
    }

    /// Sends one client its clusters until it goes or has stood still for too long.
    pub(super) async fn follow(
        &self,
        socket: &SocketRef,
        sees: impl Fn(&ClusterName) -> bool,
        since: &BTreeMap<String, u64>,
        mut asked: mpsc::Receiver<Ask>,
        refreshes: &Bucket,
    ) {
        let mut news = self.news.subscribe();
        let seen = self.all.iter().filter(|channel| sees(&channel.cluster));
        let mut places: Vec<Place<'_>> = seen
            .map(|channel| {
                channel.told().clients += 1;
                let has = since.get(channel.cluster.as_str()).copied();
                Place { channel, socket, has, heard: 0, _looking: channel.page.looking() }
            })
            .collect();
        loop {
            news.mark_unchanged();
            for place in &mut places {
                if !place.lead_on().await {
                    return;
                }
            }
            tokio::select! {
                changed = news.changed() => if changed.is_err() { return },
                ask = asked.recv() => match ask {
                    Some(ask) => {
                        // Too often is answered later, and then once for all that was asked meanwhile.
                        while let Err(wait) = refreshes.take(Instant::now()) {
                            tokio::time::sleep(wait).await;
                        }
                        let mut asks = vec![ask];
                        while let Ok(more) = asked.try_recv() {
                            asks.push(more);
                        }
                        for place in &mut places {
                            let meant = |ask: &Ask| match ask {
                                Ask::Refresh => true,
                                Ask::Resync(cluster) => *cluster == place.channel.cluster.as_str(),
                            };
                            if asks.iter().any(meant) {
                                place.has = None;
                            }
                        }
                    }
                    None => return,
                },
            }
        }
    }
}

impl Channel {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a client is in one cluster.
struct Place<'a> {
    channel: &'a Channel,
    socket: &'a SocketRef,
    /// The version that it has.
    has: Option<u64>,
    /// The serial of the last news that it was sent.
    heard: u64,
    _looking: Looking<'a>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.channel.told().clients -= 1;
    }
}

/// What a client is to be sent next.
enum Next {
    Deltas(Vec<Delta>, u64),
    Seen(Text, u64),
    Snapshot,
    Nothing,
}

impl Place<'_> {
    /// Sends what leads to the newest version. False when the client is gone or has stood still for too long.
    async fn lead_on(&mut self) -> bool {
        let mut stands_since = None;
        loop {
            let sent = match self.next() {
                Next::Nothing => return true,
                Next::Seen(text, serial) => emit(self.socket, "seen", &text).map(|()| self.heard = serial),
                Next::Deltas(deltas, serial) => {
                    let sent = deltas.iter().try_for_each(|delta| {
                        emit(self.socket, "delta", &delta.text)?;
                        self.has = Some(delta.to);
                        Ok(())
                    });
                    sent.map(|()| self.heard = serial)
                }
                Next::Snapshot => self.snapshot().await.map(|(version, serial)| {
                    self.has = Some(version);
                    self.heard = serial;
                }),
            };
            match sent {
                Ok(()) => stands_since = None,
                Err(Unsent::Gone) => return false,
                Err(Unsent::NoRoom) => {
                    let since = *stands_since.get_or_insert_with(tokio::time::Instant::now);
                    if since.elapsed() > ROOM_WAIT {
                        return false;
                    }
                    tokio::time::sleep(ROOM_EVERY).await;
                }
            }
        }
    }

    fn next(&self) -> Next {
        let told = self.channel.told();
        let Some(deltas) = self.has.and_then(|has| told.ring.after(has, told.version)) else {
            return Next::Snapshot;
        };
        match &told.seen {
            _ if !deltas.is_empty() => Next::Deltas(deltas, told.serial),
            Some(seen) if self.heard < told.serial => Next::Seen(seen.clone(), told.serial),
            Some(_) | None => Next::Nothing,
        }
    }

    async fn snapshot(&self) -> Result<(u64, u64), Unsent> {
        let (sent, answer) = oneshot::channel();
        let wish = Wish { socket: self.socket.clone(), sent };
        self.channel.wishes.send(wish).await.map_err(|_| Unsent::Gone)?;
        answer.await.map_err(|_| Unsent::Gone)?
    }
}

fn emit(socket: &SocketRef, event: &str, text: &Text) -> Result<(), Unsent> {
    match socket.emit(event, &**text) {
        Ok(()) => Ok(()),
        Err(SendError::Socket(SocketError::InternalChannelFull)) => Err(Unsent::NoRoom),
        Err(SendError::Socket(SocketError::Closed)) => Err(Unsent::Gone),
        Err(SendError::Serialize(error)) => {
            // It is JSON already; what cannot be sent to anybody ends the client instead of turning in circles.
            tracing::error!(event, "a message could not be written: {error}");
            Err(Unsent::Gone)
        }
    }
}

/// Makes one cluster's versions.
struct Maker {
    io: SocketIo,
    channel: Arc<Channel>,
    live: Arc<Live>,
    news: watch::Sender<u64>,
    /// Away only while another thread works on it.
    feed: Option<Box<Feed>>,
}

impl Maker {
    async fn run(mut self, mut wished: mpsc::Receiver<Wish>, mut stop: Stop) {
        let mut published = self.channel.page.published();
        let mut wishes = Vec::new();
        let mut looked_at = Instant::now();
        loop {
            tokio::select! {
                () = stop.asked() => return,
                count = wished.recv_many(&mut wishes, TOGETHER_MAX) => {
                    if count == 0 {
                        return;
                    }
                    self.renew().await;
                    self.snapshot(std::mem::take(&mut wishes)).await;
                    looked_at = Instant::now();
                    continue;
                }
                changed = published.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    tokio::time::sleep(GATHER).await;
                    published.mark_unchanged();
                }
                () = tokio::time::sleep(SEEING_EVERY) => {}
            }
            if self.channel.told().clients > 0 {
                looked_at = Instant::now();
                self.renew().await;
            } else if looked_at.elapsed() < KEPT_FOR {
                self.renew().await;
            } else if self.feed.as_ref().is_some_and(|feed| feed.len() > 0) {
                self.forget();
            }
        }
    }

    /// Nobody looks at the rows.
    fn forget(&mut self) {
        let Some(feed) = &mut self.feed else { return };
        feed.forget();
        let mut told = self.channel.told();
        *told =
            Told { version: feed.version(), serial: told.serial, clients: told.clients, ..Told::default() };
    }

    /// Takes what was published, and tells the clients' tasks that there is news.
    async fn renew(&mut self) {
        let seeing = self.live.sees(&self.channel.cluster, Instant::now());
        let picture = Picture::of(&self.channel.page, seeing);
        let Some(news) = self.work(move |feed| feed.take(picture)).await else { return };
        let version = self.feed.as_ref().map_or(0, |feed| feed.version());
        {
            let mut told = self.channel.told();
            told.version = version;
            match news {
                News::None => return,
                News::Seen(text) => told.seen = Some(text),
                News::Delta(delta) => {
                    // Who has the newest version has this in it.
                    told.seen = None;
                    told.ring.push(delta);
                }
            }
            told.serial += 1;
        }
        self.news.send_modify(|count| *count += 1);
    }

    async fn snapshot(&mut self, wishes: Vec<Wish>) {
        let Some(Some(text)) = self.work(Feed::snapshot).await else { return };
        let at = {
            let told = self.channel.told();
            (told.version, told.serial)
        };
        let together = wishes.len() > 1 && self.broadcast(&wishes, &text).await;
        for Wish { socket, sent } in wishes {
            // One by one where not all had room: nobody knows who had, and a snapshot twice does no harm.
            let outcome = if together { Ok(()) } else { emit(&socket, "snapshot", &text) };
            if sent.send(outcome.map(|()| at)).is_err() {
                tracing::debug!(id = %socket.id, "a client went before its snapshot was sent");
            }
        }
    }

    /// Written once for all of them. False when one of them had no room, or was gone.
    async fn broadcast(&self, wishes: &[Wish], text: &Text) -> bool {
        let Some(clients) = self.io.of("/cluster") else { return false };
        let room = format!("snapshot/{}", self.channel.cluster);
        wishes.iter().for_each(|wish| wish.socket.join(room.clone()));
        let sent = clients.within(room.clone()).emit("snapshot", &**text).await.is_ok();
        wishes.iter().for_each(|wish| wish.socket.leave(room.clone()));
        sent
    }

    /// Works on the feed, on another thread where it is large.
    async fn work<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Feed) -> T + Send + 'static,
    ) -> Option<T> {
        let mut feed = self.feed.take()?;
        let rows = feed.len().max(self.channel.page.guests().map_or(0, |guests| guests.rows.len()));
        if rows <= ROWS_INLINE {
            let done = work(&mut feed);
            self.feed = Some(feed);
            return Some(done);
        }
        let worked = tokio::task::spawn_blocking(move || {
            let done = work(&mut feed);
            (feed, done)
        });
        match worked.await {
            Ok((feed, done)) => {
                self.feed = Some(feed);
                Some(done)
            }
            Err(error) => {
                tracing::error!(cluster = %self.channel.cluster, "the rows of /cluster could not be made: {error}");
                // The rows went with the thread; everybody begins anew.
                let version = self.channel.told().version;
                self.feed = Some(Box::new(Feed::new(self.channel.cluster.clone(), version)));
                self.forget();
                None
            }
        }
    }
}
