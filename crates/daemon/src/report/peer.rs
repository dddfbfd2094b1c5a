//! Peer: who is at the other end, through a proxy that we were told to believe.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;

/// Where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) address: IpAddr,
    pub(super) secured: Secured,
}

/// Whether what the browser sent went over TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Secured {
    /// Not that we know.
    No,
    /// Up to a proxy of ours, which says so.
    ByProxy,
    /// Up to here.
    Here,
}

impl Peer {
    /// The other end of the connection; if that is a proxy of ours, whom it names last in `X-Forwarded-For`: what
    /// stands before is the sender's own word.
    pub(super) fn of(connection: SocketAddr, tls: bool, headers: &HeaderMap, proxies: &[IpAddr]) -> Peer {
        let near = connection.ip().to_canonical();
        let here = if tls { Secured::Here } else { Secured::No };
        if !proxies.contains(&near) {
            return Peer { address: near, secured: here };
        }
        let said = headers.get_all("x-forwarded-proto").iter().next_back();
        let https = said.is_some_and(|proto| proto.as_bytes().eq_ignore_ascii_case(b"https"));
        let secured = if https && !tls { Secured::ByProxy } else { here };
        let last =
            headers.get_all("x-forwarded-for").iter().next_back().and_then(|value| value.to_str().ok());
        let named = last.and_then(|list| list.rsplit(',').next()).and_then(|name| name.trim().parse().ok());
        Peer { address: named.unwrap_or(near), secured }
    }
}

impl<S: Sync> FromRequestParts<S> for Peer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Peer, Infallible> {
        // Every request passes the listener, which sets it.
        let nobody = Peer { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), secured: Secured::No };
        Ok(parts.extensions.get().copied().unwrap_or(nobody))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_proxy_is_believed() {
        let proxies = ["10.0.0.2".parse().unwrap()];
        for (name, from, forwarded, expected) in [
            ("direct", "192.0.2.1", None, "192.0.2.1"),
            ("direct, with a made-up header", "192.0.2.1", Some("198.51.100.7"), "192.0.2.1"),
            ("through the proxy", "10.0.0.2", Some("192.0.2.1"), "192.0.2.1"),
            (
                "through the proxy, with a made-up beginning",
                "10.0.0.2",
                Some("1.1.1.1, 192.0.2.1"),
                "192.0.2.1",
            ),
            ("the proxy itself", "10.0.0.2", None, "10.0.0.2"),
            ("the proxy says nonsense", "10.0.0.2", Some("unknown"), "10.0.0.2"),
            ("the proxy, mapped", "::ffff:10.0.0.2", Some("192.0.2.1"), "192.0.2.1"),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(forwarded) = forwarded {
                headers.insert("x-forwarded-for", forwarded.parse().unwrap());
            }
            let connection = SocketAddr::new(from.parse().unwrap(), 40_000);
            assert_eq!(
                Peer::of(connection, false, &headers, &proxies).address.to_string(),
                expected,
                "{name}"
            );
        }
    }

    #[test]
    fn only_our_proxy_is_believed_about_tls() {
        let proxies = ["10.0.0.2".parse().unwrap()];
        for (name, from, tls, said, expected) in [
            ("plain", "192.0.2.1", false, None, Secured::No),
            ("plain, with a made-up header", "192.0.2.1", false, Some("https"), Secured::No),
            ("TLS", "192.0.2.1", true, None, Secured::Here),
            ("through the proxy, which had TLS", "10.0.0.2", false, Some("https"), Secured::ByProxy),
            ("through the proxy, which had none", "10.0.0.2", false, Some("http"), Secured::No),
            ("through the proxy, which says nothing", "10.0.0.2", false, None, Secured::No),
            ("through the proxy over TLS", "10.0.0.2", true, Some("http"), Secured::Here),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(said) = said {
                headers.insert("x-forwarded-proto", said.parse().unwrap());
            }
            let connection = SocketAddr::new(from.parse().unwrap(), 40_000);
            assert_eq!(Peer::of(connection, tls, &headers, &proxies).secured, expected, "{name}");
        }
    }
}
