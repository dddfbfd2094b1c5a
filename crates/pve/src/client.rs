//! Client: one endpoint, one token, and a limit on everything that could grow or last.
//!
//! It asks once and reports; failing over to another endpoint, backing off and repeating are the caller's. The one
//! exception is a question (GET) whose connection was closed before any answer: PVE closes kept connections when it
//! likes, so that is asked once more. An action (POST) is never repeated.
//!
//! PVE answers calls that run in pvedaemon with both `Connection: close` and `Connection: Keep-Alive`. The HTTP
//! library obeys the first, so each of these costs a TLS handshake (about 3 ms of the node's CPU; docs/adr/0009). Calls
//! answered by pveproxy itself reuse their connection.

use std::collections::HashMap;
use std::fmt;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use flate2::read::GzDecoder;
use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Response, Url};
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::answer::{Understood, blot_out, malformed, understand};
use crate::error::{Asked, Error, Obstacle, Step};
use crate::ids::NodeName;
use crate::tls::{self, Trust};
use crate::token::{Token, TokenError};

/// Where to ask: `https://pve1.lab:8006`, and whom to take for it.
#[derive(Clone)]
pub struct Endpoint {
    url: Url,
    trust: Trust,
    label: Box<str>,
}

/// Why a text is no endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    #[error("`{0}` is not an address like https://pve1.lab:8006")]
    NotAUrl(Box<str>),
    #[error("an endpoint must begin with https://, because the token travels with every request")]
    NotHttps,
    #[error("an endpoint holds no user name or password; who we are is told by the token")]
    Credentials,
    #[error("an endpoint is only https://, a name and a port; leave out what follows")]
    MoreThanAHost,
}

impl Endpoint {
    pub fn new(url: &str, trust: Trust) -> Result<Endpoint, EndpointError> {
        let not_a_url = || EndpointError::NotAUrl(crate::answer::excerpt(url.as_bytes(), 100));
        let url = Url::parse(url).map_err(|_| not_a_url())?;
        if url.scheme() != "https" {
            return Err(EndpointError::NotHttps);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(EndpointError::Credentials);
        }
        if !["", "/"].contains(&url.path()) || url.query().is_some() || url.fragment().is_some() {
            return Err(EndpointError::MoreThanAHost);
        }
        let host = url.host_str().ok_or_else(not_a_url)?;
        let label = format!("{host}:{}", url.port_or_known_default().unwrap_or(443)).into();
        Ok(Endpoint { url, trust, label })
    }

    /// `pve1.lab:8006`: how errors and logs call it.
    pub fn label(&self) -> &str {
        &self.label
    }

    pub fn trust(&self) -> &Trust {
        &self.trust
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("url", &self.url.as_str()).field("trust", &self.trust).finish()
    }
}

/// What a client may use up. Every field has an argument for its default.
///
/// The two patiences count from when a request is sent; waiting for a seat may take as long again.
#[derive(Clone, Debug)]
pub struct Limits {
    /// TCP and TLS together. A handshake takes 3 to 10 ms; a host that is down says nothing at all, and the caller
    /// wants to ask the next endpoint within the same ten-second round.
    pub connect: Duration,
    /// For what the contacted node answers from memory (2 to 5 ms). Longer than the 3 s that PVE waits before a 401
    /// and when its cluster file system is down; not longer than a round of polling.
    pub cheap: Duration,
    /// For what another process or node has to answer. PVE gives up on those after 30 s with 596; five more let us
    /// see that answer instead of guessing, and keep a seat for as long as the server may still be at work.
    pub forwarded: Duration,
    /// Largest answer, in bytes. 10,000 guests are 4.4 MB; this leaves room for fifteen times that.
    pub body: u64,
    /// Largest journal, in bytes, packed or unpacked: some 30,000 lines. A node that writes more than that in the few
    /// seconds that are asked about drowns whatever is looked for.
    pub journal: u64,
    /// How long an idle connection is kept. PVE closes after 5.0 s; whoever reuses later than that races with it.
    pub pool_idle: Duration,
    /// Requests at a time to one node. It has three single-threaded workers, which also serve people's browsers; a
    /// request whose caller went away keeps its worker busy to its end.
    pub in_flight_per_node: usize,
}

const MIB: u64 = 1024 * 1024;

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connect: Duration::from_secs(5),
            cheap: Duration::from_secs(10),
            forwarded: Duration::from_secs(35),
            body: 64 * MIB,
            journal: 4 * MIB,
            pool_idle: Duration::from_secs(4),
            in_flight_per_node: 2,
        }
    }
}

/// Of a refusal only a sentence is needed; what is longer than this is none of PVE's.
const REFUSAL_BODY_MAX: u64 = 64 * 1024;
/// Parsing takes 3 to 4 ms per MB; more than that would make other tasks of the thread wait.
const PARSE_INLINE_MAX: usize = 1024 * 1024;
/// What a stated length may reserve before a byte has come.
const RESERVE_MAX: u64 = MIB;
/// Semaphores kept; a cluster has at most some dozens of nodes.
const SEATS_MAX: usize = 1024;

/// Why a client could not be made. None of these comes back at run time.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("the CA certificate cannot be used: {0}")]
    Ca(Box<str>),
    #[error("this system has no root certificates; install ca-certificates, or name a CA or a fingerprint")]
    NoSystemRoots,
    #[error("TLS cannot be set up: {0}")]
    Tls(Box<str>),
    #[error("the token cannot be sent")]
    Token(#[source] TokenError),
    #[error("the HTTP client cannot be set up")]
    Http(#[source] reqwest::Error),
}

/// Speaks to one endpoint. Cheap to clone; clones share connections and seats.
///
/// Dropping a call's future gives up on the answer, not on the work: PVE ends what it has begun.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    endpoint: Arc<Endpoint>,
    token: Arc<Token>,
    authorization: HeaderValue,
    limits: Arc<Limits>,
    /// Shorter than the limits', where the caller cannot wait so long.
    within: Option<Duration>,
    seats: Arc<Seats>,
}

impl Client {
    /// The first client of a cluster. For the cluster's other endpoints use [`Client::beside`], so that all of them
    /// together keep the limit per node.
    ///
    /// Reads the system's roots from disk if those are to be trusted; call it at start, not between requests.
    pub fn new(endpoint: Endpoint, token: Token, limits: Limits) -> Result<Client, BuildError> {
        let seats = Arc::new(Seats::new(limits.in_flight_per_node));
        Client::build(endpoint, Arc::new(token), Arc::new(limits), seats)
    }

    /// A client for another endpoint of the same cluster: same token, same limits, shared seats.
    pub fn beside(&self, endpoint: Endpoint) -> Result<Client, BuildError> {
        Client::build(endpoint, Arc::clone(&self.token), Arc::clone(&self.limits), Arc::clone(&self.seats))
    }

    fn build(
        endpoint: Endpoint,
        token: Arc<Token>,
        limits: Arc<Limits>,
        seats: Arc<Seats>,
    ) -> Result<Client, BuildError> {
        if matches!(endpoint.trust, Trust::Insecure) {
            tracing::warn!(
                endpoint = endpoint.label(),
                "the certificate is not checked: whoever answers at this address gets the token"
            );
        }
        let authorization = token.header().map_err(BuildError::Token)?;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls::client_config(&endpoint.trust)?)
            .https_only(true)
            .http1_only()
            // The token must not travel to anywhere else.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .referer(false)
            // Whether to repeat is decided below, where actions and questions are told apart.
            .retry(reqwest::retry::never())
            .connect_timeout(limits.connect)
            .pool_idle_timeout(limits.pool_idle)
            .pool_max_idle_per_host(limits.in_flight_per_node)
            .tcp_nodelay(true)
            .user_agent(concat!("jarvis/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(BuildError::Http)?;
        let within = None;
        Ok(Client { http, endpoint: Arc::new(endpoint), token, authorization, limits, within, seats })
    }

    /// The same client, which gives up on an answer after `within` in all, waiting for a seat included. What it gave
    /// up on keeps its seat until the server has answered or would have given up itself ([`Limits::forwarded`]), so
    /// that impatience never makes more than [`Limits::in_flight_per_node`] calls run on a node.
    pub fn within(&self, within: Duration) -> Client {
        Client { within: Some(within), ..self.clone() }
    }

    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// `user@realm!name`, to know our own tasks ([`crate::Upid::authid`]).
    pub fn token_id(&self) -> &str {
        self.token.id()
    }

    /// Asks, waits, reads. One request at a time per seat; the seat is held until the answer was read, or until the
    /// server has given up too: whoever drops this future, or waits only a while, leaves the seat taken.
    pub(crate) async fn ask<T>(&self, question: Question<'_>) -> Result<Understood<T>, Error>
    where
        T: DeserializeOwned + Send + 'static,
    {
        let patience = match question.patience {
            Patience::Cheap => self.limits.cheap,
            Patience::Forwarded => self.limits.forwarded,
        };
        let within = self.within.map_or(patience, |within| within.min(patience));
        let came = Instant::now();
        let asked = Asked { call: question.call().into(), endpoint: self.endpoint.label.clone() };
        let seat = self.sit_down(&asked, question.node, within).await?;
        // Without a shorter patience of the caller's own, waiting for the answer may take as long as for the seat.
        let until = self.within.map(|_| came + within);
        let shape = question.shape;
        let request = Request {
            method: question.method.clone(),
            url: self.url(&question),
            form: self.encoded(&question).filter(|_| question.method != Method::GET),
            shape,
        };
        let work = {
            let (client, asked) = (self.clone(), asked.clone());
            async move {
                let began = Instant::now();
                let outcome = client.exchange(&asked, &request, patience).await;
                drop(seat);
                let took_ms = began.elapsed().as_millis();
                match &outcome {
                    Ok(raw) => {
                        tracing::debug!(%asked, status = raw.status, bytes = raw.body.len(), took_ms, "answered");
                    }
                    Err(error) => tracing::debug!(%asked, %error, took_ms, "not answered"),
                }
                outcome
            }
        };
        let work = tokio::spawn(work);
        let ended = match until {
            Some(until) => timeout_at(until, work).await,
            None => Ok(work.await),
        };
        match ended {
            Ok(Ok(outcome)) => self.read(asked, outcome?, shape).await,
            Ok(Err(failure)) => not_run(failure).await,
            Err(_elapsed) => {
                Err(Error::TimedOut { asked: Box::new(asked), step: Step::Waiting, after: within })
            }
        }
    }

    /// A limit per target node, whichever endpoint forwards. Cluster-wide calls run on the contacted node, whose
    /// name we do not know; they count for the endpoint.
    async fn sit_down(
        &self,
        asked: &Asked,
        node: Option<&NodeName>,
        patience: Duration,
    ) -> Result<OwnedSemaphorePermit, Error> {
        let seats = match node {
            Some(node) => self.seats.at(&format!("node/{node}")),
            None => self.seats.at(self.endpoint.label()),
        };
        let timed_out =
            || Error::TimedOut { asked: Box::new(asked.clone()), step: Step::Queued, after: patience };
        match tokio::time::timeout(patience, seats.acquire_owned()).await {
            Ok(Ok(seat)) => Ok(seat),
            // Nobody closes these semaphores; if somebody did, no seat would ever come.
            Ok(Err(_closed)) => Err(timed_out()),
            Err(_elapsed) => Err(timed_out()),
        }
    }

    async fn exchange(&self, asked: &Asked, request: &Request, patience: Duration) -> Result<Raw, Error> {
        let deadline = Instant::now() + patience;
        let too_late = |step| Error::TimedOut { asked: Box::new(asked.clone()), step, after: patience };
        let mut repeats_left = u32::from(request.method == Method::GET);
        let response = loop {
            match timeout_at(deadline, self.send(request)).await {
                Ok(Ok(response)) => break response,
                Ok(Err(error)) => {
                    let error = self.why_unanswered(asked, error);
                    // A kept connection that PVE closed as we wrote to it. Whether it was a kept one is not to be
                    // seen from here; asking twice on a fresh one harms nobody.
                    let closed = matches!(
                        error,
                        Error::Unreachable { step: Step::Waiting, obstacle: Obstacle::Closed, .. }
                    );
                    if !closed || repeats_left == 0 {
                        return Err(error);
                    }
                    repeats_left -= 1;
                }
                Err(_elapsed) => return Err(too_late(Step::Waiting)),
            }
        };
        let status = response.status().as_u16();
        let reason = reason_of(&response);
        let is_answer = response.status().is_success();
        let coding = coding_of(&response);
        if is_answer && (coding == Coding::Other || (coding == Coding::Gzip && request.shape == Shape::Plain))
        {
            let why = "it is compressed, which was not asked for";
            return Err(malformed(asked, "its headers", why, &[]));
        }
        let gzip = is_answer && coding == Coding::Gzip;
        let limit = match (is_answer, request.shape) {
            (true, Shape::Plain) => self.limits.body,
            (true, Shape::Journal) => self.limits.journal,
            (false, Shape::Plain | Shape::Journal) => REFUSAL_BODY_MAX,
        };
        let body = match timeout_at(deadline, read_body(response, limit, gzip)).await {
            Ok(Ok(body)) => body,
            // The status line of a refusal says enough.
            Ok(Err(_)) | Err(_) if !is_answer => Vec::new(),
            Ok(Err(BodyError::TooLarge { seen })) => {
                return Err(Error::TooLarge { asked: Box::new(asked.clone()), limit, seen });
            }
            Ok(Err(BodyError::Broken(source))) => return Err(unreachable(asked, Step::Reading, source)),
            Err(_elapsed) => return Err(too_late(Step::Reading)),
        };
        Ok(Raw { status, reason, body, gzip })
    }

    async fn send(&self, request: &Request) -> Result<Response, reqwest::Error> {
        let builder = self.http.request(request.method.clone(), request.url.clone());
        let builder = match &request.form {
            _ if request.method == Method::GET => builder,
            Some(form) => {
                builder.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form.clone())
            }
            // Without a body the library would leave the length open, which a proxy may refuse (411).
            None => builder.header(CONTENT_LENGTH, "0"),
        };
        builder.header(AUTHORIZATION, self.authorization.clone()).send().await
    }

    fn url(&self, question: &Question<'_>) -> Url {
        let mut url = self.endpoint.url.clone();
        // `extend` escapes whatever could leave its segment, so that a path cannot be forged.
        if let Ok(mut path) = url.path_segments_mut() {
            path.clear().extend(["api2", "json"]).extend(question.path);
        }
        if question.method == Method::GET {
            // PVE refuses a body on GET with 501.
            url.set_query(self.encoded(question).as_deref());
        }
        url
    }

    fn encoded(&self, question: &Question<'_>) -> Option<String> {
        if question.parameters.is_empty() {
            return None;
        }
        let mut scratch = self.endpoint.url.clone();
        scratch.query_pairs_mut().extend_pairs(&question.parameters);
        scratch.query().map(str::to_owned)
    }

    fn why_unanswered(&self, asked: &Asked, error: reqwest::Error) -> Error {
        let step = if error.is_connect() { Step::Connecting } else { Step::Waiting };
        if let Some((presented, why)) = tls::distrust_in(&error) {
            let why = crate::answer::excerpt(why.as_bytes(), 300);
            return Error::Untrusted { asked: Box::new(asked.clone()), presented, why };
        }
        unreachable(asked, step, error)
    }

    /// Decodes and parses where it does not make others wait.
    async fn read<T>(&self, asked: Asked, raw: Raw, shape: Shape) -> Result<Understood<T>, Error>
    where
        T: DeserializeOwned + Send + 'static,
    {
        let token = Arc::clone(&self.token);
        // What a few compressed bytes become is not to be seen beforehand.
        let big = raw.gzip || raw.body.len() > PARSE_INLINE_MAX;
        let limit = self.limits.journal;
        let work = move || {
            let Raw { status, reason, mut body, gzip } = raw;
            if gzip {
                body = match unpacked(&asked, &body, limit) {
                    Ok(body) => body,
                    Err(error) => return (Err(error), asked),
                };
            }
            if shape == Shape::Journal && body.is_empty() && (200..300).contains(&status) {
                body = NOTHING.to_vec();
            }
            let mut reason = reason.into_bytes();
            let secret = token.secret().expose().as_bytes();
            blot_out(&mut reason, secret);
            blot_out(&mut body, secret);
            let answer = understand(&asked, status, &String::from_utf8_lossy(&reason), &body);
            (answer, asked)
        };
        if !big {
            return work().0;
        }
        match tokio::task::spawn_blocking(work).await {
            Ok((answer, _asked)) => answer,
            Err(failure) => not_run(failure).await,
        }
    }
}

/// A panic goes on in the caller; a runtime that stops answers nobody any more.
async fn not_run<T>(failure: tokio::task::JoinError) -> T {
    match failure.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_stopping) => std::future::pending().await,
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("endpoint", &self.endpoint).field("token", &self.token).finish()
    }
}

/// How long to wait.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Patience {
    /// The contacted node answers from memory.
    Cheap,
    /// Another process or node has to answer.
    Forwarded,
}

/// One request, before it is bound to an endpoint.
pub(crate) struct Question<'a> {
    pub(crate) method: Method,
    /// Segments after `/api2/json`, unescaped.
    pub(crate) path: &'a [&'a str],
    pub(crate) parameters: Vec<(&'static str, String)>,
    /// The node that has to do the work, if not the contacted one.
    pub(crate) node: Option<&'a NodeName>,
    pub(crate) patience: Patience,
    pub(crate) shape: Shape,
}

/// What the answer looks like before it is JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// As it is.
    Plain,
    /// As PVE sends a journal: compressed whether asked or not, without a length, ended by the end of the connection,
    /// and with nothing in it where the journal's reader failed.
    Journal,
}

/// A question bound to an endpoint, which may outlive whoever asked.
struct Request {
    method: Method,
    url: Url,
    form: Option<String>,
    shape: Shape,
}

/// What an empty journal stands for.
const NOTHING: &[u8] = br#"{"data":null}"#;

impl Question<'_> {
    fn call(&self) -> String {
        format!("{} /{}", self.method, self.path.join("/"))
    }
}

struct Raw {
    status: u16,
    reason: String,
    body: Vec<u8>,
    /// The body is compressed still.
    gzip: bool,
}

enum BodyError {
    TooLarge { seen: u64 },
    Broken(reqwest::Error),
}

/// Reads chunk by chunk, so that no more than the limit and one chunk (the library's buffer, at most 400 kB) is ever
/// held.
///
/// PVE ends a connection without TLS's own farewell, which the TLS library takes for an answer that was cut off. One
/// that is `sealed` tells by itself whether it is whole: gzip ends with a length and a checksum.
async fn read_body(mut response: Response, limit: u64, sealed: bool) -> Result<Vec<u8>, BodyError> {
    let announced = response.content_length().unwrap_or(0);
    if announced > limit {
        return Err(BodyError::TooLarge { seen: announced });
    }
    let mut body = Vec::with_capacity(usize::try_from(announced.min(RESERVE_MAX)).unwrap_or(0));
    loop {
        let chunk = match response.chunk().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => return Ok(body),
            Err(error) if sealed && obstacle_in(&error) == Obstacle::Closed => return Ok(body),
            Err(error) => return Err(BodyError::Broken(error)),
        };
        let seen = (body.len() + chunk.len()) as u64;
        if seen > limit {
            return Err(BodyError::TooLarge { seen });
        }
        body.extend_from_slice(&chunk);
    }
}

/// What gzip packed, if it is whole and at most `limit` bytes: a thousand bytes can become a million.
fn unpacked(asked: &Asked, packed: &[u8], limit: u64) -> Result<Vec<u8>, Error> {
    if packed.is_empty() {
        return Ok(Vec::new());
    }
    let mut plain = Vec::new();
    match GzDecoder::new(packed).take(limit + 1).read_to_end(&mut plain) {
        Ok(_) if plain.len() as u64 > limit => {
            Err(Error::TooLarge { asked: Box::new(asked.clone()), limit, seen: plain.len() as u64 })
        }
        Ok(_) => Ok(plain),
        Err(error) => Err(malformed(asked, "its compression", &error.to_string(), &plain)),
    }
}

/// The HTTP library keeps a reason phrase only if it is not the standard one for its status, and drops one that is
/// not ASCII.
fn reason_of(response: &Response) -> String {
    match response.extensions().get::<hyper::ext::ReasonPhrase>() {
        Some(reason) => String::from_utf8_lossy(reason.as_bytes()).into_owned(),
        None => response.status().canonical_reason().unwrap_or_default().to_owned(),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Coding {
    None,
    Gzip,
    Other,
}

fn coding_of(response: &Response) -> Coding {
    match response.headers().get(CONTENT_ENCODING).map(|coding| coding.as_bytes().to_ascii_lowercase()) {
        None => Coding::None,
        Some(coding) if coding == b"identity" => Coding::None,
        Some(coding) if coding == b"gzip" || coding == b"x-gzip" => Coding::Gzip,
        Some(_) => Coding::Other,
    }
}

fn unreachable(asked: &Asked, step: Step, source: reqwest::Error) -> Error {
    let obstacle = obstacle_in(&source);
    // The address is in `asked`.
    Error::Unreachable { asked: Box::new(asked.clone()), step, obstacle, source: source.without_url() }
}

fn obstacle_in(error: &reqwest::Error) -> Obstacle {
    use std::io::ErrorKind;
    if error.is_timeout() {
        return Obstacle::NoAnswer;
    }
    for cause in tls::each_cause(error) {
        if let Some(error) = cause.downcast_ref::<hyper::Error>()
            && (error.is_incomplete_message() || error.is_canceled() || error.is_closed())
        {
            return Obstacle::Closed;
        }
        if let Some(error) = cause.downcast_ref::<std::io::Error>() {
            let closed = [
                ErrorKind::ConnectionReset,
                ErrorKind::ConnectionAborted,
                ErrorKind::BrokenPipe,
                ErrorKind::NotConnected,
                ErrorKind::UnexpectedEof,
            ];
            let no_route = [ErrorKind::HostUnreachable, ErrorKind::NetworkUnreachable];
            let kind = error.kind();
            if kind == ErrorKind::ConnectionRefused {
                return Obstacle::Refused;
            } else if kind == ErrorKind::TimedOut {
                return Obstacle::NoAnswer;
            } else if no_route.contains(&kind) {
                return Obstacle::NoRoute;
            } else if closed.contains(&kind) {
                return Obstacle::Closed;
            }
        }
        // The resolver's error has no type of its own.
        if cause.to_string().starts_with("dns error") {
            return Obstacle::NoAddress;
        }
    }
    Obstacle::Other
}

/// Who may ask a node at the same time, shared by all clients of a cluster.
struct Seats {
    per_node: usize,
    taken: Mutex<HashMap<Box<str>, Arc<Semaphore>>>,
}

impl Seats {
    fn new(per_node: usize) -> Seats {
        // Without a seat nothing could ever be asked.
        Seats { per_node: per_node.max(1), taken: Mutex::new(HashMap::new()) }
    }

    fn at(&self, place: &str) -> Arc<Semaphore> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seats) = taken.get(place) {
            return Arc::clone(seats);
        }
        if taken.len() >= SEATS_MAX {
            // Those that only the map holds are free.
            taken.retain(|_, seats| Arc::strong_count(seats) > 1);
        }
        let seats = Arc::new(Semaphore::new(self.per_node));
        taken.insert(place.into(), Arc::clone(&seats));
        seats
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_scheme_a_host_and_a_port() {
        let label =
            |url: &str| Endpoint::new(url, Trust::Insecure).map(|endpoint| endpoint.label().to_owned());
        let good = |label: &str| Ok(label.to_owned());
        #[rustfmt::skip]
        let table = [
            ("a name and a port", "https://pve1.lab:8006", good("pve1.lab:8006")),
            ("a slash at the end", "https://pve1.lab:8006/", good("pve1.lab:8006")),
            ("a proxy in front", "https://pve.example", good("pve.example:443")),
            ("an address", "https://192.0.2.11:8006", good("192.0.2.11:8006")),
            ("an address of version 6", "https://[2001:db8::1]:8006", good("[2001:db8::1]:8006")),
            ("no encryption", "http://pve1.lab:8006", Err(EndpointError::NotHttps)),
            ("no scheme", "pve1.lab:8006", Err(EndpointError::NotHttps)),
            ("only a name", "pve1", Err(EndpointError::NotAUrl("pve1".into()))),
            ("a password", "https://root:x@pve1:8006", Err(EndpointError::Credentials)),
            ("a path", "https://pve1:8006/api2/json", Err(EndpointError::MoreThanAHost)),
            ("a question", "https://pve1:8006?x=1", Err(EndpointError::MoreThanAHost)),
        ];
        for (name, url, expected) in table {
            assert_eq!(label(url), expected, "{name}");
        }
    }

    #[test]
    fn seats_do_not_pile_up() {
        let seats = Seats::new(2);
        let held = seats.at("node/held");
        for number in 0..(3 * SEATS_MAX) {
            seats.at(&format!("node/n{number}"));
        }
        assert!(seats.taken.lock().unwrap().len() <= SEATS_MAX);
        assert!(Arc::ptr_eq(&held, &seats.at("node/held")), "a seat in use is never handed out twice");
    }
}
