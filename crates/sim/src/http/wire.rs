//! HTTP/1.1 on a byte stream, as pveproxy speaks it.
//!
//! Written by hand and not with an HTTP library, because the point is the oddities that a library is made to
//! prevent: `Connection: close` beside `Connection: Keep-Alive` on a connection that stays open, a 401 without a
//! Content-Length, a header of 9 KiB that is answered by silence, a body that ends before its end.

use std::borrow::Cow;
use std::io::Write as _;
use std::time::Duration;

use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The longest header; one byte more and the connection is closed without a word.
const HEADER_MAX: usize = 8 * 1024;
/// The most header lines.
const HEADER_LINES_MAX: usize = 64;
/// The longest body.
const BODY_MAX: usize = 512 * 1024;

/// A request.
#[derive(Clone, Debug, Default)]
pub(super) struct Request {
    pub(super) method: String,
    /// Path and query as they were sent.
    pub(super) target: String,
    /// Names in lower case.
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    /// The client asks for the connection to be closed.
    pub(super) last: bool,
}

impl Request {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The path without the query.
    pub(super) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// Whether the client reads gzip.
    pub(super) fn reads_gzip(&self) -> bool {
        self.header("accept-encoding").is_some_and(|list| list.contains("gzip"))
    }

    pub(super) fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }
}

/// What came in.
pub(super) enum Incoming {
    Request(Request),
    /// A request that is refused before anyone looks at it.
    Refused(Answer),
    /// Nothing more: closed, silent for too long, or nonsense.
    Over,
}

/// An answer.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) reason: String,
    /// `None`: neither Content-Length nor Content-Type.
    pub(super) body: Option<Body>,
    pub(super) content_type: &'static str,
    /// The `Connection` header lines, of which PVE sends one or two.
    pub(super) connection: &'static [&'static str],
    /// Held back this long, in the cluster's time.
    pub(super) delay: Duration,
    /// How the body travels.
    pub(super) coding: Coding,
    /// More headers (of a recorded answer); replaces the usual ones when it is not empty.
    pub(super) recorded: Vec<(String, String)>,
}

/// How a body travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    /// As it is, or compressed if the client can read that.
    Plain,
    /// Compressed whether the client asked for it or not, without a length: its end is the connection's end.
    Stream,
}

/// A shorter body is not worth compressing.
const COMPRESS_FROM: usize = 1024;

/// A large list is kept and sent again, so it is not copied.
pub(super) type Body = std::sync::Arc<str>;

pub(super) const JSON: &str = "application/json;charset=UTF-8";

/// What the journal's answer says that it is.
pub(super) const JSON_STREAM: &str = "application/json";

const KEEP: &[&str] = &["Keep-Alive"];
const CLOSE: &[&str] = &["close"];
/// What pvedaemon said to pveproxy, and what pveproxy says: both reach the client.
pub(super) const PROTECTED: &[&str] = &["close", "Keep-Alive"];
/// The same between two nodes.
pub(super) const PROXIED: &[&str] = &["Keep-Alive", "Keep-Alive"];

impl Answer {
    pub(super) fn ok(body: impl Into<Body>) -> Answer {
        Answer { body: Some(body.into()), ..Answer::bare(200, "OK") }
    }

    /// Without a body.
    pub(super) fn bare(status: u16, reason: impl Into<String>) -> Answer {
        Answer {
            status,
            // A reason is one line, whatever the text was.
            reason: reason.into().lines().next().unwrap_or_default().into(),
            body: None,
            content_type: JSON,
            connection: if status >= 400 { CLOSE } else { KEEP },
            delay: Duration::ZERO,
            coding: Coding::Plain,
            recorded: Vec::new(),
        }
    }

    /// A body that is no JSON.
    pub(super) fn text(status: u16, reason: impl Into<String>, body: String) -> Answer {
        Answer { body: Some(body.into()), content_type: "", ..Answer::bare(status, reason) }
    }

    /// Every error ends its connection, and so does a body that has no other end.
    pub(super) fn closes(&self) -> bool {
        self.status >= 400 || self.coding == Coding::Stream
    }
}

/// What goes out behind the head: the body as the client gets it, and whether it is compressed.
pub(super) struct Payload {
    bytes: Cow<'static, [u8]>,
    plain: Option<Body>,
    gzip: bool,
}

impl Payload {
    /// `readable` is whether the client said that it reads gzip.
    pub(super) fn of(answer: &Answer, readable: bool) -> Payload {
        let plain = answer.body.clone();
        let long = plain.as_ref().is_some_and(|body| body.len() > COMPRESS_FROM);
        let gzip = answer.coding == Coding::Stream || (readable && long && answer.recorded.is_empty());
        match plain {
            Some(body) if gzip => Payload { bytes: compress(body.as_bytes()).into(), plain: None, gzip },
            plain => Payload { bytes: Cow::Borrowed(&[]), plain, gzip: false },
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.plain.as_ref().map_or(&self.bytes, |body| body.as_bytes())
    }
}

fn compress(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    // Writing to memory cannot fail.
    encoder.write_all(bytes).and_then(|()| encoder.finish()).unwrap_or_default()
}

/// Reads one request; `buffer` keeps what came after it (a client may send several at once).
pub(super) async fn read(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
    idle: Duration,
) -> Incoming {
    let head_ends = match tokio::time::timeout(idle, fill_head(stream, buffer)).await {
        Ok(Some(ends)) => ends,
        Ok(None) | Err(_) => return Incoming::Over,
    };
    let head: Vec<u8> = buffer.drain(..head_ends).collect();
    let Some(mut request) = parse_head(&head) else { return Incoming::Over };
    if request.header("transfer-encoding").is_some() {
        let text = "chunked transfer encoding not supported";
        return Incoming::Refused(Answer::text(501, text, text.into()));
    }
    let length: usize = request.header("content-length").and_then(|n| n.parse().ok()).unwrap_or(0);
    let takes_body = matches!(request.method.as_str(), "POST" | "PUT");
    if length > 0 && !takes_body {
        let text = format!("Unexpected content for method '{}'", request.method);
        return Incoming::Refused(Answer::text(501, text.clone(), text));
    }
    if length > BODY_MAX {
        let text = "for data too large";
        return Incoming::Refused(Answer::text(501, text, text.into()));
    }
    while buffer.len() < length {
        match tokio::time::timeout(idle, stream.read_buf(buffer)).await {
            Ok(Ok(1..)) => {}
            Ok(Ok(0) | Err(_)) | Err(_) => return Incoming::Over,
        }
    }
    request.body = buffer.drain(..length).collect();
    Incoming::Request(request)
}

/// Reads until the empty line; `None` at the end of the stream, or when the header is too long.
async fn fill_head(stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> Option<usize> {
    loop {
        let head = &buffer[..buffer.len().min(HEADER_MAX)];
        if let Some(at) = head.windows(4).position(|w| w == b"\r\n\r\n") {
            return Some(at + 4);
        }
        if buffer.len() >= HEADER_MAX {
            return None;
        }
        if !matches!(stream.read_buf(buffer).await, Ok(1..)) {
            return None;
        }
    }
}

fn parse_head(head: &[u8]) -> Option<Request> {
    let head = std::str::from_utf8(head).ok()?;
    let mut lines = head.split("\r\n").filter(|line| !line.is_empty());
    let mut first = lines.next()?.split(' ');
    let (method, target, version) = (first.next()?, first.next()?, first.next()?);
    let mut request = Request { method: method.into(), target: target.into(), ..Request::default() };
    for line in lines {
        let (name, value) = line.split_once(':')?;
        if request.headers.len() >= HEADER_LINES_MAX {
            return None;
        }
        // Only the blank after the colon goes: a token with a blank at its end is another token.
        let value = value.strip_prefix(' ').unwrap_or(value);
        request.headers.push((name.to_ascii_lowercase(), value.into()));
    }
    let connection = request.header("connection").unwrap_or_default().to_ascii_lowercase();
    let old = version == "HTTP/1.0" && !connection.contains("keep-alive");
    request.last = old || connection.split(',').any(|word| word.trim() == "close");
    version.starts_with("HTTP/1.").then_some(request)
}

/// The bytes of the answer's head.
pub(super) fn head(answer: &Answer, payload: &Payload, now: Timestamp, close: bool) -> Vec<u8> {
    let mut out = format!("HTTP/1.1 {} {}\r\n", answer.status, answer.reason);
    let connection = if close { CLOSE } else { answer.connection };
    let mut line = |name: &str, value: &str| {
        for part in [name, ": ", value, "\r\n"] {
            out.push_str(part);
        }
    };
    if answer.recorded.is_empty() {
        let date = now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        line("Cache-Control", "max-age=0");
        connection.iter().for_each(|value| line("Connection", value));
        line("Date", &date);
        line("Pragma", "no-cache");
        line("Server", "pve-api-daemon/3.0");
        if answer.body.is_some() {
            if payload.gzip {
                line("Content-Encoding", "gzip");
            }
            if answer.coding == Coding::Plain {
                line("Content-Length", &payload.bytes().len().to_string());
            }
            if !answer.content_type.is_empty() {
                line("Content-Type", answer.content_type);
            }
        }
        line("Expires", &date);
    } else {
        connection.iter().for_each(|value| line("Connection", value));
        answer.recorded.iter().for_each(|(name, value)| line(name, value));
        if let Some(body) = &answer.body {
            line("Content-Length", &body.len().to_string());
        }
    }
    out.push_str("\r\n");
    out.into_bytes()
}

/// Sends an answer; gives how many bytes it was.
pub(super) async fn send(
    stream: &mut (impl AsyncWrite + Unpin),
    head: &[u8],
    body: &[u8],
) -> std::io::Result<u64> {
    stream.write_all(head).await?;
    stream.write_all(body).await?;
    stream.flush().await?;
    Ok((head.len() + body.len()) as u64)
}

/// Undoes `%41` and, in a query, `+`.
pub(super) fn unescape(text: &str, plus: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|pair| std::str::from_utf8(pair).ok());
        match (bytes[at], hex.and_then(|pair| u8::from_str_radix(pair, 16).ok())) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 2;
            }
            (b'+', _) if plus => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_head() {
        let head = b"GET /api2/json/version?a=1 HTTP/1.1\r\nHost: x\r\nAuthorization: PVEAPIToken=a!b=c \r\nConnection: close\r\n\r\n";
        let request = parse_head(head).unwrap();
        assert_eq!(
            (request.method.as_str(), request.path(), request.query()),
            ("GET", "/api2/json/version", "a=1")
        );
        assert_eq!(
            request.header("authorization"),
            Some("PVEAPIToken=a!b=c "),
            "the blank at the end is kept"
        );
        assert!(request.last);
    }

    #[test]
    fn undoes_escapes() {
        for (name, text, plus, expected) in [
            ("colons", "UPID%3Apve1%3A", false, "UPID:pve1:"),
            ("a plus in a path", "a+b", false, "a+b"),
            ("a plus in a query", "a+b", true, "a b"),
            ("a broken escape", "100%", true, "100%"),
        ] {
            assert_eq!(unescape(text, plus), expected, "{name}");
        }
    }

    #[test]
    fn an_error_has_no_length_when_it_has_no_body() {
        let answer = Answer::bare(401, "No ticket");
        let head = head(&answer, &Payload::of(&answer, true), Timestamp::UNIX_EPOCH, true);
        let head = String::from_utf8(head).unwrap();
        assert!(
            head.starts_with("HTTP/1.1 401 No ticket\r\nCache-Control: max-age=0\r\nConnection: close\r\n")
        );
        assert!(!head.contains("Content-"), "{head}");
    }
}
