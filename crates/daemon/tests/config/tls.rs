//! `server.tls_cert` and `server.tls_key`: two files that do not belong together, and what is said of them.

use super::help::*;

#[test]
fn a_certificate_and_a_key_that_do_not_belong_together_are_named() {
    let folder = Folder::new();
    let make = || rcgen::generate_simple_self_signed(["jarvis.lan".to_owned()]).unwrap();
    let (one, other) = (make(), make());
    let cert = |name: &str, text: &str| folder.file(name, text, 0o644);
    let key = |name: &str, text: &str| folder.file(name, text, 0o600);
    let (own, own_key) = (cert("own.pem", &one.cert.pem()), key("own.key", &one.signing_key.serialize_pem()));
    let other_key = key("other.key", &other.signing_key.serialize_pem());
    let chain = cert("chain.pem", &format!("{}{}", one.cert.pem(), other.cert.pem()));
    let upside_down = cert("down.pem", &format!("{}{}", other.cert.pem(), one.cert.pem()));
    let cut = cert("cut.pem", &one.cert.pem()[..100]);
    let empty = cert("empty.pem", "");
    let broken = cert("broken.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let encrypted = key(
        "sealed.key",
        &format!("-----BEGIN ENCRYPTED PRIVATE KEY-----\n{SECRET}\n-----END ENCRYPTED PRIVATE KEY-----\n"),
    );
    let unusable = key("none.key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    let first = "the certificate that was made with it must come first in that file";
    let not_of = |name: &str| format!("3:11: server.tls_key: DIR/{name} is not the key of DIR/");
    #[rustfmt::skip]
    let table: [(&str, &str, &str, Option<String>); 10] = [
        ("a pair",                     &own,         &own_key,   None),
        ("with the rest of its chain", &chain,       &own_key,   None),
        ("another one's key",          &own,         &other_key, Some(format!("{}own.pem: {first}", not_of("other.key")))),
        ("a chain upside down",        &upside_down, &own_key,   Some(format!("{}down.pem: {first}", not_of("own.key")))),
        ("a certificate cut off",      &cut,         &own_key,   Some("2:12: server.tls_cert: DIR/cut.pem is no PEM: ".into())),
        ("an empty one",               &empty,       &own_key,   Some("2:12: server.tls_cert: DIR/empty.pem holds no certificate: it must be PEM".into())),
        ("one that is none",           &broken,      &own_key,   Some("2:12: server.tls_cert: DIR/broken.pem holds a certificate that is of no use: ".into())),
        ("a key for a certificate",    &own_key,     &own_key,   Some("2:12: server.tls_cert: DIR/own.key holds no certificate: it must be PEM".into())),
        ("an encrypted key",           &own,         &encrypted, Some("3:11: server.tls_key: DIR/sealed.key holds no private key: it must be PEM, and not encrypted".into())),
        ("a key that is none",         &own,         &unusable,  Some("3:11: server.tls_key: DIR/none.key cannot be used: ".into())),
    ];
    for (name, cert, key, expected) in table {
        let text = format!("[server]\ntls_cert = \"{cert}\"\ntls_key = \"{key}\"\n{MINIMAL}");
        let Some(expected) = expected else {
            assert!(load(&text, &[]).is_ok(), "{name}");
            continue;
        };
        let said = folder.strip(&complaint(name, &text, &[]));
        assert!(said.starts_with(&format!("jarvis.toml:{expected}")), "{name}: {said}");
        assert!(!said.contains('\n'), "{name}: {said}");
    }
}
