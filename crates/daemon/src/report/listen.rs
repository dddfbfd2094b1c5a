//! Listen: the socket that accepts, the connections, and their limits.
//!
//! Not axum's own `serve`: that has no limit on how long a client may take to send its headers, nor on how many
//! connections there are.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::server::TlsStream;

use super::Limits;
use super::peer::Peer;
use super::tls::Tls;
use super::turns::{self, Until};
use crate::supervise::Stop;

/// How many connections the kernel keeps while we are busy.
const BACKLOG: i32 = 1024;
/// How long the kernel tries to deliver to a client that does not take it. It is the only thing that ends a client
/// which stopped reading: the engine waits for such a one for ever.
const UNDELIVERED_MAX: Duration = Duration::from_secs(30);
/// After how long a silent connection is asked whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// How long to wait when nothing can be accepted, which is nearly always because all file descriptors are in use.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The largest request line with headers. Ours have below 2 KiB; a browser's cookies may be more.
const HEADERS_MAX: usize = 32 * 1024;
/// What a connection keeps of a request or an answer, in bytes: twice the largest headers. The server's own default is
/// six times that, for each of thousands.
pub(super) const BUFFER_MAX: usize = 2 * HEADERS_MAX;
/// How long a call may take to end when the server stops.
const GRACE: Duration = Duration::from_millis(500);

/// Opens the listening socket. Accepted ones inherit its options on Linux.
///
/// # Errors
/// The address is in use, not ours, or not allowed; the text says which.
pub(super) fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let open = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        // A restart must not wait for connections of the last run to be forgotten.
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 4);
        socket.set_tcp_keepalive(&keepalive)?;
        socket.set_tcp_user_timeout(Some(UNDELIVERED_MAX))?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    open().map_err(|error: io::Error| {
        let help = if error.kind() == io::ErrorKind::AddrInUse {
            "another program listens there, perhaps another jarvis; stop it, or set server.listen or PORT"
        } else if error.kind() == io::ErrorKind::PermissionDenied {
            "ports below 1024 need a right of their own; set server.listen or PORT"
        } else {
            "set server.listen or PORT"
        };
        anyhow::Error::new(error).context(format!("cannot listen on {address}: {help}"))
    })
}

/// Accepts until the stop, then lets calls end for a short while.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    proxies: Arc<[IpAddr]>,
    tls: Option<Arc<Tls>>,
    mut stop: Stop,
) -> anyhow::Result<()> {
    let listener =
        tokio::net::TcpListener::from_std(listener).context("the listening socket is of no use")?;
    let doors = Arc::new(Doors::new(limits, proxies.clone()));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            () = stop.asked() => break,
        };
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("a connection could not be accepted: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        match Doors::open(&doors, from.ip().to_canonical()) {
            Some(door) => {
                let opened = opened(stream, door, tls.clone(), limits.read);
                let (router, proxies, mut stop) = (router.clone(), proxies.clone(), stop.clone());
                connections.spawn(async move {
                    let opened = tokio::select! {
                        opened = opened => opened,
                        () = stop.asked() => return,
                    };
                    match opened {
                        Ok(stream) => connection(stream, from, router, limits, proxies, stop).await,
                        Err(error) => tracing::debug!(%from, "no connection came about: {error}"),
                    }
                });
            }
            None => {
                tracing::debug!(%from, "too many connections; one was closed");
                // Reset, so that a flood leaves no sockets behind that wait for their end.
                if let Err(error) = SockRef::from(&stream).set_linger(Some(Duration::ZERO)) {
                    tracing::debug!("a surplus connection is closed slowly: {error}");
                }
            }
        }
    }
    drop(listener);
    let ended = tokio::time::timeout(GRACE, async { while connections.join_next().await.is_some() {} });
    if ended.await.is_err() {
        connections.shutdown().await;
    }
    Ok(())
}

/// A connection, after its handshake where there is one.
async fn opened(
    stream: TcpStream,
    door: Door,
    tls: Option<Arc<Tls>>,
    within: Duration,
) -> io::Result<Guarded> {
    let stream = match tls {
        None => Stream::Plain(stream),
        Some(tls) => {
            let shaken = tokio::time::timeout(within, tls.accept(stream)).await;
            let late = |_| io::Error::new(io::ErrorKind::TimedOut, "the handshake took too long");
            Stream::Tls(Box::new(shaken.map_err(late)??))
        }
    };
    Ok(Guarded { stream, _door: door })
}

/// One connection, until it ends or is upgraded.
async fn connection(
    stream: Guarded,
    from: SocketAddr,
    router: Router,
    limits: Limits,
    proxies: Arc<[IpAddr]>,
    mut stop: Stop,
) {
    let router = TowerToHyperService::new(router);
    let tls = matches!(stream.stream, Stream::Tls(_));
    let (until, due) = Until::of_connection();
    let service = service_fn(move |mut request: Request<Incoming>| {
        let peer = Peer::of(from, tls, request.headers(), &proxies);
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(until.clone());
        router.call(request)
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits.read).max_header_size(HEADERS_MAX);
    builder.max_buf_size(BUFFER_MAX);
    let mut connection =
        std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service).with_upgrades());
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = turns::overdue(due) => {
            tracing::debug!(%from, "an answer was not read in time; its connection is closed");
            return;
        }
        () = stop.asked() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%from, "a connection broke: {error}");
    }
}

/// How many connections there are, and from where.
struct Doors {
    limits: Limits,
    proxies: Arc<[IpAddr]>,
    open: Mutex<HashMap<IpAddr, usize>>,
}

/// One open connection.
struct Door {
    doors: Arc<Doors>,
    peer: IpAddr,
}

impl Doors {
    fn new(limits: Limits, proxies: Arc<[IpAddr]>) -> Doors {
        Doors { limits, proxies, open: Mutex::new(HashMap::new()) }
    }

    /// `None` when there are too many. A proxy and this machine stand for many and are bounded by the whole alone.
    fn open(doors: &Arc<Doors>, peer: IpAddr) -> Option<Door> {
        let mut open = doors.open.lock().unwrap_or_else(PoisonError::into_inner);
        let own = open.get(&peer).copied().unwrap_or_default();
        let all: usize = open.values().sum();
        let for_many = peer.is_loopback() || doors.proxies.contains(&peer);
        if all >= doors.limits.connections || (own >= doors.limits.connections_per_peer && !for_many) {
            return None;
        }
        open.insert(peer, own + 1);
        Some(Door { doors: doors.clone(), peer })
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let mut open = self.doors.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = open.get_mut(&self.peer) {
            *own -= 1;
            if *own == 0 {
                open.remove(&self.peer);
            }
        }
    }
}

/// A connection that is counted for as long as it lives, as a WebSocket too.
struct Guarded {
    stream: Stream,
    _door: Door,
}

/// What a connection's bytes go through.
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Hands a call on to whichever it is.
macro_rules! either {
    ($guarded:ident, $stream:ident => $call:expr) => {
        match &mut $guarded.stream {
            Stream::Plain($stream) => {
                let $stream = Pin::new($stream);
                $call
            }
            Stream::Tls($stream) => {
                let $stream = Pin::new($stream);
                $call
            }
        }
    };
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        either!(self, stream => stream.poll_write(cx, buf))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_shutdown(cx))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => stream.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }
}
