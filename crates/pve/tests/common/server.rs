//! A TLS server on loopback that does to its clients what it is told to, request by request.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use pve::Fingerprint;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// What to do with one request, once it has been read whole.
#[derive(Clone)]
pub(crate) enum Play {
    /// Sends these bytes, and waits for the next request on the same connection.
    Keep(Vec<u8>),
    /// Sends these bytes and closes properly.
    Close(Vec<u8>),
    /// Sends a head, then a piece again and again until so many bytes are sent or the client goes away.
    Flood { head: Vec<u8>, piece: Vec<u8>, bytes: u64 },
    /// Sends these bytes and ends the connection without TLS's farewell, as PVE does.
    Cut(Vec<u8>),
    /// Closes properly without a word.
    Silence,
    /// Breaks the connection off (RST).
    Reset,
    /// Sends these bytes and then nothing any more; keeps the connection.
    Hang(Vec<u8>),
    /// Answers with these bytes when told to.
    Later(Arc<Notify>, Vec<u8>),
}

/// A request as it came: on which connection, and all its text.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) connection: usize,
    pub(crate) text: String,
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    flooded: Arc<Mutex<u64>>,
    arrivals: mpsc::Receiver<()>,
}

impl Server {
    /// Plays once from front to back, whatever connection a request comes by; after that it closes.
    pub(crate) async fn start(identity: &Identity, plays: Vec<Play>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (arrived, arrivals) = mpsc::channel(64);
        let shared = Shared {
            plays: Arc::new(Mutex::new(plays.into())),
            seen: Arc::default(),
            flooded: Arc::default(),
            arrived,
        };
        let (seen, flooded) = (Arc::clone(&shared.seen), Arc::clone(&shared.flooded));
        let acceptor = identity.acceptor();
        tokio::spawn(async move {
            let mut connection = 0;
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, shared) = (acceptor.clone(), shared.clone());
                tokio::spawn(async move {
                    // A client that does not trust us breaks off here.
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serve(stream, connection, shared).await.ok();
                    }
                });
                connection += 1;
            }
        });
        Server { address, seen, flooded, arrivals }
    }

    /// The next request has been read.
    pub(crate) async fn arrival(&mut self) {
        self.arrivals.recv().await.unwrap();
    }

    /// Whether a request was read that nobody has waited for.
    pub(crate) fn has_arrival(&mut self) -> bool {
        self.arrivals.try_recv().is_ok()
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// How many bytes of a flood the client took, or its socket's buffers.
    pub(crate) fn flooded(&self) -> u64 {
        *self.flooded.lock().unwrap()
    }
}

#[derive(Clone)]
struct Shared {
    plays: Arc<Mutex<VecDeque<Play>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
    flooded: Arc<Mutex<u64>>,
    arrived: mpsc::Sender<()>,
}

async fn serve(mut stream: TlsStream<TcpStream>, connection: usize, shared: Shared) -> io::Result<()> {
    while let Some(text) = request(&mut stream).await? {
        shared.seen.lock().unwrap().push(Seen { connection, text });
        shared.arrived.try_send(()).ok();
        let play = shared.plays.lock().unwrap().pop_front().unwrap_or(Play::Silence);
        match play {
            Play::Keep(bytes) => stream.write_all(&bytes).await?,
            Play::Close(bytes) => {
                stream.write_all(&bytes).await?;
                return stream.shutdown().await;
            }
            Play::Flood { head, piece, bytes } => {
                stream.write_all(&head).await?;
                let mut left = bytes;
                while left > 0 {
                    let part = &piece[..piece.len().min(usize::try_from(left).unwrap())];
                    stream.write_all(part).await?;
                    stream.flush().await?;
                    left -= part.len() as u64;
                    *shared.flooded.lock().unwrap() += part.len() as u64;
                }
                return stream.shutdown().await;
            }
            Play::Cut(bytes) => {
                stream.write_all(&bytes).await?;
                stream.flush().await?;
                return stream.get_mut().0.shutdown().await;
            }
            Play::Silence => return stream.shutdown().await,
            Play::Reset => return stream.get_ref().0.set_zero_linger(),
            Play::Hang(bytes) => {
                stream.write_all(&bytes).await?;
                stream.flush().await?;
                // Until the client goes away.
                stream.read_u8().await?;
            }
            Play::Later(when, bytes) => {
                when.notified().await;
                stream.write_all(&bytes).await?;
            }
        }
        stream.flush().await?;
    }
    Ok(())
}

/// Head and body of one request; `None` at the end of the connection.
async fn request(stream: &mut TlsStream<TcpStream>) -> io::Result<Option<String>> {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => text.push(byte),
            Err(_) if text.is_empty() => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    let head = String::from_utf8_lossy(&text).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).await?;
    text.extend(body);
    Ok(Some(String::from_utf8_lossy(&text).into_owned()))
}

/// A certificate with its key, and the CA that vouches for it.
pub(crate) struct Identity {
    pub(crate) ca_pem: String,
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    /// For the address that the tests use.
    pub(crate) fn new() -> Identity {
        Identity::with(|params| params.not_after = date_time_ymd(2200, 1, 1), "127.0.0.1")
    }

    pub(crate) fn for_name(name: &str) -> Identity {
        Identity::with(|params| params.not_after = date_time_ymd(2200, 1, 1), name)
    }

    pub(crate) fn expired() -> Identity {
        Identity::with(|params| params.not_after = date_time_ymd(2001, 1, 1), "127.0.0.1")
    }

    fn with(change: impl FnOnce(&mut CertificateParams), name: &str) -> Identity {
        let mut ca = CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_key = KeyPair::generate().unwrap();
        let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
        let mut leaf = CertificateParams::new(vec![name.to_owned()]).unwrap();
        leaf.not_before = date_time_ymd(2000, 1, 1);
        change(&mut leaf);
        let key = KeyPair::generate().unwrap();
        let certificate = leaf.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
        let certificate = certificate.der().clone();
        Identity { ca_pem, certificate, key: PrivatePkcs8KeyDer::from(key.serialize_der()).into() }
    }

    /// Somebody who has our certificate, which everybody may have, but not our key.
    pub(crate) fn stolen_from(other: &Identity) -> Identity {
        let Identity { ca_pem, certificate, .. } = other;
        Identity { ca_pem: ca_pem.clone(), certificate: certificate.clone(), key: Identity::new().key }
    }

    pub(crate) fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.certificate)
    }

    fn acceptor(&self) -> TlsAcceptor {
        let key = ring::sign::any_supported_type(&self.key).unwrap();
        // Unlike the usual way, this does not check that certificate and key belong together.
        let certified = Arc::new(CertifiedKey::new(vec![self.certificate.clone()], key));
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Always(certified)));
        TlsAcceptor::from(Arc::new(config))
    }
}

#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesServerCert for Always {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}
