//! `[mail]`, `[[webhook]]` and `server.public_url`: who is told, and how that travels.

use std::net::IpAddr;
use std::path::Path;

use engine::report::Severity;
use reqwest::Url;

use super::check::Checker;
use super::cluster::{authority, variable};
use super::tree::{At, Place};
use super::typed;
use super::{Mail, MailTls, Secret, Told, Webhook};
use crate::record::severity_from_word;
use crate::tell::{mail_address, webhook_key};

/// Most addresses, and most webhooks: each has an outbox of its own. A list of more people is the mail server's business.
const CHANNELS_MAX: usize = 20;
/// Longest address, name or URL, in bytes.
const TEXT_MAX: usize = 500;
/// Shortest secret of a webhook, in bytes: the standard asks for as many.
const SECRET_MIN: usize = 24;
/// What is told of in reports when nobody says otherwise: what is broken.
const LEAST: Severity = Severity::Error;

pub(super) fn told(
    checker: &mut Checker<'_, '_>,
    public_url: Option<&At<String>>,
    typed_mail: Option<&typed::Mail>,
    typed_webhooks: &[typed::Webhook],
) -> Told {
    let public_url = link_base(checker, public_url);
    let mail = match typed_mail {
        Some(typed) => mail(checker, typed),
        None => {
            checker.set("mail", "none: nobody is told by mail", None);
            None
        }
    };
    let mut webhooks: Vec<Webhook> = Vec::new();
    for typed in typed_webhooks.iter().take(CHANNELS_MAX) {
        let Some(webhook) = webhook(checker, typed) else { continue };
        if webhooks.iter().any(|other| other.name == webhook.name) {
            let place = typed.name.as_ref().map_or(&typed.place, |name| &name.place);
            checker.bad(place, format_args!("`{}` is the name of another webhook", webhook.name));
            continue;
        }
        webhooks.push(webhook);
    }
    if let Some(typed) = typed_webhooks.get(CHANNELS_MAX) {
        checker.bad(&typed.place, format_args!("at most {CHANNELS_MAX} webhooks are allowed"));
    }
    Told { public_url, mail, webhooks }
}

/// Where links begin: scheme, host, and perhaps a path.
fn link_base(checker: &mut Checker<'_, '_>, typed: Option<&At<String>>) -> Option<String> {
    let Some(At { value, place }) = typed else {
        checker.set("server.public_url", "none: what is told has no links", None);
        return None;
    };
    let url = Url::parse(value).ok().filter(|url| matches!(url.scheme(), "https" | "http"));
    let good = url.as_ref().is_some_and(|url| {
        url.has_host() && url.query().is_none() && url.fragment().is_none() && without_user(url)
    });
    let plain = value.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"'<>`\\".contains(&byte));
    if !good || !plain || value.len() > TEXT_MAX {
        return checker.refuse(
            place,
            "must be the address at which Jarvis is reached, like https://jarvis.example.org",
        );
    }
    let base = value.trim_end_matches('/');
    checker.set(&place.key, base, Some(place.spot));
    Some(base.to_owned())
}

fn without_user(url: &Url) -> bool {
    url.username().is_empty() && url.password().is_none()
}

fn missing<T>(checker: &mut Checker<'_, '_>, table: &Place, key: &str, words: &str) -> Option<T> {
    let place = Place { key: format!("{}.{key}", table.key), spot: table.spot };
    if !checker.problems.has(&place.key) {
        checker.bad(&place, format_args!("is missing: {words}"));
    }
    None
}

fn mail(checker: &mut Checker<'_, '_>, typed: &typed::Mail) -> Option<Mail> {
    let host = match &typed.host {
        Some(At { value, place }) if is_host(value) => {
            checker.set(&place.key, value, Some(place.spot));
            Some(value.to_ascii_lowercase())
        }
        Some(host) => {
            checker.refuse(&host.place, "must be the mail server's name or address, like smtp.example.org")
        }
        None => missing(checker, &typed.place, "host", "the mail server's name or address"),
    };
    let tls = mail_tls(checker, typed.tls.as_ref());
    let port = checker.whole(typed.port.as_ref(), "mail.port", 1..=65_535, default_port(tls));
    let from = match &typed.from {
        Some(At { value, place }) if value.len() <= TEXT_MAX && mail_address(value).is_some() => {
            checker.set(&place.key, value, Some(place.spot));
            Some(value.clone())
        }
        Some(from) => checker.refuse(&from.place, ADDRESS),
        None => missing(checker, &typed.place, "from", "the sender's address, like jarvis@example.org"),
    };
    let to = recipients(checker, typed);
    let ca_pem = ca_file(checker, typed.ca_file.as_ref());
    let login = login(checker, typed);
    let least = least(checker, typed.least.as_ref(), "mail.least");
    let (host, tls) = (host?, tls?);
    if tls == MailTls::None && !is_loopback(&host) {
        let place = typed.tls.as_ref().map_or(&typed.place, |tls| &tls.place);
        if typed.user.is_some() {
            return checker.refuse(
                place,
                "\"none\" would send the password in clear to another machine: use \"starttls\" or \"implicit\", or a \
                 mail server on this machine",
            );
        }
        checker.warnings.push(format!(
            "mails travel in clear to {host} (mail.tls = \"none\"): whoever sits in between reads and changes them"
        ));
    }
    let port = u16::try_from(port).ok()?;
    Some(Mail { host, port, tls, from: from?, to: to?, login: login?, ca_pem: ca_pem?, least })
}

const ADDRESS: &str = "must be an address like admin@example.org";

fn is_host(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    let name = !text.is_empty() && text.len() <= 253 && text.chars().all(plain);
    name || text.parse::<IpAddr>().is_ok()
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

fn mail_tls(checker: &mut Checker<'_, '_>, typed: Option<&At<String>>) -> Option<MailTls> {
    let Some(At { value, place }) = typed else {
        checker.set("mail.tls", "starttls", None);
        return Some(MailTls::Starttls);
    };
    let tls = match value.as_str() {
        "starttls" => MailTls::Starttls,
        "implicit" => MailTls::Implicit,
        "none" => MailTls::None,
        _ => {
            return checker
                .refuse(place, "must be \"starttls\", \"implicit\" (sealed from the start) or \"none\"");
        }
    };
    checker.set(&place.key, value, Some(place.spot));
    Some(tls)
}

fn default_port(tls: Option<MailTls>) -> i64 {
    match tls {
        Some(MailTls::Implicit) => 465,
        Some(MailTls::None) => 25,
        Some(MailTls::Starttls) | None => 587,
    }
}

fn recipients(checker: &mut Checker<'_, '_>, typed: &typed::Mail) -> Option<Vec<String>> {
    let Some(At { value: items, place }) = &typed.to else {
        return missing(checker, &typed.place, "to", "who is told, like [\"admin@example.org\"]");
    };
    if items.is_empty() || items.len() > CHANNELS_MAX {
        return checker.refuse(place, format_args!("must name 1 to {CHANNELS_MAX} addresses"));
    }
    let mut to: Vec<String> = Vec::new();
    for item in items {
        match mail_address(&item.value).filter(|address| address.len() <= TEXT_MAX) {
            Some(address) if to.contains(&address) => checker.bad(&item.place, "stands here twice"),
            Some(address) => to.push(address),
            None => checker.bad(&item.place, ADDRESS),
        }
    }
    checker.set(&place.key, format_args!("[{}]", to.join(", ")), Some(place.spot));
    (to.len() == items.len()).then_some(to)
}

/// `None`: something is wrong with it. `Some(None)`: nobody logs in.
fn login(checker: &mut Checker<'_, '_>, typed: &typed::Mail) -> Option<Option<(String, Secret)>> {
    let given = typed.password.file.as_ref().or(typed.password.env.as_ref());
    match (&typed.user, given) {
        (None, None) => {
            checker.set("mail.user", "none: nobody logs in", None);
            Some(None)
        }
        (None, Some(password)) => {
            checker.refuse(&password.place, "is a password, and whose it is is missing: set user")
        }
        (Some(user), _) => {
            if user.value.is_empty()
                || user.value.len() > TEXT_MAX
                || user.value.chars().any(char::is_control)
            {
                return checker.refuse(&user.place, "must be the name that the mail server knows");
            }
            checker.set(&user.place.key, &user.value, Some(user.place.spot));
            let password = secret(checker, &typed.place, &typed.password, "password")?;
            Some(Some((user.value.clone(), password)))
        }
    }
}

/// From the one of its two places that is given: `NAME_file` or `NAME_env`.
fn secret(
    checker: &mut Checker<'_, '_>,
    table: &Place,
    typed: &typed::SecretAt,
    name: &str,
) -> Option<Secret> {
    match (&typed.file, &typed.env) {
        (Some(_), Some(env)) => checker.refuse(
            &env.place,
            format_args!("contradicts {name}_file: give either {name}_file or {name}_env"),
        ),
        (Some(file), None) => checker.secret_file(file, &format!("{}.{name}_file", table.key)),
        (None, Some(env)) => variable(checker, env),
        (None, None) => missing(
            checker,
            table,
            &format!("{name}_file"),
            "a file that holds it and nothing else; or the name of a variable that does",
        ),
    }
}

/// `None`: something is wrong with it. `Some(None)`: the authorities of this machine.
fn ca_file(checker: &mut Checker<'_, '_>, typed: Option<&At<String>>) -> Option<Option<Vec<u8>>> {
    let Some(At { value, place }) = typed else { return Some(None) };
    match authority(Path::new(value), "") {
        Ok(pem) => {
            checker.set(&place.key, value, Some(place.spot));
            Some(Some(pem))
        }
        Err(words) => checker.refuse(place, words),
    }
}

fn least(checker: &mut Checker<'_, '_>, typed: Option<&At<String>>, key: &str) -> Severity {
    let Some(At { value, place }) = typed else {
        checker.set(key, LEAST.as_str(), None);
        return LEAST;
    };
    let Some(least) = severity_from_word(value) else {
        checker.bad(place, "must be \"info\", \"warning\", \"error\" or \"critical\"");
        return LEAST;
    };
    checker.set(key, value, Some(place.spot));
    least
}

fn webhook(checker: &mut Checker<'_, '_>, typed: &typed::Webhook) -> Option<Webhook> {
    let name = match &typed.name {
        Some(At { value, place }) if is_name(value) => {
            checker.set(&place.key, value, Some(place.spot));
            Some(value.clone())
        }
        Some(name) => {
            checker.refuse(&name.place, "must be letters, digits, `-` and `_`, at most 100 of them")
        }
        None => missing(checker, &typed.place, "name", "what it is called in events and answers"),
    };
    let url = match &typed.url {
        Some(url) => webhook_url(checker, url),
        None => missing(checker, &typed.place, "url", "where to call, like https://example.org/hooks/jarvis"),
    };
    let ca_pem = ca_file(checker, typed.ca_file.as_ref());
    let secret = secret(checker, &typed.place, &typed.secret, "secret").and_then(|secret| {
        match webhook_key(secret.expose()) {
            Some(key) if key.len() >= SECRET_MIN => Some(secret),
            Some(_) | None => checker.refuse(
                &typed.place,
                format_args!(
                    "the secret must have {SECRET_MIN} bytes at least; of one that begins with whsec_ the rest is \
                     BASE64. Make one: echo whsec_$(head -c 32 /dev/urandom | base64)"
                ),
            ),
        }
    });
    let least = least(checker, typed.least.as_ref(), &format!("{}.least", typed.place.key));
    Some(Webhook { name: name?, url: url?, secret: secret?, ca_pem: ca_pem?, least })
}

fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    !text.is_empty() && text.len() <= 100 && text.chars().all(plain)
}

/// Only its host is ever shown: many services know who calls by the rest of it.
fn webhook_url(checker: &mut Checker<'_, '_>, At { value, place }: &At<String>) -> Option<Secret> {
    let url = Url::parse(value).ok().filter(|url| value.len() <= TEXT_MAX && without_user(url));
    let Some(url) = url.filter(|url| url.has_host() && url.fragment().is_none()) else {
        return checker
            .refuse(place, "must be an address like https://example.org/hooks/jarvis, without a user in it");
    };
    let host = url.host_str().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match url.scheme() {
        "https" => {}
        "http" if is_loopback(bare) => {}
        _ => {
            return checker.refuse(
                place,
                "must begin with https://: what is told travels in clear to this machine alone",
            );
        }
    }
    checker.set(&place.key, format_args!("{}://{host}/...", url.scheme()), Some(place.spot));
    Some(Secret::new(value.as_str()))
}
