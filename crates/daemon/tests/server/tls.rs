//! The listener's own TLS: who is let in, what is promised there, and a certificate that is renewed while it runs.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use daemon::report::auth::Password;
use daemon::report::{Limits, TlsFiles};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::harness::{Fixture, Folder, PASSWORD, Reply};

/// A pair for our name, written where the server looks for it.
fn renew(folder: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(["jarvis.lan".to_owned()]).unwrap();
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    std::fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
    made.cert.der().clone()
}

async fn listening(folder: &Path, limits: Limits) -> Fixture {
    let files = TlsFiles { cert: folder.join("cert.pem"), key: folder.join("key.pem") };
    Fixture::listening(limits, Some(Password::new(PASSWORD)), Some(files)).await
}

async fn connect(
    fixture: &Fixture,
    trusted: &CertificateDer<'static>,
    versions: &[&'static SupportedProtocolVersion],
    protocols: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(fixture.address()).await.unwrap();
    let name = ServerName::try_from("jarvis.lan").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

#[tokio::test]
async fn over_tls_all_is_as_without_and_promised() {
    let folder = Folder::new();
    let certificate = renew(folder.path());
    let fixture = listening(folder.path(), Limits::default()).await;
    let both = [&TLS13, &TLS12];
    for (name, versions, protocols) in [
        ("TLS 1.3", &both[..1], &[][..]),
        ("TLS 1.2", &both[1..], &[][..]),
        ("a browser", &both[..], &["h2", "http/1.1"][..]),
    ] {
        let mut stream = connect(&fixture, &certificate, versions, protocols).await.unwrap();
        let alpn = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
        assert_eq!(alpn, protocols.first().map(|_| b"http/1.1".to_vec()), "{name}");
        let body = r#"{"password":"correct horse"}"#;
        let text = format!(
            "POST /api/v1/session HTTP/1.1\r\nHost: jarvis.lan\r\nConnection: close\r\nOrigin: https://jarvis.lan\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(text.as_bytes()).await.unwrap();
        let reply = Reply::read(stream).await;
        assert_eq!(reply.status, 200, "{name}: {}", reply.body);
        assert_eq!(reply.header("strict-transport-security"), Some("max-age=31536000"), "{name}");
        let cookie = reply.header("set-cookie").unwrap();
        assert!(cookie.starts_with("__Host-jarvis=") && cookie.ends_with("; Secure"), "{name}: {cookie}");
    }
    let mut stream = connect(&fixture, &certificate, &both, &[]).await.unwrap();
    let named = "GET /api/health?liveness HTTP/1.1\r\nHost: watch.lan\r\nConnection: close\r\n\r\n";
    stream.write_all(named.as_bytes()).await.unwrap();
    let reply = Reply::read(stream).await;
    assert_eq!(reply.status, 200, "the name is the certificate's affair: {}", reply.shown());
    let other = connect(&fixture, &certificate, &both, &["h2"]).await;
    assert!(other.is_err(), "HTTP/2 alone is not spoken");
    let plain = fixture.call("GET /api/health?liveness", &[], "").await;
    assert!(!plain.body.contains("uptime"), "without TLS nothing is answered: {}", plain.shown());
    fixture.stop().await;
}

#[tokio::test]
async fn who_does_not_shake_hands_is_let_go_and_counts_as_a_connection() {
    let folder = Folder::new();
    let certificate = renew(folder.path());
    let limits = Limits { read: Duration::from_millis(1_500), connections: 2, ..Limits::default() };
    let fixture = listening(folder.path(), limits).await;
    let held = [(); 2].map(|()| TcpStream::connect(fixture.address()));
    let mut silent = Vec::new();
    for stream in held {
        silent.push(stream.await.unwrap());
    }
    let surplus = connect(&fixture, &certificate, &[&TLS13], &[]).await;
    assert!(surplus.is_err(), "two are there, who have said nothing");
    let began = Instant::now();
    for stream in silent {
        assert_eq!(Reply::read(stream).await.status, 0, "closed without a word");
    }
    assert!(began.elapsed() < Duration::from_secs(8));
    // The places are free as soon as the server has noticed, which takes it no time but a turn.
    let mut tries = 0;
    while connect(&fixture, &certificate, &[&TLS13], &[]).await.is_err() {
        tries += 1;
        assert!(tries < 1_000);
    }
    fixture.stop().await;
}

#[tokio::test]
async fn a_renewed_certificate_is_used_without_a_restart() {
    let folder = Folder::new();
    let first = renew(folder.path());
    let limits = Limits { certificate: Duration::from_millis(20), ..Limits::default() };
    let fixture = listening(folder.path(), limits).await;
    let mut open = connect(&fixture, &first, &[&TLS13], &[]).await.unwrap();
    let second = renew(folder.path());
    let began = Instant::now();
    while connect(&fixture, &second, &[&TLS13], &[]).await.is_err() {
        assert!(began.elapsed() < Duration::from_secs(20), "the new certificate is not shown");
    }
    assert!(connect(&fixture, &first, &[&TLS13], &[]).await.is_err(), "the old one is gone");
    open.write_all(b"GET / HTTP/1.1\r\nHost: jarvis.lan\r\nConnection: close\r\n\r\n").await.unwrap();
    assert_eq!(Reply::read(open).await.status, 200, "who was connected stays so");
    fixture.stop().await;
}

/// What a person at a terminal is told who has the wrong file, address or port.
#[tokio::test]
async fn why_a_command_believes_no_certificate_is_said_in_words() {
    let folder = Folder::new();
    let pem = |name: &str, made: &rcgen::Certificate| {
        let path = folder.path().join(name);
        std::fs::write(&path, made.pem()).unwrap();
        path.display().to_string()
    };
    // As `openssl req -x509` makes it: an authority that vouches for itself.
    let mut parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().unwrap();
    let made = parameters.self_signed(&key).unwrap();
    std::fs::write(folder.path().join("key.pem"), key.serialize_pem()).unwrap();
    let own = pem("cert.pem", &made);
    let other = pem("other.pem", &rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert);
    let fixture = listening(folder.path(), Limits::default()).await;
    let second = Folder::new();
    renew(second.path());
    let foreign = listening(second.path(), Limits::default()).await;
    let plain = Fixture::new().await;
    let url = |fixture: &Fixture| format!("https://localhost:{}", fixture.address().port());
    let vouches = "its certificate vouches for itself, and is no authority's for others: this is a server certificate, name it \
                   with --cert-file and not with --ca-file";
    let (token, foreign_own) = (fixture.token(), second.path().join("cert.pem").display().to_string());
    #[rustfmt::skip]
    let table: [(&str, String, [&str; 2], Option<&str>); 8] = [
        ("the certificate itself", url(&fixture), ["--cert-file", &own], None),
        ("as if it were an authority", url(&fixture), ["--ca-file", &own], Some(vouches)),
        ("neither", url(&fixture), ["--limit", "1"], Some(vouches)),
        ("another authority", url(&foreign), ["--ca-file", &other],
            Some("its certificate was not made by the authority in --ca-file")),
        ("an authority that is not known", url(&foreign), ["--limit", "1"],
            Some("its certificate was made by an authority that this machine does not know: name that with --ca-file, or the certificate itself with --cert-file")),
        ("another name", url(&foreign), ["--ca-file", &foreign_own],
            Some("its certificate is for another name: use the name that it was made for in --url, or name the certificate itself with --cert-file")),
        ("another certificate", url(&fixture), ["--cert-file", &other],
            Some("its certificate is not the one in --cert-file: it was renewed, or another program answers there")),
        ("a port without TLS", url(&plain), ["--cert-file", &own],
            Some("it speaks no TLS there: write http:// on its own machine, or the port on which it (or a proxy) speaks TLS")),
    ];
    for (name, url, words, expected) in table {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_jarvis"));
        command.args(["events", "--url", &url]).args(words).env("JARVIS_TOKEN", &token);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        match expected {
            None => assert!(output.status.success(), "{name}: {said}"),
            Some(expected) => {
                let expected = format!("jarvis: the daemon at {url} does not answer: {expected}\n");
                assert_eq!(said, expected, "{name}");
            }
        }
    }
    for fixture in [plain, foreign, fixture] {
        fixture.stop().await;
    }
}
