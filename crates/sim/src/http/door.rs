//! A node's port: who may come in, how long they may stay silent, and what happens when the node is ill.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use engine::observe::NodeName;
use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::fault::Fault;
use super::wire::{self, Answer, Incoming, Payload};
use super::world::{Served, Shared, Sign};
use crate::cluster::Api;

/// Silence after which a connection is closed, in the cluster's time; also before the first request.
const IDLE: Duration = Duration::from_secs(5);
/// However fast the cluster's time runs, a handshake takes a machine as long as it takes.
const IDLE_LEAST: Duration = Duration::from_millis(500);
/// How long a request that is never answered is held, at most: longer than any client's patience.
const SILENCE: Duration = Duration::from_secs(120);
/// Requests on one connection; the last answer says that it is.
const REQUESTS_MAX: u32 = 100;
/// Connections of one node at a time.
const CONNECTIONS_MAX: usize = 500;
/// How long to wait before trying again to listen on a port that is taken.
const BIND_AGAIN: Duration = Duration::from_millis(100);

/// A node's port.
#[derive(Clone)]
pub(super) struct Door {
    shared: Arc<Shared>,
    node: NodeName,
    tls: TlsAcceptor,
    stopped: watch::Receiver<bool>,
}

impl Door {
    pub(super) fn new(
        shared: Arc<Shared>,
        node: NodeName,
        tls: Arc<rustls::ServerConfig>,
        stopped: watch::Receiver<bool>,
    ) -> Door {
        Door { shared, node, tls: tls.into(), stopped }
    }

    /// Listens until the server stops, and stops listening while the node is down.
    pub(super) async fn keep(mut self, listener: TcpListener) {
        let Ok(address) = listener.local_addr() else { return };
        let Some(mut sign) = self.shared.sign(&self.node) else { return };
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut guests = JoinSet::new();
        let mut listener = Some(listener);
        loop {
            while guests.try_join_next().is_some() {}
            if !sign.borrow_and_update().open {
                listener = None;
            }
            tokio::select! {
                _ = self.stopped.changed() => break,
                changed = sign.changed() => if changed.is_err() { break },
                came = accept(&mut listener, address), if sign.borrow().open => {
                    let Some(stream) = came else { continue };
                    let Ok(seat) = room.clone().try_acquire_owned() else { continue };
                    let door = self.clone();
                    guests.spawn(async move {
                        door.receive(stream).await;
                        drop(seat);
                    });
                }
            }
        }
        while guests.join_next().await.is_some() {}
    }

    /// One connection, until it ends, the node dies or the server stops.
    async fn receive(mut self, stream: TcpStream) {
        let Some(mut sign) = self.shared.sign(&self.node) else { return };
        let mut stopped = self.stopped.clone();
        self.shared.counter().connected(&self.node);
        tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => {}
            _ = sign.wait_for(|sign| !sign.open) => {}
            () = self.greet(stream) => {}
        }
    }

    async fn greet(&mut self, stream: TcpStream) {
        // Small answers go out at once, as Perl's do.
        if stream.set_nodelay(true).is_err() {
            return;
        }
        match self.api() {
            Api::Reset => return reset(&stream),
            Api::Unreachable => return self.wait_while(Api::Unreachable).await,
            Api::Up
            | Api::Refused
            | Api::Hang
            | Api::Slow(_)
            | Api::Denied
            | Api::Blind
            | Api::Empty
            | Api::Garbage
            | Api::Truncated => {}
        }
        let mut first = [0];
        let idle = self.idle();
        match tokio::time::timeout(idle, stream.peek(&mut first)).await {
            Ok(Ok(1)) if first[0] == TLS_HANDSHAKE => {
                if let Ok(Ok(stream)) = tokio::time::timeout(idle, self.tls.accept(stream)).await {
                    self.converse(stream).await;
                }
            }
            Ok(Ok(1)) => self.send_to_tls(stream).await,
            Ok(Ok(_) | Err(_)) | Err(_) => {}
        }
    }

    async fn converse(&mut self, mut stream: tokio_rustls::server::TlsStream<TcpStream>) {
        let mut buffer = Vec::new();
        let worker = self.shared.worker();
        for count in 1..=REQUESTS_MAX {
            let mut gzip = false;
            let (served, last) = match wire::read(&mut stream, &mut buffer, self.idle()).await {
                Incoming::Over => return,
                Incoming::Refused(answer) => {
                    (Served { answer, call: "(malformed)".to_owned(), fault: None }, true)
                }
                Incoming::Request(request) => {
                    if self.api() == Api::Hang {
                        return self.wait_while(Api::Hang).await;
                    }
                    let last = request.last;
                    gzip = request.reads_gzip();
                    (self.shared.serve(&self.node, worker, request).await, last)
                }
            };
            match served.fault {
                Some(Fault::Timeout) => return hold(stream).await,
                Some(Fault::Reset) => return reset(stream.get_ref().0),
                None | Some(Fault::Error | Fault::Proxy | Fault::Truncated) => {}
            }
            let close = last || count == REQUESTS_MAX || served.answer.closes();
            let sent = self.reply(&mut stream, served, gzip, close).await;
            if close || sent.is_err() {
                // The other side learns of the end by TLS's own word for it, when it still listens.
                if let Err(error) = tokio::io::AsyncWriteExt::shutdown(&mut stream).await {
                    tracing::trace!(%error, "a client was gone before it was told so");
                }
                return;
            }
        }
    }

    async fn reply(
        &self,
        stream: &mut (impl AsyncWrite + Unpin),
        served: Served,
        gzip: bool,
        close: bool,
    ) -> std::io::Result<()> {
        let Served { answer, call, fault } = served;
        let api = self.api();
        let slow =
            if let Api::Slow(millis) = api { Duration::from_millis(millis.into()) } else { Duration::ZERO };
        self.shared.sleep(answer.delay.max(slow)).await;
        let status = answer.status;
        let garbage = api == Api::Garbage && status < 400;
        let answer =
            if garbage { Answer { body: Some("<html>it works</html".into()), ..answer } } else { answer };
        let now = self.shared.now().unwrap_or_else(Timestamp::now);
        let payload = Payload::of(&answer, gzip);
        let head = wire::head(&answer, &payload, now, close);
        let body = payload.bytes();
        let cut = fault == Some(Fault::Truncated) || (api == Api::Truncated && status < 400);
        let body = if cut { &body[..body.len() / 2] } else { body };
        // Counted before the last byte leaves: who has read an answer finds it in the counts.
        self.shared.counter().answered(&self.node, &call, status, (head.len() + body.len()) as u64);
        wire::send(stream, &head, body).await?;
        if cut { Err(std::io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    fn idle(&self) -> Duration {
        self.shared.real(IDLE).max(IDLE_LEAST)
    }

    /// What speaks plain HTTP is sent to https, whatever it asked for.
    async fn send_to_tls(&self, mut stream: TcpStream) {
        let read = wire::read(&mut stream, &mut Vec::new(), self.idle()).await;
        let Incoming::Request(request) = read else { return };
        let host = request.header("host").unwrap_or("localhost");
        let to = ("Location".to_owned(), format!("https://{host}{}", request.target));
        let answer = Answer {
            recorded: vec![to],
            ..Answer::text(301, "Moved Permanently", "Moved Permanently".into())
        };
        let head = wire::head(&answer, &Payload::of(&answer, false), Timestamp::now(), true);
        if let Err(error) = wire::send(&mut stream, &head, b"Moved Permanently").await {
            tracing::trace!(%error, "a plain client did not wait for its answer");
        }
    }

    fn sign(&self) -> Option<Sign> {
        self.shared.sign(&self.node).map(|sign| *sign.borrow())
    }

    fn api(&self) -> Api {
        self.sign().map_or(Api::Up, |sign| sign.api)
    }

    async fn wait_while(&self, api: Api) {
        if let Some(mut sign) = self.shared.sign(&self.node) {
            // An error means that the server is gone, and so is the wait.
            sign.wait_for(|sign| sign.api != api).await.map(drop).unwrap_or_default();
        }
    }
}

/// The first byte of a TLS connection.
const TLS_HANDSHAKE: u8 = 0x16;

/// The next connection; binds the port first if it was given up.
async fn accept(listener: &mut Option<TcpListener>, address: SocketAddr) -> Option<TcpStream> {
    let listening = match listener {
        Some(listening) => listening,
        None => match super::bind(address) {
            Ok(bound) => listener.insert(bound),
            Err(error) => {
                tracing::debug!(%error, "a node that is back cannot listen yet");
                tokio::time::sleep(BIND_AGAIN).await;
                return None;
            }
        },
    };
    listening.accept().await.ok().map(|(stream, _)| stream)
}

/// Says nothing until the client gives up.
async fn hold(mut stream: impl AsyncRead + Unpin) {
    let mut rest = [0; 256];
    let gone = async { while matches!(stream.read(&mut rest).await, Ok(1..)) {} };
    if tokio::time::timeout(SILENCE, gone).await.is_err() {
        tracing::debug!("a client waited longer for nothing than any should");
    }
}

/// Ends a connection with a reset, not a farewell.
fn reset(stream: &TcpStream) {
    if let Err(error) = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)) {
        tracing::debug!(%error, "a connection ends politely that should not");
    }
}
