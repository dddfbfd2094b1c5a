//! Reads what a cluster is made of: nodes, guests, storages, each with its options.

use std::collections::BTreeSet;

use super::Command;
use super::parse::{Said, by, form};
use super::words::{guest, is_size, node, number, percent, size};
use crate::cluster::{Actor, GIB, GuestSpec, NodeSpec, StorageSpec};

pub(super) fn node_spec(rest: &[&str]) -> Said<NodeSpec> {
    let (name, options) = rest.split_first().ok_or_else(|| form("node"))?;
    let mut spec = NodeSpec::new(node(name)?);
    for option in options {
        match option.split_once('=') {
            Some(("cores", value)) => spec.cores = number(value)?,
            Some(("memory", value)) => spec.memory = size(value)?,
            Some(("disk", value)) => spec.disk = size(value)?,
            Some(("mac", value)) => spec.mac = Some(value.parse().map_err(|error| format!("{error}"))?),
            Some(_) | None => return Err(format!("`{option}`? {}", form("node"))),
        }
    }
    Ok(spec)
}

pub(super) fn guest_spec(rest: &[&str], statement: &str) -> Said<(GuestSpec, Actor)> {
    let (rest, by) = by(rest, statement)?;
    let (id, name, place, options) = match rest {
        [id, "on", place, options @ ..] => (id, None, place, options),
        [id, name, "on", place, options @ ..] => (id, Some(name), place, options),
        _ => return Err(form(statement)),
    };
    let id = guest(id)?;
    let name = name.map_or_else(|| format!("{}{}", id.kind.title(), id.vmid), |name| (*name).to_string());
    let mut spec = GuestSpec::new(id, name, node(place)?);
    for option in options {
        match (*option, option.split_once('=')) {
            ("running", _) => spec.running = true,
            ("paused", _) => (spec.running, spec.paused) = (true, true),
            ("stopped", _) => spec.running = false,
            ("onboot", _) => spec.onboot = true,
            ("template", _) => spec.template = true,
            ("broken", _) => spec.broken = true,
            ("deaf", _) => spec.deaf = true,
            (_, Some(("order", value))) => spec.order = Some(number(value)?),
            (_, Some(("up", value))) => spec.up = Some(number(value)?),
            (_, Some(("tags", value))) => spec.tags = value.split(',').map(str::to_owned).collect(),
            (_, Some(("ha", value))) => spec.ha = Some(value.into()),
            (_, Some(("lock", value))) => spec.lock = Some(value.into()),
            (_, Some(("pool", value))) => spec.pool = Some(value.into()),
            (_, Some(("volume", value))) => {
                spec.volume = Some(value.parse().map_err(|e: engine::observe::BadId| e.to_string())?);
            }
            (_, Some(("cores", value))) => spec.cores = number(value)?,
            (_, Some(("memory", value))) => spec.memory = size(value)?,
            (_, Some(("disk", value))) => spec.disk = size(value)?,
            (other, _) => return Err(format!("`{other}`? {}", form(statement))),
        }
    }
    Ok((spec, by))
}

pub(super) fn is_storage_command(rest: &[&str]) -> bool {
    let declares = |word: &&str| matches!(*word, "shared" | "local") || is_size(word);
    !rest.iter().skip(1).any(declares)
}

pub(super) fn storage_spec(rest: &[&str]) -> Said<StorageSpec> {
    let (name, options) = rest.split_first().ok_or_else(|| form("storage"))?;
    let mut shared = false;
    let (mut total, mut used, mut nodes) = (100 * GIB, 0.0, BTreeSet::new());
    let mut left = options.iter();
    while let Some(option) = left.next() {
        match *option {
            "shared" => shared = true,
            "local" => shared = false,
            "used" => used = percent(left.next().ok_or_else(|| form("storage"))?)?,
            "on" => {
                for name in left.by_ref() {
                    nodes.insert(node(name)?);
                }
            }
            word if is_size(word) => total = size(word)?,
            other => return Err(format!("`{other}`? {}", form("storage"))),
        }
    }
    let name = name.parse().map_err(|e: engine::observe::BadId| e.to_string())?;
    let nodes = (!nodes.is_empty()).then_some(nodes);
    let used = crate::cluster::part_of(total, used);
    Ok(StorageSpec { total, used, nodes, ..StorageSpec::new(name, shared) })
}

pub(super) fn storage_command(rest: &[&str]) -> Said<Command> {
    let (name, rest) = rest.split_first().ok_or_else(|| form("storage"))?;
    let name = name.parse().map_err(|e: engine::observe::BadId| e.to_string())?;
    let (place, rest) = match rest {
        ["on", place, rest @ ..] => (Some(node(place)?), rest),
        [rest @ .., "on", place] => (Some(node(place)?), rest),
        rest => (None, rest),
    };
    match rest {
        ["used", share] => Ok(Command::StorageUsed(name, place, percent(share)?)),
        ["offline"] => Ok(Command::StorageActive(name, place, false)),
        ["online"] => Ok(Command::StorageActive(name, place, true)),
        _ => Err(form("storage")),
    }
}
