//! TLS: which certificates a command believes, and in words why it did not believe one.

use std::error::Error;
use std::io;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, ensure};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{CertificateError, ClientConfig, InvalidMessage, RootCertStore};

use super::Reach;
use super::pin::Pinned;

/// By what a certificate is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// It is exactly this one (`--cert-file`).
    Certificate,
    /// It is the one that the configuration names.
    Configuration,
    /// An authority from a file (`--ca-file`).
    Authority,
    /// This machine's authorities.
    System,
}

/// `own`: the certificate that the configuration has the daemon show.
pub(super) fn config(reach: &Reach, own: Option<&Path>) -> anyhow::Result<(ClientConfig, Trust)> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls =
        ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let trust = match (&reach.cert_file, own, &reach.ca_file) {
        (Some(_), _, _) => Trust::Certificate,
        (None, Some(_), _) => Trust::Configuration,
        (None, None, Some(_)) => Trust::Authority,
        (None, None, None) => Trust::System,
    };
    let config = match (reach.cert_file.as_deref().or(own), &reach.ca_file) {
        (Some(file), _) => {
            // Its chain may follow; the daemon's own comes first.
            let own = certificates(file)?.into_iter().next();
            let own = own.with_context(|| format!("{} holds no certificate", file.display()))?;
            let pinned = Arc::new(Pinned::new(own, provider));
            tls.dangerous().with_custom_certificate_verifier(pinned).with_no_client_auth()
        }
        (None, Some(file)) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(file)? {
                roots.add(certificate).with_context(|| format!("{}", file.display()))?;
            }
            ensure!(!roots.is_empty(), "{} holds no certificate", file.display());
            tls.with_root_certificates(roots).with_no_client_auth()
        }
        (None, None) => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            tls.with_root_certificates(roots).with_no_client_auth()
        }
    };
    Ok((config, trust))
}

fn certificates(file: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let pem = std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let certificates = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    certificates.with_context(|| format!("{} is no PEM", file.display()))
}

/// What TLS says, where it is TLS that speaks: it hides in errors of the connection, which do not name it as their source.
pub(super) fn failed<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut error = error;
    while let Some(inner) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        error = inner;
    }
    error.downcast_ref()
}

/// For people.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "another library's, with a score of kinds and more to come"
)]
pub(super) fn words(error: &rustls::Error, trust: Trust) -> String {
    match error {
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "it speaks no TLS there: write http:// on its own machine, or the port on which it (or a proxy) speaks TLS".into()
        }
        rustls::Error::InvalidCertificate(error) => certificate(error, trust),
        error => error.to_string(),
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "another library's, with a score of kinds and more to come"
)]
fn certificate(error: &CertificateError, trust: Trust) -> String {
    match error {
        // A bad signature: an authority of the same name, and another key.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => match trust {
            Trust::Authority => "its certificate was not made by the authority in --ca-file",
            Trust::System | Trust::Certificate | Trust::Configuration => {
                "its certificate was made by an authority that this machine does not know: name that with --ca-file, or \
                 the certificate itself with --cert-file"
            }
        }
        .into(),
        CertificateError::ApplicationVerificationFailure => match trust {
            Trust::Configuration => {
                "its certificate is not the one that the configuration names (server.tls_cert): another program answers \
                 there, or that file was renewed and is taken within a minute"
            }
            Trust::Certificate | Trust::Authority | Trust::System => {
                "its certificate is not the one in --cert-file: it was renewed, or another program answers there"
            }
        }
        .into(),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has expired: it must be renewed where the daemon runs".into()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet: look at the clocks of both machines".into()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "its certificate is for another name: use the name that it was made for in --url, or name the certificate \
             itself with --cert-file"
                .into()
        }
        // webpki's own, of which rustls keeps no kind: an authority's certificate shown as a server's, as
        // `openssl req -x509` makes it. No authority in a file helps then.
        CertificateError::Other(other) if other.to_string() == "CaUsedAsEndEntity" => {
            "its certificate vouches for itself, and is no authority's for others: this is a server certificate, name it \
             with --cert-file and not with --ca-file"
                .into()
        }
        error => format!("its certificate is of no use: {error:?}"),
    }
}
