//! Origin: which web pages may talk to the server. Programs send no `Origin` and are not meant.

use axum::http::{HeaderMap, HeaderValue, Uri, header};

use super::peer::Secured;

/// From which page a call comes, as the browser says; a page cannot lie about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// Our own, or an allowed one.
    Ours,
    /// Another one.
    Others,
    /// Nobody says: no browser, or a very old one.
    Nobody,
}

/// Whether a browser says that another page than ours has it ask. An address that somebody typed is of none.
pub(super) fn of_another_page(headers: &HeaderMap) -> bool {
    let mut said = headers.get_all("sec-fetch-site").iter();
    said.any(|site| !matches!(site.as_bytes(), b"same-origin" | b"none"))
}

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

    /// From which page a call comes. `Origin` is exact; where it is absent, `Sec-Fetch-Site` says whether the page was
    /// of the same origin.
    pub(super) fn from(&self, headers: &HeaderMap, secured: Secured) -> From {
        let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
        if let Some(origin) = headers.get(header::ORIGIN) {
            let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
            let given = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
            let own = given.is_some_and(|(scheme, authority)| {
                // Without TLS of ours a proxy may have had it, and not say so.
                let fits = scheme == "https" || (scheme == "http" && secured == Secured::No);
                fits && authority.eq_ignore_ascii_case(host)
            });
            // A browser that says both says the same.
            let same = own && site.is_none_or(|site| site == b"same-origin");
            return if same || self.lists(origin) { From::Ours } else { From::Others };
        }
        match site {
            Some(b"same-origin") => From::Ours,
            Some(_) => From::Others,
            None => From::Nobody,
        }
    }

    /// Whether a socket may be opened: by a program, by our own page or by an allowed one. Whether the page was
    /// loaded over TLS is not asked, since a proxy may have ended it.
    pub(super) fn admits(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(header::ORIGIN) else { return !of_another_page(headers) };
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

    #[test]
    fn from_which_page_a_call_comes() {
        let origins = Origins::new(&["https://desk.example.org".into()]).unwrap();
        let own = "http://jarvis.lan:4000";
        type Says = Option<&'static str>;
        let table: [(&str, Secured, Says, Says, From); 14] = [
            ("a program", Secured::No, None, None, From::Nobody),
            ("our page", Secured::No, Some(own), Some("same-origin"), From::Ours),
            ("our page in an older browser", Secured::No, Some(own), None, From::Ours),
            ("our page, which says no origin", Secured::No, None, Some("same-origin"), From::Ours),
            (
                "our page behind a silent proxy with TLS",
                Secured::No,
                Some("https://jarvis.lan:4000"),
                None,
                From::Ours,
            ),
            ("our page over TLS", Secured::Here, Some("https://jarvis.lan:4000"), None, From::Ours),
            ("our host without TLS, to us with it", Secured::Here, Some(own), None, From::Others),
            ("a listed page", Secured::No, Some("https://desk.example.org"), Some("same-site"), From::Ours),
            ("another page", Secured::No, Some("https://evil.example"), Some("cross-site"), From::Others),
            ("another page of our domain", Secured::No, None, Some("same-site"), From::Others),
            ("another page without an origin", Secured::No, None, Some("cross-site"), From::Others),
            ("typed by hand", Secured::No, None, Some("none"), From::Others),
            ("a sandboxed frame", Secured::No, Some("null"), None, From::Others),
            ("a contradiction", Secured::No, Some(own), Some("cross-site"), From::Others),
        ];
        for (name, secured, origin, site, expected) in table {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static("jarvis.lan:4000"));
            for (header, value) in [("origin", origin), ("sec-fetch-site", site)] {
                if let Some(value) = value {
                    headers.insert(header, HeaderValue::from_str(value).unwrap());
                }
            }
            assert_eq!(origins.from(&headers, secured), expected, "{name}");
        }
    }
}
