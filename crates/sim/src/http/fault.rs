//! Single requests that fail on demand: which one, and how. Nothing of it touches the cluster.
//!
//! ```text
//! fault 595 n=3                        the third request from here on
//! fault timeout n=1 times=4 path=/nodes/pve1/qemu
//! fault any p=0.05 seed=7 node=pve2    each request there with a probability of 5 %, each in some way
//! fault off
//! ```
//!
//! `500` and `595` come before the request is looked at. `timeout`, `reset` and `truncated` come after it was
//! answered: what it asked for was done, and only the answer is lost.

use std::collections::BTreeMap;
use std::str::FromStr;

use engine::observe::NodeName;
use serde::Serialize;

use super::wire::Request;
use crate::rng::Rng;

/// More switches than this at once are a mistake.
const SWITCHES_MAX: usize = 64;
/// More different calls than this are counted together.
const CALLS_MAX: usize = 500;

/// How a request fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Fault {
    /// No answer ever comes.
    #[serde(rename = "timeout")]
    Timeout,
    /// `500`, with PVE's text of a lock that it did not get.
    #[serde(rename = "500")]
    Error,
    /// `595 Connection refused`: between two hops.
    #[serde(rename = "595")]
    Proxy,
    /// The connection is reset.
    #[serde(rename = "reset")]
    Reset,
    /// The body ends in its middle.
    #[serde(rename = "truncated")]
    Truncated,
}

const FAULTS: &[(&str, Fault)] = &[
    ("timeout", Fault::Timeout),
    ("500", Fault::Error),
    ("595", Fault::Proxy),
    ("reset", Fault::Reset),
    ("truncated", Fault::Truncated),
];

/// How many requests met a switch, and how many of them failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FaultCounts {
    /// Requests since the first switch was set, whether they matched or not.
    pub asked: u64,
    /// Those that failed.
    pub failed: u64,
    /// Those that failed, by how.
    pub kinds: BTreeMap<Fault, u64>,
    /// Those that failed, by `METHOD /path`.
    pub calls: BTreeMap<String, u64>,
}

#[derive(Clone, Debug)]
enum When {
    /// After so many that match, so many times.
    Nth { before: u64, times: u64 },
    /// Each with this probability.
    Chance(f64),
}

#[derive(Clone, Debug)]
struct Switch {
    /// `None` for any.
    fault: Option<Fault>,
    when: When,
    /// What follows `/api2/json`.
    path: String,
    /// The node that was asked.
    node: Option<NodeName>,
    rng: Rng,
}

/// All switches that are set.
#[derive(Default)]
pub(super) struct Switchboard {
    switches: Vec<Switch>,
    counts: FaultCounts,
}

impl Switchboard {
    /// Obeys what follows the word `fault`.
    pub(super) fn set(&mut self, words: &[&str]) -> Result<(), String> {
        if words == ["off"] {
            self.switches.clear();
            return Ok(());
        }
        if self.switches.len() >= SWITCHES_MAX {
            return Err(format!("too many faults are switched on already: {SWITCHES_MAX} at most"));
        }
        if self.switches.is_empty() {
            self.counts = FaultCounts::default();
        }
        self.switches.push(Switch::parse(words)?);
        Ok(())
    }

    pub(super) fn counts(&self) -> FaultCounts {
        self.counts.clone()
    }

    /// Whether this request fails. The first switch that has its turn decides; those that are used up go.
    pub(super) fn next(&mut self, node: &NodeName, request: &Request) -> Option<Fault> {
        if self.switches.is_empty() {
            return None;
        }
        self.counts.asked += 1;
        let path = request.path();
        let path = path.strip_prefix("/api2/json").or(path.strip_prefix("/api2/extjs")).unwrap_or(path);
        let mut fails = None;
        for switch in &mut self.switches {
            let meant = switch.node.as_ref().is_none_or(|only| only == node);
            if meant && path.starts_with(&switch.path) && fails.is_none() {
                fails = switch.turn();
            }
        }
        self.switches.retain(|switch| !matches!(switch.when, When::Nth { times: 0, .. }));
        if let Some(fault) = fails {
            self.counts.failed += 1;
            *self.counts.kinds.entry(fault).or_default() += 1;
            let call = format!("{} {path}", request.method);
            let calls = &mut self.counts.calls;
            let known = calls.contains_key(&call) || calls.len() < CALLS_MAX;
            *calls.entry(if known { call } else { "(others)".into() }).or_default() += 1;
        }
        fails
    }
}

impl Switch {
    fn parse(words: &[&str]) -> Result<Switch, String> {
        let (kind, options) =
            words.split_first().ok_or("which fault? timeout, 500, 595, reset, truncated, any, off")?;
        let fault = match FAULTS.iter().find(|(name, _)| name == kind) {
            Some((_, fault)) => Some(*fault),
            None if *kind == "any" => None,
            None => {
                return Err(format!("`{kind}` is no fault: timeout, 500, 595, reset, truncated, any, off"));
            }
        };
        let (mut nth, mut times, mut chance, mut seed) = (None, None, None, 1);
        let (mut path, mut node) = (String::new(), None);
        for option in options {
            let (name, value) = option.split_once('=').ok_or_else(|| format!("`{option}`: NAME=VALUE"))?;
            match name {
                "n" => nth = Some(number::<u64>(name, value)?.max(1)),
                "times" => times = Some(number::<u64>(name, value)?),
                "p" => chance = Some(number::<f64>(name, value)?.clamp(0.0, 1.0)),
                "seed" => seed = number(name, value)?,
                "path" => path = value.into(),
                "node" => node = Some(value.parse().map_err(|_| format!("`{value}` is no name of a node"))?),
                _ => return Err(format!("`{name}` is no option of a fault: n, times, p, seed, path, node")),
            }
        }
        let when = match chance {
            Some(_) if nth.is_some() || times.is_some() => {
                return Err("either p=, or n= and times=".into());
            }
            Some(chance) => When::Chance(chance),
            None => When::Nth { before: nth.unwrap_or(1) - 1, times: times.unwrap_or(1) },
        };
        Ok(Switch { fault, when, path, node, rng: Rng::new(seed) })
    }

    /// One request that it is meant for.
    fn turn(&mut self) -> Option<Fault> {
        match &mut self.when {
            When::Nth { before: before @ 1.., .. } => {
                *before -= 1;
                return None;
            }
            When::Nth { times: 0, .. } => return None,
            When::Nth { times, .. } => *times -= 1,
            When::Chance(p) if self.rng.fraction() >= *p => return None,
            When::Chance(_) => {}
        }
        Some(self.fault.unwrap_or_else(|| FAULTS[self.rng.below(FAULTS.len())].1))
    }
}

fn number<T: FromStr>(name: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("`{value}` is no number for {name}="))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failures(line: &str, count: usize) -> Vec<Option<Fault>> {
        let mut board = Switchboard::default();
        let words: Vec<&str> = line.split(' ').collect();
        board.set(&words).unwrap();
        let node: NodeName = "pve1".parse().unwrap();
        let paths = ["/api2/json/version", "/api2/json/nodes/pve1/qemu"];
        let request =
            |at: usize| Request { method: "GET".into(), target: paths[at % 2].into(), ..Request::default() };
        (0..count).map(|at| board.next(&node, &request(at))).collect()
    }

    #[test]
    fn one_row_per_way_to_choose_a_request() {
        let reset = Some(Fault::Reset);
        #[rustfmt::skip]
        let table = [
            ("the next",             "reset",                           vec![reset, None, None, None]),
            ("the third",            "reset n=3",                       vec![None, None, reset, None]),
            ("two from the second",  "reset n=2 times=2",               vec![None, reset, reset, None]),
            ("the second of a path", "reset n=2 path=/nodes/",          vec![None, None, None, reset]),
            ("at another node",      "reset node=pve2",                 vec![None, None, None, None]),
            ("always",               "reset p=1",                       vec![reset, reset, reset, reset]),
            ("never",                "reset p=0",                       vec![None, None, None, None]),
        ];
        for (name, line, expected) in table {
            assert_eq!(failures(line, 4), expected, "{name}");
        }
    }

    #[test]
    fn chance_repeats_by_seed() {
        let line = "any p=0.2 seed=7";
        let failed = failures(line, 1000);
        assert_eq!(failed, failures(line, 1000));
        let count = failed.iter().flatten().count();
        assert!((120..280).contains(&count), "{count} of 1000 at 20 %");
        let kinds: std::collections::BTreeSet<_> = failed.into_iter().flatten().collect();
        assert_eq!(kinds.len(), FAULTS.len(), "every way to fail comes");
    }

    #[test]
    fn a_typing_error_is_told() {
        for line in ["", "nonsense", "reset n=x", "reset p=0.1 n=2", "reset what=1", "reset alone"] {
            let words: Vec<&str> = line.split(' ').filter(|word| !word.is_empty()).collect();
            assert!(Switchboard::default().set(&words).is_err(), "{line}");
        }
    }
}
