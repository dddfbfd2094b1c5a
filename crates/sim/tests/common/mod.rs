//! A small HTTP client that shows what is on the wire, and nothing that a library made of it.
#![allow(unreachable_pub, reason = "it is a module of several test programs")]

use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use sim::http::Server;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Sees and does everything.
pub const OPERATOR: &str = "op@pve!t1=op-secret";
/// Sees everything.
pub const AUDITOR: &str = "mon@pve!t1=mon-secret";
/// Sees nothing.
pub const NOBODY: &str = "nobody@pve!t1=no-secret";

pub fn tokens() -> Vec<sim::http::Token> {
    vec![
        OPERATOR.parse().unwrap(),
        format!("{AUDITOR}:auditor").parse().unwrap(),
        format!("{NOBODY}:none").parse().unwrap(),
    ]
}

#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub reason: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

#[allow(dead_code, reason = "each test file uses another part")]
impl Reply {
    pub fn line(&self) -> String {
        format!("{} {}", self.status, self.reason)
    }

    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub fn data(&self) -> serde_json::Value {
        self.json()["data"].clone()
    }

    /// The row with a value, of a list.
    pub fn row(&self, key: &str, value: &str) -> serde_json::Value {
        let data = self.data();
        let rows = data.as_array().unwrap_or_else(|| panic!("no list: {}", self.body));
        rows.iter().find(|row| row[key] == value).cloned().unwrap_or(serde_json::Value::Null)
    }
}

pub struct Connection {
    stream: TlsStream<TcpStream>,
    buffer: Vec<u8>,
}

impl Connection {
    /// To the k-th node.
    pub async fn open(server: &Server, k: usize) -> std::io::Result<Connection> {
        let address = server.addresses().values().nth(k).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(server.ca_pem().as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        Ok(Connection { stream, buffer: Vec::new() })
    }

    pub async fn send(&mut self, text: &str) -> std::io::Result<()> {
        self.stream.write_all(text.as_bytes()).await?;
        self.stream.flush().await
    }

    /// The next answer; `None` when the connection ended instead.
    pub async fn receive(&mut self) -> Option<Reply> {
        let head = loop {
            if let Some(at) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break self.buffer.drain(..at + 4).collect::<Vec<u8>>();
            }
            if !matches!(self.stream.read_buf(&mut self.buffer).await, Ok(1..)) {
                return None;
            }
        };
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.lines();
        let (_, rest) = lines.next()?.split_once(' ')?;
        let (status, reason) = rest.split_once(' ')?;
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let value = |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| value);
        let zipped = value("Content-Encoding").is_some_and(|coding| coding == "gzip");
        let length = value("Content-Length").map_or(0, |value| value.parse().unwrap());
        // Without a length it ends with the connection; an error has no body at all.
        let endless = zipped && value("Content-Length").is_none();
        while self.buffer.len() < length || endless {
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(1..) => {}
                Ok(0) if endless => break,
                Ok(0) | Err(_) => return None,
            }
        }
        let end = if endless { self.buffer.len() } else { length };
        let mut bytes: Vec<u8> = self.buffer.drain(..end).collect();
        if zipped {
            let mut plain = Vec::new();
            if std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&*bytes), &mut plain).is_err() {
                return None; // Cut off in its middle.
            }
            bytes = plain;
        }
        let body = String::from_utf8(bytes).unwrap();
        Some(Reply { status: status.parse().unwrap(), reason: reason.into(), headers, body })
    }

    pub async fn ask(&mut self, method: &str, path: &str, token: &str, form: &str) -> Option<Reply> {
        let length =
            if form.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", form.len()) };
        let text = format!(
            "{method} /api2/json{path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: PVEAPIToken={token}\r\n{length}\r\n{form}"
        );
        self.send(&text).await.ok()?;
        self.receive().await
    }
}

/// One request on a connection of its own, to the k-th node.
#[allow(dead_code, reason = "each test file uses another part")]
pub async fn ask_at(server: &Server, k: usize, path: &str, token: &str) -> Reply {
    let mut connection = Connection::open(server, k).await.unwrap_or_else(|error| panic!("{path}: {error}"));
    let reply = connection.ask("GET", path, token, "").await;
    reply.unwrap_or_else(|| panic!("GET {path}: the connection ended"))
}

/// Waits for something that comes with the cluster's own time.
#[allow(dead_code, reason = "each test file uses another part")]
pub async fn until<F: Future<Output = bool>>(what: &str, mut done: impl FnMut() -> F) {
    let patience = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !done().await {
        assert!(std::time::Instant::now() < patience, "it never came: {what}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// One request on a connection of its own, to the first node.
#[allow(dead_code, reason = "each test file uses another part")]
pub async fn ask(server: &Server, method: &str, path: &str, token: &str) -> Reply {
    let mut connection = Connection::open(server, 0).await.unwrap();
    let reply = connection.ask(method, path, token, "").await;
    reply.unwrap_or_else(|| panic!("{method} {path}: the connection ended"))
}
