//! Host: by which names Jarvis may be asked.
//!
//! A browser takes a page of `evil.example` for one page even when that name leads to this machine from one moment to the
//! next (DNS rebinding): such a page could talk to whatever listens here, as its own. What it cannot do is to name another
//! host than its own. So who does not name one that is ours is told that it is wrong here. An address is no name, so no page
//! can make it its own; `localhost` leads nowhere else. With TLS of ours the browser has compared the name with the
//! certificate, and nothing is asked once more (docs/adr/0014).

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::peer::{Peer, Secured};
use super::problem::Problem;
use crate::words;

/// What leads to this machine on every machine.
const LOCALHOST: &str = "localhost";
/// Letters of a name that are said again, at most: the longest that DNS allows.
const SHOWN_MAX: usize = 253;

/// The names that are ours, beside `localhost` and every address.
#[derive(Debug)]
pub(super) struct Hosts(BTreeSet<String>);

impl Hosts {
    /// `names` are this machine's, `addresses` what the configuration says of where pages are: `https://host:port/path`.
    pub(super) fn new(names: &[String], addresses: &[String]) -> Hosts {
        let hosts = addresses.iter().filter_map(|address| address.parse::<Uri>().ok());
        let hosts = hosts.filter_map(|uri| uri.host().map(str::to_owned));
        let names = names.iter().cloned().chain(hosts).map(|name| plain(&name));
        Hosts(names.filter(|name| !name.is_empty()).collect())
    }

    /// Whether a `Host`, with its port or without, is one of ours.
    fn knows(&self, host: &str) -> bool {
        if let Some(rest) = host.strip_prefix('[') {
            return rest.split_once(']').is_some_and(|(address, port)| {
                address.parse::<Ipv6Addr>().is_ok()
                    && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
            });
        }
        let (name, port) = host.split_once(':').unwrap_or((host, ""));
        let name = plain(name);
        is_port(port) && (name == LOCALHOST || name.parse::<Ipv4Addr>().is_ok() || self.0.contains(&name))
    }
}

/// As names are compared: in small letters, and without the point at the end that means the root.
fn plain(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// A port, or none.
fn is_port(text: &str) -> bool {
    text.len() <= 5 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Refuses what was meant for another host: every call, every page and every socket. Who names none at all, as HTTP/1.0
/// allows, is no browser.
pub(super) async fn meant(State(hosts): State<Arc<Hosts>>, request: Request, next: Next) -> Response {
    let sealed = request.extensions().get::<Peer>().is_some_and(|peer| peer.secured == Secured::Here);
    let named = request.headers().get(header::HOST).map(|host| host.to_str().unwrap_or_default());
    // A request may name it in its first line, too (RFC 9112, 3.2.2).
    let whole = request.uri().authority().map(|authority| authority.as_str());
    let other = [named, whole].into_iter().flatten().find(|host| !hosts.knows(host));
    match other.filter(|_| !sealed).map(misdirected) {
        Some(refusal) => refusal,
        None => next.run(request).await,
    }
}

fn misdirected(host: &str) -> Response {
    let shown: String = words::plain(host).chars().take(SHOWN_MAX).collect();
    // Which names those are is not said: whoever asks under a false one may be the very page that is kept out.
    let detail = format!(
        "Jarvis is not called `{shown}`: it answers to localhost, to an IP address, to its machine's own name, and to \
         those in server.public_url and server.allowed_origins of its configuration; add the name there, or ask by one of these"
    );
    Problem::new(StatusCode::MISDIRECTED_REQUEST, detail).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_hosts_are_ours() {
        let names = ["vm".into(), "vm.lan".into(), String::new()];
        let addresses =
            ["https://Jarvis.example.org/watch".into(), "https://desk.example.org:8443".into(), "*".into()];
        let hosts = Hosts::new(&names, &addresses);
        let table = [
            ("localhost", "localhost", true),
            ("with a port", "localhost:4000", true),
            ("in capitals", "LOCALHOST:4000", true),
            ("from the root", "localhost.:4000", true),
            ("loopback", "127.0.0.1:4000", true),
            ("another address", "10.0.0.7", true),
            ("version 6", "[::1]:4000", true),
            ("version 6 without a port", "[fe80::1]", true),
            ("the machine's name", "vm:4000", true),
            ("its longer one", "VM.lan", true),
            ("the public one", "jarvis.example.org", true),
            ("another page's, on our port", "desk.example.org:4000", true),
            ("another name", "evil.example:4000", false),
            ("a name below ours", "a.vm.lan", false),
            ("a name that begins like ours", "vm.evil.example", false),
            ("a name that ends like localhost", "evil.localhost", false),
            ("a name that begins like an address", "127.0.0.1.evil.example", false),
            ("an address as nobody writes it", "0x7f.1", false),
            ("somebody at ours", "a@localhost", false),
            ("a port that is none", "localhost:evil", false),
            ("two ports", "localhost:4000:4000", false),
            ("no address in brackets", "[localhost]", false),
            ("an address in brackets, and more", "[::1]evil.example", false),
            ("a bracket", "[::1", false),
            ("nothing", "", false),
            ("nothing but a port", ":4000", false),
        ];
        for (name, host, expected) in table {
            assert_eq!(hosts.knows(host), expected, "{name}");
        }
    }
}
