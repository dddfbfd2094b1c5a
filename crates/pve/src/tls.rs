//! Whom to trust: the system's roots, one CA, one pinned certificate, or (loudly) anybody.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::str::FromStr;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme,
};
use sha2::{Digest, Sha256};

use crate::client::BuildError;

/// Whom to take for the endpoint.
#[derive(Clone)]
pub enum Trust {
    /// A certificate that this machine's own roots vouch for (a custom `pveproxy-ssl.pem`, a proxy in front).
    SystemRoots,
    /// A certificate that this CA vouches for, and no other; PEM. The cluster's own is
    /// `/etc/pve/pve-root-ca.pem`. The name in the endpoint's URL must be in the certificate.
    Ca(Box<[u8]>),
    /// This one certificate, whatever name it is for. It changes when PVE renews it (at least every two years).
    Fingerprint(Fingerprint),
    /// Anybody who answers gets the token. For a laboratory.
    Insecure,
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trust::SystemRoots => f.write_str("SystemRoots"),
            // A page of numbers would say nothing.
            Trust::Ca(pem) => write!(f, "Ca({} bytes)", pem.len()),
            Trust::Fingerprint(pin) => write!(f, "Fingerprint({pin})"),
            Trust::Insecure => f.write_str("Insecure"),
        }
    }
}

/// The SHA-256 of a certificate, written as PVE's web page shows it: `AB:CD:..`, 32 pairs.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

/// Why a text is no fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FingerprintError {
    #[error("a SHA-256 fingerprint has 32 pairs of hexadecimal digits (AB:CD:..), this one has {0}")]
    Length(usize),
    #[error("`{0}` is not a pair of hexadecimal digits; a fingerprint looks like AB:CD:..")]
    Pair(Box<str>),
    #[error("this looks like a SHA-1 fingerprint (20 pairs); use the SHA-256 one (32 pairs)")]
    Sha1,
}

impl Fingerprint {
    pub fn of(certificate: &[u8]) -> Fingerprint {
        Fingerprint(Sha256::digest(certificate).into())
    }
}

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Fingerprint, FingerprintError> {
        let pairs: Vec<&str> = text.trim().split(':').collect();
        let mut bytes = Vec::with_capacity(pairs.len());
        for pair in &pairs {
            let digits = pair.len() == 2 && pair.bytes().all(|byte| byte.is_ascii_hexdigit());
            let byte = digits.then(|| u8::from_str_radix(pair, 16).ok()).flatten();
            let shown = || FingerprintError::Pair(crate::answer::excerpt(pair.as_bytes(), 20));
            bytes.push(byte.ok_or_else(shown)?);
        }
        match <[u8; 32]>::try_from(bytes) {
            Ok(bytes) => Ok(Fingerprint(bytes)),
            Err(bytes) if bytes.len() == 20 => Err(FingerprintError::Sha1),
            Err(bytes) => Err(FingerprintError::Length(bytes.len())),
        }
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, byte) in self.0.iter().enumerate() {
            let colon = if place == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02X}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The TLS settings for one endpoint. Blocking for [`Trust::SystemRoots`]: it reads the roots from disk.
pub(crate) fn client_config(trust: &Trust) -> Result<ClientConfig, BuildError> {
    let provider = Arc::new(ring::default_provider());
    let verifier = Verifier { check: Check::of(trust, &provider)?, provider: Arc::clone(&provider) };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| BuildError::Tls(error.to_string().into()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(config)
}

#[derive(Debug)]
enum Check {
    Roots(Arc<WebPkiServerVerifier>),
    Pin(Fingerprint),
    Anybody,
}

impl Check {
    fn of(trust: &Trust, provider: &Arc<CryptoProvider>) -> Result<Check, BuildError> {
        let roots = match trust {
            Trust::Fingerprint(pin) => return Ok(Check::Pin(*pin)),
            Trust::Insecure => return Ok(Check::Anybody),
            Trust::SystemRoots => system_roots()?,
            Trust::Ca(pem) => one_ca(pem)?,
        };
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
            .build()
            .map_err(|error| BuildError::Tls(error.to_string().into()))?;
        Ok(Check::Roots(verifier))
    }
}

fn system_roots() -> Result<RootCertStore, BuildError> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() { Err(BuildError::NoSystemRoots) } else { Ok(roots) }
}

fn one_ca(pem: &[u8]) -> Result<RootCertStore, BuildError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| BuildError::Ca(error.to_string().into()))?;
        roots.add(certificate).map_err(|error| BuildError::Ca(error.to_string().into()))?;
    }
    if roots.is_empty() { Err(BuildError::Ca("it holds no certificate".into())) } else { Ok(roots) }
}

/// Decides on the certificate by our own rule, and has the handshake's signatures checked by the provider in every
/// case: without them a pin would prove nothing, for certificates are public and anybody can send a copy.
#[derive(Debug)]
struct Verifier {
    check: Check,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let presented = Fingerprint::of(end_entity);
        let why = match &self.check {
            Check::Anybody => return Ok(ServerCertVerified::assertion()),
            Check::Pin(pin) if *pin == presented => return Ok(ServerCertVerified::assertion()),
            Check::Pin(pin) => format!("its certificate is not the pinned one ({pin})").into(),
            Check::Roots(roots) => {
                let verdict =
                    roots.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
                match verdict {
                    Ok(verified) => return Ok(verified),
                    Err(error) => why_refused(&error, server_name),
                }
            }
        };
        let distrust = Distrust { presented, why };
        Err(rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(distrust)))))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn why_refused(error: &rustls::Error, server_name: &ServerName<'_>) -> Box<str> {
    if let rustls::Error::InvalidCertificate(problem) = error {
        // Only the cases an operator can act on get words of ours.
        // A signature that is wrong is a CA of the same name and another key.
        if [CertificateError::UnknownIssuer, CertificateError::BadSignature].contains(problem) {
            return "none of the trusted CAs vouches for its certificate; PVE's own is vouched for by the cluster's /etc/pve/pve-root-ca.pem (ca_file)".into();
        }
        if matches!(problem, CertificateError::Expired | CertificateError::ExpiredContext { .. }) {
            return "its certificate has expired".into();
        }
        if matches!(problem, CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }) {
            return "its certificate is not valid yet; check the clocks".into();
        }
        let named = CertificateError::NotValidForName;
        if *problem == named || matches!(problem, CertificateError::NotValidForNameContext { .. }) {
            return format!("its certificate is not for the name {}", server_name.to_str()).into();
        }
    }
    error.to_string().into()
}

/// Why a certificate was not accepted; travels inside rustls' error until [`distrust_in`] finds it.
#[derive(Debug, Clone)]
struct Distrust {
    presented: Fingerprint,
    why: Box<str>,
}

impl fmt::Display for Distrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; it presented {}", self.why, self.presented)
    }
}

impl StdError for Distrust {}

/// Finds the TLS error in a chain: the fingerprint the server presented, if it came that far, and why it was not
/// trusted. `None` if TLS was not what failed.
pub(crate) fn distrust_in(error: &(dyn StdError + 'static)) -> Option<(Option<Fingerprint>, Box<str>)> {
    let error = each_cause(error).find_map(|cause| cause.downcast_ref::<rustls::Error>())?;
    if let rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) = error {
        let inner: &(dyn StdError + 'static) = &**inner;
        if let Some(Distrust { presented, why }) = inner.downcast_ref() {
            return Some((Some(*presented), why.clone()));
        }
    }
    if *error == rustls::Error::InvalidCertificate(CertificateError::BadSignature) {
        return Some((None, "it does not hold the key of the certificate it presented".into()));
    }
    if matches!(error, rustls::Error::InvalidMessage(_)) {
        return Some((None, "it does not speak TLS".into()));
    }
    Some((None, error.to_string().into()))
}

/// An error and all its causes. `io::Error` hides the error it wraps from `source`, so it is opened by hand.
pub(crate) fn each_cause<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    /// Real chains are below ten; the limit is against a chain that turns back on itself.
    const CAUSES_MAX: usize = 32;
    let next = |cause: &&'a (dyn StdError + 'static)| {
        let cause: &'a (dyn StdError + 'static) = *cause;
        match cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped as &'a (dyn StdError + 'static)),
            None => cause.source(),
        }
    };
    std::iter::successors(Some(error), next).take(CAUSES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_read_and_print() {
        let text =
            "F3:7B:F3:A4:D5:74:1F:54:D2:14:66:01:88:D2:06:E6:F7:DC:92:35:FB:9A:B8:00:11:22:33:44:55:66:77:88";
        assert_eq!(text.parse::<Fingerprint>().unwrap().to_string(), text);
        assert_eq!(text.to_lowercase().parse::<Fingerprint>().unwrap().to_string(), text);
        assert_eq!(format!(" {text}\n").parse::<Fingerprint>().unwrap().to_string(), text);

        let error = |text: &str| text.parse::<Fingerprint>().unwrap_err().to_string();
        assert_eq!(error(""), "`` is not a pair of hexadecimal digits; a fingerprint looks like AB:CD:..");
        assert_eq!(
            error("AB:C"),
            "`C` is not a pair of hexadecimal digits; a fingerprint looks like AB:CD:.."
        );
        assert_eq!(
            error("+1:AB"),
            "`+1` is not a pair of hexadecimal digits; a fingerprint looks like AB:CD:.."
        );
        assert_eq!(
            error("AB:CD"),
            "a SHA-256 fingerprint has 32 pairs of hexadecimal digits (AB:CD:..), this one has 2"
        );
        assert_eq!(
            error(&["AA"; 20].join(":")),
            "this looks like a SHA-1 fingerprint (20 pairs); use the SHA-256 one (32 pairs)"
        );
    }

    #[test]
    fn a_ca_without_certificate_is_told_before_any_call() {
        for pem in ["", "hello", "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n"] {
            let error = client_config(&Trust::Ca(pem.as_bytes().into())).unwrap_err();
            assert!(matches!(error, BuildError::Ca(_)), "{pem}: {error}");
        }
    }
}
