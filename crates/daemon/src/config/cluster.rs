//! `[[cluster]]`: addresses, trust, token, and whom it is not about.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use engine::observe::{ClusterName, Subject};
use engine::policy::Policy;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::check::Checker;
use super::secret::{Secret, looks_secret};
use super::temperature::temperature;
use super::tree::{At, Place, Spot};
use super::{Cluster, Endpoint, Selector, Trust, hex, typed};
use crate::act::MAGIC_PACKET_TO;

/// PVE's own port.
const PORT: u16 = 8006;
/// Most clusters: each has an engine, its pollers and its connections.
const CLUSTERS_MAX: usize = 32;
/// Most endpoints of one cluster; they are tried in turn, and corosync itself ends at some thirty nodes.
const ENDPOINTS_MAX: usize = 32;
/// Largest file of certificates, in bytes.
const CA_FILE_MAX: u64 = 1024 * 1024;

const COMPLETE: &str = "a cluster needs a name, endpoints, a token and a ca_file or fingerprint";

pub(super) fn clusters(checker: &mut Checker<'_, '_>, typed: Vec<typed::Cluster>) -> Vec<Cluster> {
    let nowhere = Place { key: "cluster".into(), spot: Spot::Nowhere };
    if typed.is_empty() {
        checker.bad(&nowhere, format_args!("no [[cluster]] to watch: {COMPLETE}"));
    }
    if typed.len() > CLUSTERS_MAX {
        checker.bad(&nowhere, format_args!("{} clusters; at most {CLUSTERS_MAX} are allowed", typed.len()));
    }
    let alone = typed.len() == 1;
    for name in ["PVE_TOKEN_ID", "PVE_TOKEN_SECRET"] {
        if typed.len() > 1 && checker.env(name).is_some() {
            let words = "is for a configuration with one cluster, and here are several: give each its own token \
                         with token_id and token_secret_file or token_secret_env";
            checker.bad(&Place::environment("cluster", name), words);
        }
    }
    // The store and every path keep the case of a name. People who say one to each other do not.
    let mut names: BTreeMap<String, (usize, String)> = BTreeMap::new();
    let mut addresses: BTreeMap<(String, u16), String> = BTreeMap::new();
    let mut clusters = Vec::new();
    for (at, typed) in typed.into_iter().enumerate() {
        if let Some(name) = &typed.name
            && let Some((first, other)) =
                names.insert(name.value.to_ascii_lowercase(), (at, name.value.clone()))
        {
            let name_of = format!("`{}` is already the name of cluster[{first}]", name.value);
            if other == name.value {
                checker.bad(&name.place, name_of);
            } else {
                let case = format!(
                    "{name_of}, which is written `{other}`: names must differ in more than their case"
                );
                checker.bad(&name.place, case);
            }
        }
        clusters.extend(cluster(checker, typed, alone, &mut addresses));
    }
    clusters
}

fn cluster(
    checker: &mut Checker<'_, '_>,
    typed: typed::Cluster,
    alone: bool,
    addresses: &mut BTreeMap<(String, u16), String>,
) -> Option<Cluster> {
    let key = typed.place.key.clone();
    let name = name(checker, &typed);
    let trust = trust(checker, &typed);
    let endpoints = endpoints(checker, &typed, trust, addresses);
    let token_id = token_id(checker, &typed, alone);
    let token_secret = token_secret(checker, &typed, alone);
    let act_token = act_token(checker, &typed);
    let ignore = checker.list(typed.ignore.as_ref(), &format!("{key}.ignore"), selector);
    let protect = checker.list(typed.protect.as_ref(), &format!("{key}.protect"), selector);
    let own = own(checker, &typed);
    let magic_packet_to = magic_packet_to(checker, &typed);
    let endpoint_count = typed.endpoints.as_ref().map_or(0, |endpoints| endpoints.value.len());
    let temperature = temperature(checker, typed.temperature.as_ref(), &key, endpoint_count);
    let mut policy = Policy::default();
    for selector in ignore {
        match selector {
            Selector::Subject(subject) => policy.ignore.push(subject),
            Selector::Tag(tag) => policy.ignore_tags.push(tag),
        }
    }
    for selector in &protect {
        match selector {
            Selector::Subject(subject) => policy.protect.push(subject.clone()),
            Selector::Tag(tag) => policy.protect_tags.push(tag.clone()),
        }
    }
    policy.own.extend(own.clone());
    Some(Cluster {
        name: name?,
        endpoints: endpoints?,
        token_id: token_id?,
        token_secret: token_secret?,
        act_token,
        policy,
        protect,
        own,
        magic_packet_to: magic_packet_to?,
        temperature,
    })
}

fn name(checker: &mut Checker<'_, '_>, typed: &typed::Cluster) -> Option<ClusterName> {
    let Some(At { value, place }) = &typed.name else {
        return missing(checker, typed, "name");
    };
    match value.parse() {
        Ok(name) => {
            checker.set(&place.key, value, Some(place.spot));
            Some(name)
        }
        Err(error) => checker.refuse(place, error),
    }
}

fn missing<T>(checker: &mut Checker<'_, '_>, typed: &typed::Cluster, key: &str) -> Option<T> {
    missing_as(checker, typed, key, COMPLETE)
}

fn missing_as<T>(checker: &mut Checker<'_, '_>, typed: &typed::Cluster, key: &str, words: &str) -> Option<T> {
    let place = Place { key: format!("{}.{key}", typed.place.key), spot: typed.place.spot };
    if !checker.problems.has(&place.key) {
        checker.bad(&place, format_args!("is missing: {words}"));
    }
    None
}

/// How the cluster's certificates are judged; an endpoint may have its own pin.
fn trust(checker: &mut Checker<'_, '_>, typed: &typed::Cluster) -> Option<Trust> {
    let insecure = typed.insecure.as_ref().filter(|insecure| insecure.value);
    let given = [
        typed.ca_file.as_ref().map(|at| ("ca_file", &at.place)),
        typed.fingerprint.as_ref().map(|at| ("fingerprint", &at.place)),
        insecure.map(|at| ("insecure", &at.place)),
    ];
    let given: Vec<(&str, &Place)> = given.into_iter().flatten().collect();
    if let [(first, _), (second, place), ..] = given[..] {
        return checker.refuse(place, format_args!("contradicts {first}: give either {first} or {second}"));
    }
    if let Some(At { value, place }) = &typed.ca_file {
        return match authority(Path::new(value), ", like /etc/pve/pve-root-ca.pem on any node of the cluster")
        {
            Ok(pem) => {
                checker.set(&place.key, value, Some(place.spot));
                Some(Trust::Authority { file: PathBuf::from(value), pem })
            }
            Err(words) => checker.refuse(place, words),
        };
    }
    if let Some(at) = &typed.fingerprint {
        let bytes = fingerprint(checker, at)?;
        checker.set(&at.place.key, hex(&bytes), Some(at.place.spot));
        return Some(Trust::Fingerprint(bytes));
    }
    if let Some(At { place, .. }) = insecure {
        checker.set(&place.key, true, Some(place.spot));
        let name = typed.name.as_ref().map_or("?", |name| name.value.as_str());
        checker.warnings.push(format!(
            "cluster {name} is insecure: whoever sits between here and the cluster can read its token. Give its \
             ca_file (/etc/pve/pve-root-ca.pem on any of its nodes) or a fingerprint"
        ));
        return Some(Trust::Nobody);
    }
    let key = format!("{}.ca_file", typed.place.key);
    checker.set(key, "none: by the authorities of this machine", None);
    Some(Trust::System)
}

/// PEM with at least one certificate that can be read.
pub(super) fn authority(file: &Path, like: &str) -> Result<Vec<u8>, String> {
    let shown = file.display();
    let opened =
        super::secret::ordinary(file).map_err(|error| format!("`{shown}` cannot be opened: {error}"))?;
    let mut pem = Vec::new();
    let read = opened.take(CA_FILE_MAX + 1).read_to_end(&mut pem);
    read.map_err(|error| format!("`{shown}` cannot be read: {error}"))?;
    if pem.len() as u64 > CA_FILE_MAX {
        return Err(format!("`{shown}` is larger than {CA_FILE_MAX} bytes: this is no file of certificates"));
    }
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate =
            certificate.map_err(|_| format!("`{shown}` holds PEM that is broken or cut off"))?;
        roots
            .add(certificate)
            .map_err(|error| format!("`{shown}` holds a certificate that cannot be used: {error}"))?;
    }
    if roots.is_empty() {
        return Err(format!("`{shown}` holds no certificate: it must be PEM{like}"));
    }
    Ok(pem)
}

fn fingerprint(checker: &mut Checker<'_, '_>, at: &At<String>) -> Option<[u8; 32]> {
    match parse_fingerprint(&at.value) {
        Some(bytes) => Some(bytes),
        None => checker.refuse(
            &at.place,
            "must be a SHA-256 fingerprint: 32 pairs of hex digits with colons between them, as `pvenode cert info` shows it",
        ),
    }
}

fn parse_fingerprint(text: &str) -> Option<[u8; 32]> {
    let text = text.trim();
    let pairs: Vec<&str> = if text.contains(':') {
        text.split(':').collect()
    } else {
        (0..text.len()).step_by(2).map(|at| text.get(at..at + 2)).collect::<Option<_>>()?
    };
    let byte = |pair: &&str| {
        let digits = pair.len() == 2 && pair.bytes().all(|b| b.is_ascii_hexdigit());
        digits.then(|| u8::from_str_radix(pair, 16).ok()).flatten()
    };
    pairs.iter().map(byte).collect::<Option<Vec<u8>>>()?.try_into().ok()
}

fn endpoints(
    checker: &mut Checker<'_, '_>,
    typed: &typed::Cluster,
    trust: Option<Trust>,
    addresses: &mut BTreeMap<(String, u16), String>,
) -> Option<Vec<Endpoint>> {
    let Some(At { value: list, place }) = &typed.endpoints else {
        return missing(checker, typed, "endpoints");
    };
    if list.is_empty() {
        return checker.refuse(place, "is empty: name at least one node, like [\"https://10.0.0.11:8006\"]");
    }
    if list.len() > ENDPOINTS_MAX {
        checker.bad(place, format_args!("holds {} items; at most {ENDPOINTS_MAX} are allowed", list.len()));
    }
    let mut endpoints = Vec::with_capacity(list.len());
    for item in list {
        let Some(url) = &item.url else { continue };
        let pin = item.fingerprint.as_ref().map(|at| fingerprint(checker, at));
        let (host, port) = match address(&url.value) {
            Ok(address) => address,
            Err(words) => {
                checker.bad(&url.place, words);
                continue;
            }
        };
        if let Some(first) = addresses.insert((host.clone(), port), url.place.key.clone()) {
            checker.bad(&url.place, format_args!("is the same address as {first}"));
        }
        let trust = match pin {
            Some(pin) => pin.map(Trust::Fingerprint),
            None => trust.clone(),
        };
        let Some(trust) = trust else { continue };
        let endpoint = Endpoint { host, port, trust };
        let pinned = match &endpoint.trust {
            Trust::Fingerprint(bytes) if item.fingerprint.is_some() => format!(" pinned to {}", hex(bytes)),
            Trust::Fingerprint(_) | Trust::System | Trust::Authority { .. } | Trust::Nobody => String::new(),
        };
        checker.set(&url.place.key, format_args!("{}{pinned}", endpoint.url()), Some(url.place.spot));
        endpoints.push(endpoint);
    }
    (!endpoints.is_empty()).then_some(endpoints)
}

/// Host and port of `https://HOST:PORT`. The words never hold the text: people put passwords into URLs.
fn address(url: &str) -> Result<(String, u16), &'static str> {
    const SHAPE: &str = "must be https://HOST or https://HOST:PORT, and nothing after it";
    let Some(rest) = url.strip_prefix("https://") else {
        return Err(
            "must begin with https://: PVE speaks nothing else, and a token must not travel in the clear",
        );
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains('@') {
        return Err("must hold no user or password: the token is given with token_id and token_secret_file");
    }
    if rest.contains(['/', '?', '#']) {
        return Err(SHAPE);
    }
    if let Some(rest) = rest.strip_prefix('[') {
        let (host, port) = rest.split_once(']').ok_or(SHAPE)?;
        let host: Ipv6Addr = host.parse().map_err(|_| SHAPE)?;
        let port = if port.is_empty() { PORT } else { parse_port(port.strip_prefix(':').ok_or(SHAPE)?)? };
        return Ok((host.to_string(), port));
    }
    let (host, port) = rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port)));
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if host.is_empty() || host.len() > 253 || !host.chars().all(plain) {
        return Err(SHAPE);
    }
    Ok((host.to_ascii_lowercase(), port.map_or(Ok(PORT), parse_port)?))
}

fn parse_port(text: &str) -> Result<u16, &'static str> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port > 0).ok_or("the port must be a number from 1 to 65535")
}

/// `user@realm!token`. The text is never shown: what is wrong with it is often that the secret is in it.
fn token_id(checker: &mut Checker<'_, '_>, typed: &typed::Cluster, alone: bool) -> Option<String> {
    let at = match checker.env("PVE_TOKEN_ID").filter(|_| alone) {
        Some(value) => {
            At { value, place: Place::environment(format!("{}.token_id", typed.place.key), "PVE_TOKEN_ID") }
        }
        None => match &typed.token_id {
            Some(at) => at.clone(),
            None => return missing(checker, typed, "token_id"),
        },
    };
    good_token_id(checker, &at)
}

fn good_token_id(checker: &mut Checker<'_, '_>, at: &At<String>) -> Option<String> {
    let id = at.value.trim();
    if id.contains('=') {
        return checker.refuse(
            &at.place,
            "holds a `=`: the part after it is the secret and belongs into token_secret_file",
        );
    }
    let parts = id.split_once('!').and_then(|(user, token)| {
        let (user, realm) = user.rsplit_once('@')?;
        Some([user, realm, token])
    });
    let good = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_graphic());
    if !parts.is_some_and(|parts| parts.iter().all(good)) {
        return checker.refuse(&at.place, "must be USER@REALM!TOKEN, like jarvis@pve!observe");
    }
    checker.set(&at.place.key, id, Some(at.place.spot));
    Some(id.to_owned())
}

fn token_secret(checker: &mut Checker<'_, '_>, typed: &typed::Cluster, alone: bool) -> Option<Secret> {
    let key = |key: &str| format!("{}.{key}", typed.place.key);
    if let Some(secret) = checker.env("PVE_TOKEN_SECRET").filter(|_| alone) {
        let place = Place::environment(key("token_secret"), "PVE_TOKEN_SECRET");
        checker.set(&place.key, "(hidden)", Some(place.spot));
        return sendable(checker, Secret::new(secret.trim()), &place);
    }
    secret_at(checker, typed, &typed.token_secret, "token_secret")
}

/// The second token, which may do what the first may not: together, or not at all.
fn act_token(checker: &mut Checker<'_, '_>, typed: &typed::Cluster) -> Option<(String, Secret)> {
    let typed::SecretAt { file, env, plain } = &typed.act_token_secret;
    let Some(id) = &typed.act_token_id else {
        let text = |at: &Option<At<String>>| at.as_ref().map(|at| at.place.clone());
        let given = text(file).or_else(|| text(env)).or_else(|| plain.as_ref().map(|at| at.place.clone()));
        return match given {
            Some(place) => checker.refuse(&place, "is the secret of act_token_id, and that is missing"),
            None => None,
        };
    };
    let id = good_token_id(checker, id);
    let secret = secret_at(checker, typed, &typed.act_token_secret, "act_token_secret");
    Some((id?, secret?))
}

/// A secret from the one of its three places that is given: `NAME_file`, `NAME_env`, or `NAME` itself.
fn secret_at(
    checker: &mut Checker<'_, '_>,
    typed: &typed::Cluster,
    at: &typed::SecretAt,
    name: &str,
) -> Option<Secret> {
    let [file_key, env_key] = ["file", "env"].map(|place| format!("{name}_{place}"));
    let given = [
        at.file.as_ref().map(|at| (file_key.as_str(), &at.place)),
        at.env.as_ref().map(|at| (env_key.as_str(), &at.place)),
        at.plain.as_ref().map(|at| (name, &at.place)),
    ];
    let given: Vec<(&str, &Place)> = given.into_iter().flatten().collect();
    if let [(first, _), (second, place), ..] = given[..] {
        return checker.refuse(place, format_args!("contradicts {first}: give either {first} or {second}"));
    }
    if let Some(file) = &at.file {
        let secret = checker.secret_file(file, &format!("{}.{file_key}", typed.place.key))?;
        return sendable(checker, secret, &file.place);
    }
    if let Some(variable) = &at.env {
        return from_variable(checker, variable);
    }
    let Some(At { value: secret, place }) = &at.plain else {
        let words = "a file that holds the token's secret and nothing else";
        return missing_as(checker, typed, &file_key, words);
    };
    checker.set(&place.key, "(hidden)", Some(place.spot));
    checker.warnings.push(format!(
        "{} stands in the configuration file itself: put it into a file of its own ({file_key})",
        place.key
    ));
    sendable(checker, secret.clone(), place)
}

fn from_variable(checker: &mut Checker<'_, '_>, name: &At<String>) -> Option<Secret> {
    let secret = variable(checker, name)?;
    sendable(checker, secret, &name.place)
}

/// What a variable holds whose name is given.
pub(super) fn variable(checker: &mut Checker<'_, '_>, name: &At<String>) -> Option<Secret> {
    let At { value: variable, place } = name;
    let head = variable.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    let plain = variable.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !head || !plain || looks_secret(variable) {
        return checker.refuse(
            place,
            "must be the name of a variable, like LAB_TOKEN_SECRET (what stands there is not shown: it may be the secret)",
        );
    }
    let Some(secret) = checker.env(variable) else {
        return checker.refuse(place, format_args!("the variable {variable} is not set"));
    };
    checker.set(&place.key, variable, Some(place.spot));
    Some(Secret::new(secret.trim()))
}

/// A secret travels in a header, so it is one word of plain characters.
fn sendable(checker: &mut Checker<'_, '_>, secret: Secret, place: &Place) -> Option<Secret> {
    let text = secret.expose();
    if text.contains('=') {
        return checker.refuse(
            place,
            "the secret holds a `=`: only what stands after the `=` of the token is the secret",
        );
    }
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return checker.refuse(
            place,
            "the secret is empty, or holds a blank or a character that is not ASCII: copy it again",
        );
    }
    Some(secret)
}

fn selector(text: &str) -> Result<Selector, String> {
    if let Some(tag) = text.strip_prefix("tag:") {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '+' | '.');
        return if !tag.is_empty() && tag.chars().all(plain) {
            Ok(Selector::Tag(tag.to_ascii_lowercase().into()))
        } else {
            Err("must be a tag as PVE writes it, like tag:lab".into())
        };
    }
    match text.parse::<Subject>() {
        Ok(Subject::Cluster) => {
            Err("the cluster as a whole cannot be ignored or protected: take its [[cluster]] out".into())
        }
        Ok(subject @ (Subject::Node(_) | Subject::Guest(_) | Subject::Storage(_) | Subject::Service(_))) => {
            Ok(Selector::Subject(subject))
        }
        Err(_) => Err("must be `node/NAME`, `qemu/ID`, `lxc/ID`, `storage/NAME` or `tag:TAG`".into()),
    }
}

fn own(checker: &mut Checker<'_, '_>, typed: &typed::Cluster) -> Option<Subject> {
    let At { value, place } = typed.own.as_ref()?;
    match value.parse() {
        Ok(own @ (Subject::Guest(_) | Subject::Node(_))) => {
            checker.set(&place.key, value, Some(place.spot));
            Some(own)
        }
        Ok(Subject::Cluster | Subject::Storage(_) | Subject::Service(_)) | Err(_) => checker.refuse(
            place,
            "must be the guest or node that Jarvis runs on: `qemu/ID`, `lxc/ID` or `node/NAME`",
        ),
    }
}

/// An address, or one with a port.
fn magic_packet_to(checker: &mut Checker<'_, '_>, typed: &typed::Cluster) -> Option<SocketAddr> {
    let Some(At { value, place }) = &typed.magic_packet_to else {
        checker.set(format!("{}.magic_packet_to", typed.place.key), MAGIC_PACKET_TO, None);
        return Some(MAGIC_PACKET_TO);
    };
    let alone = || value.parse().ok().map(|address| SocketAddr::new(address, MAGIC_PACKET_TO.port()));
    let to = value.parse().ok().or_else(alone).filter(|to| to.port() > 0 && !to.ip().is_unspecified());
    match to {
        Some(to) => {
            checker.set(&place.key, to, Some(place.spot));
            Some(to)
        }
        None => checker.refuse(
            place,
            "must be where packets for the nodes' network go: its broadcast address, like 192.168.1.255 or 192.168.1.255:9",
        ),
    }
}
