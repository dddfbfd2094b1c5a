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
}

impl Peer {
    /// The other end of the connection; if that is a proxy of ours, whom it names last in `X-Forwarded-For`: what
    /// stands before is the sender's own word.
    pub(super) fn of(connection: SocketAddr, headers: &HeaderMap, proxies: &[IpAddr]) -> Peer {
        let near = connection.ip().to_canonical();
        if !proxies.contains(&near) {
            return Peer { address: near };
        }
        let last =
            headers.get_all("x-forwarded-for").iter().next_back().and_then(|value| value.to_str().ok());
        let named = last.and_then(|list| list.rsplit(',').next()).and_then(|name| name.trim().parse().ok());
        Peer { address: named.unwrap_or(near) }
    }
}

impl<S: Sync> FromRequestParts<S> for Peer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Peer, Infallible> {
        // Every request passes the listener, which sets it.
        let nobody = Peer { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED) };
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
            assert_eq!(Peer::of(connection, &headers, &proxies).address.to_string(), expected, "{name}");
        }
    }
}
