//! `temperature = { source = ... }` of a cluster: where its nodes' sensors are read, or that they are not.
//!
//! What is typed is judged without asking anybody: whether a node answers there is seen by the first routine round.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use reqwest::Url;

use super::check::Checker;
use super::secret;
use super::tree::{At, Place};
use super::{Temperature, typed};

/// What stands for the node's name in an address.
const NODE: &str = "{node}";
/// node_exporter's own port and path.
const URL: &str = "http://{node}:9100/metrics";
/// Longest address: with every node's name in it, it is still far below what servers take.
const URL_MAX: usize = 1_000;
/// Longest name of a user on Linux.
const USER_MAX: usize = 32;
/// Largest file of a private key, in bytes: RSA of 16,384 bits has 13 KB.
const KEY_FILE_MAX: u64 = 64 * 1024;

/// `endpoints` is how many the cluster has: one that has several has several nodes.
pub(super) fn temperature(
    checker: &mut Checker<'_, '_>,
    typed: Option<&typed::Temperature>,
    cluster: &str,
    endpoints: usize,
) -> Option<Temperature> {
    let Some(typed) = typed else {
        checker.set(format!("{cluster}.temperature"), "none: no sensors are read", None);
        return None;
    };
    let Some(source) = &typed.source else {
        return missing(checker, typed, "source", "`node_exporter` or `ssh`");
    };
    let others: &[_] = match source.value.as_str() {
        "node_exporter" => &[("user", &typed.user), ("key_file", &typed.key_file)],
        "ssh" => &[("url", &typed.url)],
        _ => return checker.refuse(&source.place, "must be \"node_exporter\" or \"ssh\""),
    };
    for (key, other) in others {
        if let Some(other) = other {
            let words = format!("`{key}` says nothing to source = \"{}\": take it out", source.value);
            checker.bad(&other.place, words);
        }
    }
    checker.set(&source.place.key, &source.value, Some(source.place.spot));
    match source.value.as_str() {
        "ssh" => ssh(checker, typed),
        _ => node_exporter(checker, typed, endpoints),
    }
}

fn missing<T>(
    checker: &mut Checker<'_, '_>,
    typed: &typed::Temperature,
    key: &str,
    words: &str,
) -> Option<T> {
    let place = Place { key: format!("{}.{key}", typed.place.key), spot: typed.place.spot };
    if !checker.problems.has(&place.key) {
        checker.bad(&place, format_args!("is missing: {words}"));
    }
    None
}

fn node_exporter(
    checker: &mut Checker<'_, '_>,
    typed: &typed::Temperature,
    endpoints: usize,
) -> Option<Temperature> {
    let Some(At { value: url, place }) = &typed.url else {
        checker.set(format!("{}.url", typed.place.key), URL, None);
        return Some(Temperature::NodeExporter { url: URL.into() });
    };
    if let Err(words) = address(url, endpoints) {
        return checker.refuse(place, words);
    }
    checker.set(&place.key, url, Some(place.spot));
    Some(Temperature::NodeExporter { url: url.clone() })
}

/// Whether an address can be asked. The words never hold the text: people put passwords into URLs.
fn address(url: &str, endpoints: usize) -> Result<(), &'static str> {
    const SHAPE: &str = "must be an address like http://{node}:9100/metrics";
    if url.len() > URL_MAX {
        return Err("is longer than 1000 characters: this is no address of a node_exporter");
    }
    if !(url.starts_with("http://") || url.starts_with("https://")) {
        return Err("must begin with http:// or https://");
    }
    match url.matches(NODE).count() {
        0 if endpoints > 1 => {
            return Err("must hold {node}, which becomes each node's name: the cluster has several nodes");
        }
        0 | 1 => {}
        _ => return Err("must hold {node} once"),
    }
    if url.replacen(NODE, "", 1).contains(['{', '}']) {
        return Err("must hold no braces but {node}, which becomes each node's name");
    }
    if url.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(SHAPE);
    }
    // A name that stands nowhere else, to see where it ends up.
    let name = "jarvis-asks-this-node";
    let asked = Url::parse(&url.replacen(NODE, name, 1)).map_err(|_| SHAPE)?;
    if !asked.username().is_empty() || asked.password().is_some() {
        return Err("must hold no user or password: node_exporter is asked without");
    }
    if asked.fragment().is_some() {
        return Err(SHAPE);
    }
    let parts = [asked.host_str(), Some(asked.path()), asked.query()];
    if url.contains(NODE) && !parts.into_iter().flatten().any(|part| part.contains(name)) {
        return Err(SHAPE);
    }
    Ok(())
}

fn ssh(checker: &mut Checker<'_, '_>, typed: &typed::Temperature) -> Option<Temperature> {
    let user = match &typed.user {
        Some(user) => user_name(checker, user),
        None => missing(checker, typed, "user", "whom to log in as on the nodes, like \"root\""),
    };
    let key_file = match &typed.key_file {
        Some(file) => key_file(checker, file),
        None => missing(checker, typed, "key_file", "a private key without a pass phrase, chmod 600"),
    };
    Some(Temperature::Ssh { user: user?, key_file: key_file? })
}

/// A name as Linux takes it: nothing that ssh or a shell could read as anything else.
fn user_name(checker: &mut Checker<'_, '_>, at: &At<String>) -> Option<String> {
    let At { value: user, place } = at;
    let head = user.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    if !head || user.len() > USER_MAX || !user.chars().all(plain) {
        return checker.refuse(
            place,
            "must be a user of the nodes: lower-case letters, digits, `-` and `_`, at most 32 of them, starting with a \
             letter or `_`",
        );
    }
    checker.set(&place.key, user, Some(place.spot));
    Some(user.clone())
}

fn key_file(checker: &mut Checker<'_, '_>, at: &At<String>) -> Option<PathBuf> {
    match private_key(Path::new(&at.value)) {
        Ok(path) => {
            checker.set(&at.place.key, &at.value, Some(at.place.spot));
            Some(path)
        }
        Err(words) => checker.refuse(&at.place, words),
    }
}

/// The path from the root, of a file that ssh would take. The words never hold any of its content.
fn private_key(path: &Path) -> Result<PathBuf, String> {
    let shown = path.display();
    // ssh replaces these in the name of a key, and would look for another file.
    if path.to_string_lossy().contains(['%', '$', '~']) {
        return Err("must be a path without `%`, `$` and `~`, which ssh would replace".into());
    }
    let opened = secret::ordinary(path).map_err(|error| format!("`{shown}` cannot be opened: {error}"))?;
    let unread = |error| format!("`{shown}` cannot be read: {error}");
    let mode = opened.metadata().map_err(unread)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(format!("`{shown}` is open to others, and ssh refuses such a key: chmod 600 {shown}"));
    }
    let mut key = Vec::new();
    opened.take(KEY_FILE_MAX + 1).read_to_end(&mut key).map_err(unread)?;
    let begins = key.starts_with(b"-----BEGIN ");
    let private = key
        .split(|byte| *byte == b'\n')
        .next()
        .is_some_and(|line| line.windows(b"PRIVATE KEY".len()).any(|words| words == b"PRIVATE KEY"));
    if key.len() as u64 > KEY_FILE_MAX || !begins || !private {
        return Err(format!("`{shown}` holds no private key for ssh: make one with ssh-keygen -t ed25519"));
    }
    std::path::absolute(path).map_err(unread)
}
