//! node_exporter: a node's sensors out of its metrics.
//!
//! Of the text format only what these families need is read, by hand: `prometheus-parse`, the one parser crate under a
//! licence that we may link, splits labels at every `,` and `=` without regard to quotes, keeps all samples of all
//! families, and brings regex and a second library of time.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use engine::observe::{Blindness, Cause};
use reqwest::header::{ACCEPT, HeaderValue};
use reqwest::{StatusCode, Url};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::{Sensor, Zones, blind, zones};

/// What stands for the node's name in an address.
const NODE: &str = "{node}";
/// Longest wait for a whole answer; node_exporter itself gives up on a slow collector later than this.
const WITHIN: Duration = Duration::from_secs(5);
/// Largest answer, in bytes. A large node with every collector on sends a tenth of it.
const BODY_MAX: usize = 4 * 1024 * 1024;

/// Asks node_exporter.
#[derive(Clone, Debug)]
pub(super) struct Exporter {
    url: String,
    http: reqwest::Client,
}

impl Exporter {
    pub(super) fn new(url: String, authority: Option<&[u8]>) -> anyhow::Result<Exporter> {
        let mut roots = RootCertStore::empty();
        if url.starts_with("https:") {
            match authority {
                Some(pem) => {
                    for certificate in CertificateDer::pem_slice_iter(pem) {
                        roots.add(certificate.context("the ca_file cannot be read")?)?;
                    }
                }
                None => {
                    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                }
            }
        }
        let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .http1_only()
            // Only what is configured is contacted: neither where an answer points to, nor a proxy of the environment.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .timeout(WITHIN)
            // Once in a routine round: a connection is not worth keeping that long.
            .pool_max_idle_per_host(0)
            .user_agent(concat!("jarvis/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Exporter { url, http })
    }

    pub(super) fn is_per_node(&self) -> bool {
        self.url.contains(NODE)
    }

    pub(super) async fn read(&self, host: &str) -> Result<Zones, Blindness> {
        let url = Url::parse(&self.url.replacen(NODE, host, 1)).map_err(|_| {
            blind(Cause::Malformed, "temperature.url is no address with this node's name in it")
        })?;
        let text = HeaderValue::from_static("text/plain;version=0.0.4");
        let asked = self.http.get(url).header(ACCEPT, text).send().await;
        let mut answer = asked.map_err(unanswered)?;
        match answer.status() {
            StatusCode::OK => {}
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                return Err(blind(Cause::Refused, format!("node_exporter refuses to answer: {status}")));
            }
            status => {
                return Err(blind(Cause::Malformed, format!("node_exporter's address answers {status}")));
            }
        }
        let mut body = Vec::new();
        while let Some(part) = answer.chunk().await.map_err(unanswered)? {
            if body.len() + part.len() > BODY_MAX {
                let words = format!("node_exporter answers with more than {BODY_MAX} bytes");
                return Err(blind(Cause::Malformed, words));
            }
            body.extend_from_slice(&part);
        }
        metrics(&String::from_utf8_lossy(&body))
            .ok_or_else(|| blind(Cause::Malformed, "the answer holds no metrics of a node_exporter"))
    }
}

/// Why there is no answer. The address is left out of the words: it is the configuration's, not news.
fn unanswered(error: reqwest::Error) -> Blindness {
    let error = error.without_url();
    if error.is_timeout() {
        let words = format!("node_exporter does not answer within {} s", WITHIN.as_secs());
        return blind(Cause::Unreachable, words);
    }
    let mut words = format!("node_exporter is not reached: {error}");
    let mut cause = Cause::Unreachable;
    let mut next = std::error::Error::source(&error);
    while let Some(error) = next {
        if let Some(rustls::Error::InvalidCertificate(_)) = error.downcast_ref() {
            cause = Cause::Untrusted;
        }
        // An input/output error prints what it wraps, and does not name it as its source.
        next = match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => {
                words.push_str(": ");
                words.push_str(&error.to_string());
                error.source()
            }
        };
    }
    blind(cause, words)
}

/// The sensors in an exposition; `None` if it is none of a node_exporter, whose metrics all begin with `node_`.
pub(super) fn metrics(text: &str) -> Option<Zones> {
    let mut chips: BTreeMap<String, String> = BTreeMap::new();
    let mut labels: BTreeMap<(String, String), String> = BTreeMap::new();
    let mut temperatures: Vec<(String, String, f64)> = Vec::new();
    let mut sensors = Vec::new();
    let mut known = false;
    for line in text.lines() {
        let line = line.trim_start();
        if !line.starts_with("node_") {
            continue;
        }
        known = true;
        // What cannot be read is left out, as a sensor that is not there.
        let Some(sample) = sample(line) else { continue };
        match sample.family {
            "node_hwmon_chip_names" => {
                chips.insert(sample.label("chip"), sample.label("chip_name"));
            }
            "node_hwmon_sensor_label" => {
                labels.insert((sample.label("chip"), sample.label("sensor")), sample.label("label"));
            }
            "node_hwmon_temp_celsius" => {
                temperatures.push((sample.label("chip"), sample.label("sensor"), sample.value));
            }
            "node_thermal_zone_temp" => {
                let (kind, zone) = (sample.label("type"), sample.label("zone"));
                let numbered = format!("{kind} {zone}");
                sensors.push(Sensor { names: [kind, numbered.clone(), numbered], celsius: sample.value });
            }
            _ => {}
        }
    }
    for (chip, sensor, celsius) in temperatures {
        let key = (chip, sensor);
        let chip_name = chips.get(&key.0).unwrap_or(&key.0);
        let label = labels.get(&key).unwrap_or(&key.1);
        let names =
            [format!("{chip_name} {label}"), format!("{} {label}", key.0), format!("{} {}", key.0, key.1)];
        sensors.push(Sensor { names, celsius });
    }
    known.then(|| zones(sensors))
}

/// One line of an exposition.
struct Sample<'a> {
    family: &'a str,
    labels: Vec<(&'a str, Cow<'a, str>)>,
    value: f64,
}

impl Sample<'_> {
    /// An absent label is an empty one, says the format.
    fn label(&self, name: &str) -> String {
        let label = self.labels.iter().find(|(label, _)| *label == name);
        label.map(|(_, value)| value.to_string()).unwrap_or_default()
    }
}

/// `family{label="value",...} value [timestamp]`; `None` for a line that is broken, or a value that is no number.
fn sample(line: &str) -> Option<Sample<'_>> {
    let end = line.find(|c: char| c == '{' || c.is_ascii_whitespace())?;
    let (family, mut rest) = line.split_at(end);
    let mut labels = Vec::new();
    rest = rest.trim_start();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            rest = rest.trim_start_matches([' ', '\t', ',']);
            if let Some(after) = rest.strip_prefix('}') {
                rest = after;
                break;
            }
            let (name, after) = rest.split_once('=')?;
            let (value, after) = quoted(after.trim_start())?;
            labels.push((name.trim_end(), value));
            rest = after;
        }
    }
    let value: f64 = rest.split_ascii_whitespace().next()?.parse().ok()?;
    value.is_finite().then_some(Sample { family, labels, value })
}

/// A text in quotes, and what follows it. `\\`, `\"` and `\n` are escapes.
fn quoted(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let text = text.strip_prefix('"')?;
    let mut unescaped = String::new();
    let mut plain = 0;
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        if character == '"' {
            let after = text.get(at + 1..)?;
            let last = text.get(plain..at)?;
            return Some(match unescaped.is_empty() {
                true => (Cow::Borrowed(last), after),
                false => (Cow::Owned(unescaped + last), after),
            });
        }
        if character == '\\' {
            let (escaped_at, escaped) = characters.next()?;
            unescaped.push_str(text.get(plain..at)?);
            unescaped.push(if escaped == 'n' { '\n' } else { escaped });
            plain = escaped_at + escaped.len_utf8();
        }
    }
    None
}
