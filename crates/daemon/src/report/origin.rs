//! Origin: which web pages may talk to the server. Programs send no `Origin` and are not meant.

use axum::http::{HeaderMap, HeaderValue, Uri, header};

/// The other origins that the configuration allows.
#[derive(Debug)]
pub(super) struct Origins(Vec<String>);

impl Origins {
    /// # Errors
    /// An entry that is no origin.
    pub(super) fn new(allowed: &[String]) -> anyhow::Result<Origins> {
        let origins = allowed.iter().map(|text| {
            let uri: Option<Uri> = text.parse().ok();
            let plain = uri.as_ref().is_some_and(|uri| {
                matches!(uri.scheme_str(), Some("http" | "https"))
                    && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
                    && matches!(uri.path_and_query().map_or("/", |path| path.as_str()), "/")
            });
            anyhow::ensure!(
                plain,
                "`{text}` in allowed_origins is no origin: write scheme, host and port, as in \
                 `https://jarvis.example.org:8443`"
            );
            Ok(text.trim_end_matches('/').to_ascii_lowercase())
        });
        Ok(Origins(origins.collect::<anyhow::Result<_>>()?))
    }

    /// Whether the configuration allows this origin.
    pub(super) fn lists(&self, origin: &HeaderValue) -> bool {
        let origin = origin.to_str().unwrap_or_default();
        self.0.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin))
    }

    /// Whether a socket may be opened: by a program, by our own page or by an allowed one. Whether the page was
    /// loaded over TLS is not asked, since a proxy may have ended it.
    pub(super) fn admits(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(header::ORIGIN) else { return true };
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let authority =
            origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
        let own = matches!((host, authority), (Some(host), Some(from)) if host.eq_ignore_ascii_case(from));
        own || self.lists(origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_open_a_socket() {
        let origins =
            Origins::new(&["https://Desk.example.org/".into(), "http://10.0.0.5:5173".into()]).unwrap();
        let table: [(&str, Option<&str>, bool); 9] = [
            ("a program", None, true),
            ("our own page", Some("http://jarvis.lan:4000"), true),
            ("our own page behind a proxy with TLS", Some("https://jarvis.lan:4000"), true),
            ("our own name in capitals", Some("http://JARVIS.lan:4000"), true),
            ("an allowed page", Some("https://desk.example.org"), true),
            ("another port of an allowed host", Some("https://desk.example.org:444"), false),
            ("a name that begins like ours", Some("http://jarvis.lan:4000.evil.example"), false),
            ("a sandboxed frame or a file", Some("null"), false),
            ("another page", Some("https://evil.example"), false),
        ];
        for (name, origin, expected) in table {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static("jarvis.lan:4000"));
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, HeaderValue::from_str(origin).unwrap());
            }
            assert_eq!(origins.admits(&headers), expected, "{name}");
        }
    }

    #[test]
    fn what_is_no_origin() {
        for text in
            ["*", "null", "jarvis.lan", "ftp://jarvis.lan", "https://a@b", "https://jarvis.lan/page", ""]
        {
            assert!(Origins::new(&[text.into()]).is_err(), "{text:?}");
        }
    }
}
