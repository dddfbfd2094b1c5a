//! Recorded answers of real nodes, served as they are: status line, headers and body byte for byte.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use engine::observe::NodeName;
use serde::Deserialize;

use super::access::{self, Token};
use super::wire::{Answer, Request, unescape};

/// More files than this are no recording of one cluster.
const FILES_MAX: usize = 5_000;

/// A file of a recording; others in the folder (timelines, notes) are passed over.
#[derive(Deserialize)]
struct File {
    request: Asked,
    response: Answered,
}

#[derive(Deserialize)]
struct Asked {
    method: String,
    path: String,
    token: Option<String>,
}

#[derive(Deserialize)]
struct Answered {
    status_line: String,
    headers: Vec<(String, String)>,
    raw_body: Option<String>,
}

struct Take {
    token: Option<String>,
    query: Vec<String>,
    answer: Answer,
}

/// A folder of recorded answers.
pub(super) struct Recorded {
    /// The cluster's name, for its CA.
    pub(super) cluster: String,
    /// The node that was asked.
    pub(super) node: NodeName,
    takes: BTreeMap<(String, String), Vec<Take>>,
}

impl Recorded {
    /// Reads all files of a folder, in the order of their names.
    pub(super) fn load(folder: &Path) -> anyhow::Result<Recorded> {
        let entries =
            std::fs::read_dir(folder).with_context(|| format!("recorded answers in {}", folder.display()))?;
        let mut paths = entries.map(|e| e.map(|e| e.path())).collect::<Result<Vec<_>, _>>()?;
        paths.retain(|path| path.extension().is_some_and(|end| end == "json"));
        paths.sort();
        if paths.len() > FILES_MAX {
            bail!("{} holds more than {FILES_MAX} files", folder.display());
        }
        let mut takes: BTreeMap<_, Vec<Take>> = BTreeMap::new();
        for path in &paths {
            let text = std::fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
            let Ok(file) = serde_json::from_str::<File>(&text) else { continue };
            if let Some(answer) = answer_of(&file.response) {
                let (path, query) = split(&file.request.path);
                takes.entry((file.request.method, path)).or_default().push(Take {
                    token: file.request.token,
                    query,
                    answer,
                });
            }
        }
        if takes.is_empty() {
            bail!("{} holds no recorded answers", folder.display());
        }
        let mut asked: BTreeMap<Option<String>, usize> = BTreeMap::new();
        for take in takes.values().flatten() {
            *asked.entry(take.token.clone()).or_default() += 1;
        }
        for same in takes.values_mut() {
            // What was answered before what was refused; then the token that asked most, whose view is the usual.
            let rarity = |take: &Take| usize::MAX - asked.get(&take.token).copied().unwrap_or_default();
            same.sort_by_key(|take| (take.answer.status >= 400, rarity(take)));
        }
        let node = local_node(&takes).unwrap_or("pve1".parse()?);
        Ok(Recorded { cluster: "recorded".into(), node, takes })
    }

    pub(super) fn answer(
        &self,
        request: &Request,
        tokens: &[Token],
        delay_401: Duration,
    ) -> (Answer, String) {
        let (path, query) = split(&request.target);
        let name = format!("{} {path}", request.method);
        let unknown = |reason| (Answer { delay: delay_401, ..Answer::bare(401, reason) }, name.clone());
        let header = request.header("authorization").and_then(|text| text.strip_prefix("PVEAPIToken"));
        let Some(given) = header else { return unknown("No ticket") };
        if !tokens.is_empty()
            && let Err(reason) = access::authenticate(request, tokens)
        {
            return unknown(reason);
        }
        let who = given.trim_start_matches(['=', ' ']).split('=').next().unwrap_or_default();
        let takes = self.takes.get(&(request.method.clone(), path.clone()));
        let take = takes.and_then(|takes| {
            // The same question by the same token, by another, and at last with other parameters.
            let exact = takes.iter().filter(|take| take.query == query);
            exact
                .clone()
                .find(|take| take.token.as_deref() == Some(who))
                .or(exact.clone().next())
                .or(takes.iter().find(|take| take.query.is_empty()))
                .or(takes.first())
        });
        let answer = take.map(|take| take.answer.clone()).unwrap_or_else(|| {
            let path = path.strip_prefix("/api2/json").unwrap_or(&path);
            let text = format!("Method '{} {path}' not implemented", request.method);
            let body = serde_json::json!({ "data": null, "message": text }).to_string();
            Answer { body: Some(body.into()), ..Answer::bare(501, text) }
        });
        (answer, name)
    }
}

/// Path without escapes, and the parameters in order.
fn split(target: &str) -> (String, Vec<String>) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut query: Vec<String> =
        query.split('&').filter(|p| !p.is_empty()).map(|p| unescape(p, true)).collect();
    query.sort();
    (unescape(path, false), query)
}

/// `None` for what cannot be served byte for byte: a compressed body does not survive as JSON text.
fn answer_of(answered: &Answered) -> Option<Answer> {
    let (version, rest) = answered.status_line.split_once(' ')?;
    let (status, reason) = rest.split_once(' ').unwrap_or((rest, ""));
    let status = status.parse().ok().filter(|_| version.starts_with("HTTP/"))?;
    let has = |name: &str| answered.headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
    if has("content-encoding") {
        return None;
    }
    let ours = ["connection", "content-length", "keep-alive", "transfer-encoding"];
    let recorded =
        answered.headers.iter().filter(|(name, _)| !ours.contains(&name.to_ascii_lowercase().as_str()));
    let body = has("content-length").then(|| answered.raw_body.as_deref().unwrap_or_default().into());
    Some(Answer { recorded: recorded.cloned().collect(), body, ..Answer::bare(status, reason) })
}

fn local_node(takes: &BTreeMap<(String, String), Vec<Take>>) -> Option<NodeName> {
    let key = ("GET".to_owned(), "/api2/json/cluster/status".to_owned());
    let body = takes.get(&key)?.first()?.answer.body.clone()?;
    let parsed: serde_json::Value = serde_json::from_str(&body).ok()?;
    let rows = parsed["data"].as_array()?;
    rows.iter().find(|row| row["local"] == 1)?["name"].as_str()?.parse().ok()
}
