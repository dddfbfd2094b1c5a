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
use axum::http::StatusCode;
use axum::middleware;
use axum::response::IntoResponse;
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
use super::refusal::Refusal;
use super::tls::Tls;
use super::turns::{self, Until};
use super::{problem, web};
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

/// Who may ask a listener: where it speaks no TLS and other machines reach it, only this one and the declared proxies.
/// Whoever else came would send passwords in clear.
#[derive(Clone)]
pub(super) struct Admission {
    proxies: Arc<[IpAddr]>,
    in_clear: bool,
}

impl Admission {
    pub(super) fn new(listen: IpAddr, tls: bool, proxies: Arc<[IpAddr]>) -> Admission {
        Admission { proxies, in_clear: !tls && !listen.to_canonical().is_loopback() }
    }

    /// `here` is the address that was called: who calls it from itself is on this machine.
    fn admits(&self, from: IpAddr, here: Option<IpAddr>) -> bool {
        let (from, here) = (from.to_canonical(), here.map(|here| here.to_canonical()));
        !self.in_clear || from.is_loopback() || here == Some(from) || self.proxies.contains(&from)
    }
}

/// What the others are told.
const IN_CLEAR: &str = "Without TLS this answers its own machine and its proxies (server.behind_proxy) alone: ask through the \
                        proxy, or give it a certificate (server.tls_cert)";

/// Accepts until the stop, then lets calls end for a short while.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    admission: Admission,
    tls: Option<Arc<Tls>>,
    mut stop: Stop,
) -> anyhow::Result<()> {
    let listener =
        tokio::net::TcpListener::from_std(listener).context("the listening socket is of no use")?;
    let doors = Arc::new(Doors::new(limits, admission.proxies.clone()));
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
                let (router, admission, mut stop) = (router.clone(), admission.clone(), stop.clone());
                connections.spawn(async move {
                    let opened = tokio::select! {
                        opened = opened => opened,
                        () = stop.asked() => return,
                    };
                    match opened {
                        Ok(stream) => connection(stream, from, router, limits, admission, stop).await,
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
    let here = stream.local_addr().ok().map(|here| here.ip());
    let stream = match tls {
        None => Stream::Plain(stream),
        Some(tls) => {
            let shaken = tokio::time::timeout(within, tls.accept(stream)).await;
            let late = |_| io::Error::new(io::ErrorKind::TimedOut, "the handshake took too long");
            Stream::Tls(Box::new(shaken.map_err(late)??))
        }
    };
    Ok(Guarded { stream, here, _door: door })
}

/// One connection, until it ends or is upgraded.
async fn connection(
    stream: Guarded,
    from: SocketAddr,
    router: Router,
    limits: Limits,
    admission: Admission,
    mut stop: Stop,
) {
    let refused = || Refusal::new(StatusCode::FORBIDDEN, IN_CLEAR).into_response();
    let router = if admission.admits(from.ip(), stream.here) {
        router
    } else {
        tracing::debug!(%from, "refused: it speaks no TLS, and is neither this machine nor a proxy of ours");
        Router::new()
            .fallback(async move || refused())
            .layer(middleware::from_fn(problem::spoken))
            .layer(middleware::from_fn(web::hardened))
    };
    let router = TowerToHyperService::new(router);
    let tls = matches!(stream.stream, Stream::Tls(_));
    let (until, due) = Until::of_connection();
    let service = service_fn(move |mut request: Request<Incoming>| {
        let peer = Peer::of(from, tls, request.headers(), &admission.proxies);
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
    /// The address that was called.
    here: Option<IpAddr>,
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::supervise;

    #[test]
    fn who_is_answered_without_tls() {
        let [lan, any, home] = ["10.0.0.9", "0.0.0.0", "127.0.0.1"].map(|ip| ip.parse::<IpAddr>().unwrap());
        let table: [(&str, IpAddr, bool, &str, bool); 9] = [
            ("loopback, where nobody else comes", home, false, "127.0.0.1", true),
            ("this machine", any, false, "127.0.0.1", true),
            ("this machine, version 6", any, false, "::1", true),
            ("this machine by its own address", lan, false, "10.0.0.9", true),
            ("the proxy", lan, false, "10.0.0.2", true),
            ("the proxy, mapped", any, false, "::ffff:10.0.0.2", true),
            ("a neighbour", any, false, "10.0.0.3", false),
            ("a neighbour of the one address", lan, false, "10.0.0.3", false),
            ("a neighbour, with TLS", any, true, "10.0.0.3", true),
        ];
        let proxies: Arc<[IpAddr]> = ["10.0.0.2".parse().unwrap()].into();
        for (name, listen, tls, from, expected) in table {
            let admission = Admission::new(listen, tls, proxies.clone());
            assert_eq!(admission.admits(from.parse().unwrap(), Some(lan)), expected, "{name}");
        }
    }

    /// Over a real connection, of which is said that it comes from elsewhere.
    #[tokio::test]
    async fn a_neighbour_without_tls_is_told_why_and_reaches_nothing() {
        let limits = Limits::default();
        let proxies: Arc<[IpAddr]> = ["10.0.0.2".parse().unwrap()].into();
        let admission = Admission::new("0.0.0.0".parse().unwrap(), false, proxies.clone());
        let (_stopper, stop) = supervise::stop();
        for (from, path, expected) in [
            ("10.0.0.2:5000", "/api/auth/login", "200 reached"),
            ("127.0.0.1:5000", "/api/auth/login", "200 reached"),
            ("10.0.0.3:5000", "/api/auth/login", r#"403 {"error":"Without TLS"#),
            ("10.0.0.3:5000", "/socket.io/?EIO=4&transport=websocket", r#"403 {"error":"Without TLS"#),
            (
                "10.0.0.3:5000",
                "/api/v1/session",
                r#"403 {"status":403,"title":"Forbidden","detail":"Without TLS"#,
            ),
        ] {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let from: SocketAddr = from.parse().unwrap();
            let door = Doors::open(&Arc::new(Doors::new(limits, proxies.clone())), from.ip()).unwrap();
            let stream = listener.accept().await.unwrap().0;
            let stream = opened(stream, door, None, limits.read).await.unwrap();
            let router = Router::new().fallback(async || "reached");
            let serving =
                tokio::spawn(connection(stream, from, router, limits, admission.clone(), stop.clone()));
            let call = format!("POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            client.write_all(call.as_bytes()).await.unwrap();
            let mut text = String::new();
            client.read_to_string(&mut text).await.unwrap();
            serving.await.unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            let status = head.split(' ').nth(1).unwrap();
            assert!(format!("{status} {body}").starts_with(expected), "{from} {path}: {text}");
            assert!(status == "200" || !head.contains("set-cookie"), "{head}");
        }
    }
}
