//! The command line's client: one daemon, one token, one question at a time.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use jiff::Timestamp;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, StatusCode, Url};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;

use super::{Reach, table, who};
use crate::config::{self, Secret};
use crate::key;
use crate::report::prove;

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
    /// Look whether the address is the daemon's.
    #[error("{url} answers what no jarvis does: {what}")]
    Foreign { url: String, what: String },
}

/// A daemon, as one person sees it.
pub(super) struct Client {
    url: Url,
    token: Secret,
    http: reqwest::Client,
}

impl Client {
    pub(super) fn new(reach: &Reach) -> anyhow::Result<Client> {
        let given = match &reach.token_file {
            Some(file) => Some(config::token_from_file(file).map_err(anyhow::Error::msg)?),
            None => config::token_from_environment(),
        };
        let (url, token) = match &reach.url {
            Some(url) => {
                let token =
                    given.context("--url wants a token: JARVIS_TOKEN in the environment, or --token-file")?;
                (address(url)?, token)
            }
            None => {
                let found = config::reach(&reach.config)?;
                let token = match given {
                    Some(token) => token,
                    None => proof(&found.store)?,
                };
                (Url::parse(&format!("http://{}", reachable(found.listen)))?, token)
            }
        };
        Ok(Client { url, token, http: http(reach.ca_file.as_deref())? })
    }

    pub(super) async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.ask(Method::GET, path, None, false).await
    }

    pub(super) async fn put(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.ask(Method::PUT, path, Some(body), false).await
    }

    /// How Jarvis is; that it is not well is an answer too.
    pub(super) async fn health(&self) -> Result<Value, Failure> {
        self.ask(Method::GET, "/api/health", None, true).await
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        ill_is_fine: bool,
    ) -> Result<Value, Failure> {
        let Ok(url) = self.url.join(path) else { return Err(self.foreign("no path")) };
        let mut request = self.http.request(method, url).bearer_auth(self.token.expose());
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.to_string());
        }
        let mut answer = request.send().await.map_err(|error| self.unreachable(error))?;
        let status = answer.status();
        let mut bytes = Vec::new();
        while let Some(part) = answer.chunk().await.map_err(|error| self.unreachable(error))? {
            if bytes.len() + part.len() > BODY_MAX {
                return Err(self.foreign("more than any answer has"));
            }
            bytes.extend_from_slice(&part);
        }
        let value: Option<Value> = serde_json::from_slice(&bytes).ok();
        let fine = status.is_success() || (ill_is_fine && status == StatusCode::SERVICE_UNAVAILABLE);
        match value {
            Some(value) if fine => Ok(value),
            Some(value) => {
                let words = ["error", "detail", "title"].iter().find_map(|key| value[key].as_str());
                Err(match words {
                    Some(words) => Failure::Refused(table::plain(words)),
                    None => self.foreign(status.as_str()),
                })
            }
            None => Err(self.foreign(status.as_str())),
        }
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
            why = error.to_string();
            next = error.source();
        }
        if error.is_timeout() {
            why = format!("nothing came within {} s", WITHIN.as_secs());
        }
        Failure::Unreachable { url: self.shown(), why }
    }
}

/// Whoever may read the key beside the store needs no other token on this machine.
fn proof(store: &Path) -> anyhow::Result<Secret> {
    let folder = store.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let key = key::read(folder).with_context(|| {
        format!(
            "the key beside {} shows who may speak for this machine: run this as the user that the daemon runs as, \
             or give a token (JARVIS_TOKEN, --token-file)",
            store.display()
        )
    })?;
    let key = key.with_context(|| {
        format!(
            "there is no key beside {}: the daemon has never run with this configuration from here",
            store.display()
        )
    })?;
    Ok(Secret::new(prove(&key, &who::name(), Timestamp::now())?))
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

fn http(ca_file: Option<&Path>) -> anyhow::Result<reqwest::Client> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(file) => {
            let pem = std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                let certificate = certificate.with_context(|| format!("{} is no PEM", file.display()))?;
                roots.add(certificate)?;
            }
            ensure!(!roots.is_empty(), "{} holds no certificate", file.display());
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
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
