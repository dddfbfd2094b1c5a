//! The command line's client: one daemon, one token, one question at a time.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use jiff::Timestamp;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, RequestBuilder, StatusCode, Url};
use rustls::ClientConfig;
use serde_json::Value;

use super::{Reach, table, tls, who};
use crate::config::{self, Secret};
use crate::key;
use crate::report::{Call, SEAL_HEADER, prove};

/// Longest wait for an answer: the daemon itself gives up on a call after 15 s.
const WITHIN: Duration = Duration::from_secs(20);
/// Largest answer, in bytes: a thousand events with all their details.
const BODY_MAX: usize = 80 * 1024 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// Start it, or say where it is.
    #[error("the daemon at {url} does not answer: {why}")]
    Unreachable { url: String, why: String },
    /// Do as it says.
    #[error("refused: {0}")]
    Refused(String),
    /// Make the store fit to be written, and do it again.
    #[error("{0}")]
    Unstored(String),
    /// Look whether the address is the daemon's.
    #[error("{url} answers what no jarvis does: {what}")]
    Foreign { url: String, what: String },
    /// Look what is wrong with this machine.
    #[error("who asks could not be proved: {0}")]
    Unproved(String),
}

/// How a person shows who they are.
enum Shows {
    Token(Secret),
    /// The key beside the store, from which each call has a proof of its own, and under that name.
    Key {
        key: [u8; 32],
        /// Where it lies, for people.
        file: PathBuf,
        name: String,
    },
}

/// A daemon, as one person sees it.
pub(super) struct Client {
    url: Url,
    shows: Shows,
    trust: tls::Trust,
    http: reqwest::Client,
}

impl Client {
    pub(super) fn new(reach: &Reach) -> anyhow::Result<Client> {
        let given = match &reach.token_file {
            Some(file) => Some(config::token_from_file(file).map_err(anyhow::Error::msg)?),
            None => config::token_from_environment(),
        };
        let mut own = None;
        let (url, shows) = match &reach.url {
            Some(url) => {
                let token =
                    given.context("--url wants a token: JARVIS_TOKEN in the environment, or --token-file")?;
                (address(url)?, Shows::Token(token))
            }
            None => {
                let found = config::reach(&reach.config)?;
                let shows = match given {
                    Some(token) => Shows::Token(token),
                    None => {
                        let (key, file) = own_key(&found.store)?;
                        Shows::Key { key, file, name: who::name() }
                    }
                };
                let scheme = if found.tls_cert.is_some() { "https" } else { "http" };
                own = found.tls_cert;
                (Url::parse(&format!("{scheme}://{}", reachable(found.listen)))?, shows)
            }
        };
        let (config, trust) = tls::config(reach, own.as_deref())?;
        Ok(Client { url, shows, trust, http: http(config)? })
    }

    pub(super) async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.ask(Method::GET, path, None).await
    }

    pub(super) async fn put(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.ask(Method::PUT, path, Some(body)).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.ask(Method::POST, path, Some(body)).await
    }

    pub(super) async fn delete(&self, path: &str) -> Result<Value, Failure> {
        self.ask(Method::DELETE, path, None).await
    }

    /// How Jarvis is; that it is not well is an answer too. Anybody may ask, so nothing is shown and nothing is sealed.
    pub(super) async fn health(&self) -> Result<Value, Failure> {
        let Ok(url) = self.url.join("/api/health") else { return Err(self.foreign("no path")) };
        let (status, _, bytes) = self.send(self.http.get(url)).await?;
        match serde_json::from_slice(&bytes) {
            Ok(value) if status.is_success() || status == StatusCode::SERVICE_UNAVAILABLE => Ok(value),
            Ok(_) | Err(_) => Err(self.foreign(status.as_str())),
        }
    }

    /// What an answer is, as it came.
    pub(super) async fn get_bytes(&self, path: &str) -> Result<Vec<u8>, Failure> {
        self.ask_bytes(Method::GET, path, None).await
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let bytes = self.ask_bytes(method, path, body).await?;
        serde_json::from_slice(&bytes).map_err(|_| self.foreign("no JSON that can be read"))
    }

    async fn ask_bytes(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Vec<u8>, Failure> {
        let Ok(url) = self.url.join(path) else { return Err(self.foreign("no path")) };
        let body = body.map(Value::to_string);
        let call =
            Call { method: method.as_str(), path, body: body.as_deref().unwrap_or_default().as_bytes() };
        let (token, proof) = match &self.shows {
            Shows::Token(token) => (token.expose().to_owned(), None),
            Shows::Key { key, file, name } => {
                let proof = prove(key, name, call, Timestamp::now());
                let proof = proof.map_err(|error| Failure::Unproved(format!("{error:#}")))?;
                (proof.token.clone(), Some((key, file, proof)))
            }
        };
        let mut request = self.http.request(method, url).bearer_auth(token);
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        let (status, seal, bytes) = self.send(request).await?;
        // A refusal may come before the daemon has seen who asks; it does not say that something was done.
        let sealed = proof.as_ref().is_none_or(|(key, _, proof)| proof.answers(key, status, &bytes, &seal));
        if let (true, false, Some((_, file, _))) = (status.is_success(), sealed, &proof) {
            return Err(self.foreign(&format!("it does not show that it has the key {}", file.display())));
        }
        if status.is_success() {
            return Ok(bytes);
        }
        let value: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let words = ["error", "detail", "title"].iter().find_map(|key| value[key].as_str());
        let wrong = each_wrong(&value);
        let words = words.map(|words| if wrong.is_empty() { words.to_owned() } else { wrong });
        Err(match (words.as_deref(), &self.shows) {
            (Some(words), _) if sealed && value["killSwitch"] == true => {
                Failure::Unstored(table::plain(words))
            }
            (Some(words), Shows::Key { file, .. }) if status == StatusCode::UNAUTHORIZED => {
                let (words, file) = (table::plain(words), file.display());
                Failure::Refused(format!("{words} (it was asked with the key {file}: is that the daemon's?)"))
            }
            (Some(words), _) => Failure::Refused(table::plain(words)),
            (None, _) => self.foreign(status.as_str()),
        })
    }

    /// The answer's status, seal and body.
    async fn send(&self, request: RequestBuilder) -> Result<(StatusCode, Vec<u8>, Vec<u8>), Failure> {
        let mut answer = request.send().await.map_err(|error| self.unreachable(error))?;
        let status = answer.status();
        let seal = answer.headers().get(SEAL_HEADER).map_or_else(Vec::new, |seal| seal.as_bytes().to_vec());
        let mut bytes = Vec::new();
        while let Some(part) = answer.chunk().await.map_err(|error| self.unreachable(error))? {
            if bytes.len() + part.len() > BODY_MAX {
                return Err(self.foreign("more than any answer has"));
            }
            bytes.extend_from_slice(&part);
        }
        Ok((status, seal, bytes))
    }

    fn shown(&self) -> String {
        self.url.as_str().trim_end_matches('/').to_owned()
    }

    fn foreign(&self, what: &str) -> Failure {
        Failure::Foreign { url: self.shown(), what: what.to_owned() }
    }

    fn unreachable(&self, error: reqwest::Error) -> Failure {
        let error = error.without_url();
        // The deepest cause says most: `Connection refused`, a certificate's fault.
        let mut why = error.to_string();
        let mut next = std::error::Error::source(&error);
        while let Some(error) = next {
            why = match tls::failed(error) {
                Some(failed) => tls::words(failed, self.trust),
                None => error.to_string(),
            };
            next = error.source();
        }
        if error.is_timeout() {
            why = format!("nothing came within {} s", WITHIN.as_secs());
        }
        Failure::Unreachable { url: self.shown(), why }
    }
}

/// Whoever may read the key beside the store needs no other token on this machine. The key, and where it lies.
fn own_key(store: &Path) -> anyhow::Result<([u8; 32], PathBuf)> {
    let folder = store.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let file = folder.join(key::NAME);
    let key = key::read(folder).with_context(|| {
        format!(
            "{} shows who may speak for this machine: run this as the user that the daemon runs as, or give a token \
             (JARVIS_TOKEN, --token-file)",
            file.display()
        )
    })?;
    let key = key.with_context(|| {
        format!(
            "there is no {}: the daemon has not run with this configuration, or was started in another folder, where a \
             relative store.path begins: start this there, or make the path absolute",
            file.display()
        )
    })?;
    Ok((key, file))
}

fn address(text: &str) -> anyhow::Result<Url> {
    let url = Url::parse(text).ok().filter(|url| url.host_str().is_some());
    let url = url.with_context(|| format!("--url {}: write https://HOST:PORT", table::plain(text)))?;
    ensure!(
        url.username().is_empty() && url.password().is_none(),
        "--url holds a user or a password: leave them out"
    );
    ensure!(
        matches!(url.path(), "" | "/") && url.query().is_none(),
        "--url is only https://, a name and a port"
    );
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    let local = host == "localhost" || address.is_ok_and(|ip| ip.is_loopback());
    match url.scheme() {
        "https" => Ok(url),
        "http" if local => Ok(url),
        _ => bail!("--url {}: a token must not travel in the clear, write https://", table::plain(text)),
    }
}

/// Where a listener is reached from its own machine.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, listen.port())
}

fn http(tls: ClientConfig) -> anyhow::Result<reqwest::Client> {
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .http1_only()
        // The token goes to the daemon and to nobody else: neither where an answer points to, nor to a proxy.
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .referer(false)
        .timeout(WITHIN)
        .user_agent(concat!("jarvis/", env!("CARGO_PKG_VERSION")))
        .build()?;
    Ok(client)
}

/// What is wrong with each parameter, where the answer says so: `at: must be a local time, such as 02:00; days: ...`.
fn each_wrong(problem: &Value) -> String {
    let errors = problem["errors"].as_array().map_or(&[][..], Vec::as_slice);
    let words = errors.iter().filter_map(|wrong| {
        let (name, detail) = (wrong["parameter"].as_str()?, wrong["detail"].as_str()?);
        Some(format!("{name}: {detail}"))
    });
    words.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_travels_encrypted_or_not_at_all() {
        for (name, url, good) in [
            ("encrypted", "https://jarvis.lan:4000", true),
            ("this machine", "http://127.0.0.1:4000", true),
            ("this machine by name", "http://localhost:4000/", true),
            ("this machine, version 6", "http://[::1]:4000", true),
            ("in the clear", "http://10.0.0.5:4000", false),
            ("a name that begins like this machine", "http://localhost.evil.example", false),
            ("no address", "jarvis", false),
            ("another scheme", "ftp://127.0.0.1", false),
            ("a password", "https://a:b@jarvis.lan", false),
            ("a path", "https://jarvis.lan/api", false),
        ] {
            assert_eq!(address(url).is_ok(), good, "{name}");
        }
        for (listen, expected) in
            [("0.0.0.0:4000", "127.0.0.1:4000"), ("[::]:4000", "[::1]:4000"), ("10.0.0.5:80", "10.0.0.5:80")]
        {
            assert_eq!(reachable(listen.parse().unwrap()).to_string(), expected);
        }
    }
}
