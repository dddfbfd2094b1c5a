//! Webhook: a letter as an HTTP call, signed as Standard Webhooks has it.
//!
//! Only the configured address is called: no redirect is followed and no proxy of the environment is used.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use sha2::Sha256;

use super::letter::Letter;
use super::{Sent, Unsent};
use crate::config;
use crate::words::plain;

/// Longest wait for a whole answer: whoever takes longer works on it, instead of taking it.
const WITHIN: Duration = Duration::from_secs(15);

/// Calls one address.
pub(super) struct Hook {
    url: config::Secret,
    key: Vec<u8>,
    http: reqwest::Client,
}

impl Hook {
    /// # Errors
    /// An authority's certificate that is none although the configuration took it.
    pub(super) fn new(webhook: &config::Webhook) -> anyhow::Result<Hook> {
        let mut roots = RootCertStore::empty();
        match &webhook.ca_pem {
            Some(pem) => {
                for certificate in CertificateDer::pem_slice_iter(pem) {
                    roots.add(certificate.context("the ca_file cannot be read")?)?;
                }
            }
            None if webhook.url.expose().starts_with("https:") => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
            None => {}
        }
        let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .timeout(WITHIN)
            .pool_max_idle_per_host(0)
            .user_agent(concat!("jarvis/", env!("CARGO_PKG_VERSION")))
            .build()?;
        let key = key(webhook.secret.expose()).context("the secret is none")?;
        Ok(Hook { url: webhook.url.clone(), key, http })
    }

    /// What was answered when it was taken.
    pub(super) async fn send(&self, letter: &Letter) -> Result<Sent, Unsent> {
        let (id, body) = (letter.message.to_string(), letter.json());
        // The world's clock, by which the other side judges whether the call is a recorded one.
        let at = Timestamp::now().as_second();
        let called = self
            .http
            .post(self.url.expose())
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", &id)
            .header("webhook-timestamp", at)
            .header("webhook-signature", signature(&self.key, &id, at, &body))
            .body(body)
            .send();
        let answer = called.await.map_err(|error| Unsent::failed(unanswered(error)))?;
        // What is in the answer is not read: it may be endless, or repeat the address, which is a secret for many services.
        let status = answer.status();
        match status {
            _ if status.is_success() => Ok(Sent { said: status.to_string() }),
            // It is gone, or this body is not what it takes; the same one will not be taken later either.
            StatusCode::GONE
            | StatusCode::BAD_REQUEST
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::UNPROCESSABLE_ENTITY => {
                Err(Unsent::refused(format!("the address refuses it: {status}")))
            }
            _ if status.is_redirection() => {
                Err(Unsent::failed(format!("the address points elsewhere, which is not followed: {status}")))
            }
            _ => Err(Unsent::failed(format!("the address does not take it: {status}"))),
        }
    }
}

/// `v1,` and the HMAC over `ID.TIMESTAMP.BODY`.
fn signature(key: &[u8], id: &str, at: i64, body: &str) -> String {
    // A key of any length will do.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return String::new() };
    for part in [id, ".", &at.to_string(), ".", body] {
        mac.update(part.as_bytes());
    }
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

/// The bytes of a secret: of `whsec_BASE64` those that are written there, of any other text its own.
pub(crate) fn key(secret: &str) -> Option<Vec<u8>> {
    match secret.strip_prefix("whsec_") {
        Some(encoded) => STANDARD.decode(encoded).ok(),
        None => Some(secret.as_bytes().to_owned()),
    }
}

/// Why there is no answer. Without the address, which may hold a secret of its own.
fn unanswered(error: reqwest::Error) -> String {
    let error = error.without_url();
    if error.is_timeout() {
        return format!("the address does not answer within {} s", WITHIN.as_secs());
    }
    let mut words = format!("the address is not reached: {error}");
    let mut next = std::error::Error::source(&error);
    while let Some(error) = next {
        words.push_str(&format!(": {error}"));
        next = error.source();
    }
    plain(&words).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the Standard Webhooks specification's own libraries.
    #[test]
    fn the_signature_is_the_standards() {
        let key = key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let (id, at) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330);
        let signature = signature(&key, id, at, "{\"test\": 2432232314}");
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn what_a_secret_s_bytes_are() {
        #[rustfmt::skip]
        let table = [
            ("of the standard's form", "whsec_AQID",  Some(vec![1, 2, 3])),
            ("of another",             "a phrase",    Some(b"a phrase".to_vec())),
            ("not BASE64 after all",   "whsec_a b",   None),
        ];
        for (name, secret, expected) in table {
            assert_eq!(key(secret), expected, "{name}");
        }
    }
}
