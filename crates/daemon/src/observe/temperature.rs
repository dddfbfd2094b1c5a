//! Temperature: what the sensors of a cluster's nodes read, which PVE has no API for (pve-domain 6).
//!
//! From node_exporter, or from the nodes' own files over the system's ssh. Whom to ask is the configuration's word:
//! of a node only its name is put in, and only one that can be nothing but a name. Which values are too high is not
//! decided here.

mod exporter;
mod files;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use engine::observe::{Blindness, Cause, ClusterName, NodeName, Seen};
use jiff::{SignedDuration, Timestamp};
use tokio::task::JoinSet;

use self::exporter::Exporter;
use self::files::Ssh;
use super::Observer;
use crate::clock::Clock;
use crate::report::page::Page;

/// Nodes asked at the same time: a round over a large cluster of which half is away stays short of a minute.
const AT_ONCE: usize = 8;
/// Sensors of one node that are kept, hottest first: two sockets of 288 cores have less.
const SENSORS_MAX: usize = 1_024;
/// Longest name of a sensor, in characters.
const NAME_MAX: usize = 80;
/// What a sensor in a running machine can read, in degrees Celsius. Broken ones say -128, 255 or 65261.
const PLAUSIBLE: std::ops::RangeInclusive<f64> = -60.0..=200.0;

/// Degrees Celsius by sensor (`coretemp Package id 0`, `nvme Composite`, `x86_pkg_temp`).
pub(super) type Zones = BTreeMap<Box<str>, f64>;

/// Where the sensors of a node are read.
#[derive(Clone, Debug)]
pub struct Source(Kind);

#[derive(Clone, Debug)]
enum Kind {
    NodeExporter(Exporter),
    Ssh(Ssh),
}

impl Source {
    /// node_exporter at an address in which `{node}` stands for the node's name; without it there is a single node.
    /// `authority`, PEM, is the cluster's own, which https is judged by; otherwise the machine's are.
    ///
    /// # Errors
    /// Certificates that cannot be used.
    pub fn node_exporter(url: String, authority: Option<&[u8]>) -> anyhow::Result<Source> {
        Ok(Source(Kind::NodeExporter(Exporter::new(url, authority)?)))
    }

    /// The nodes' own files, with the system's ssh and a key without a pass phrase.
    pub fn ssh(user: String, key_file: PathBuf) -> Source {
        Source(Kind::Ssh(Ssh::new(user, key_file)))
    }

    /// The sensors of one node. A node that has none is an empty map, not a failure.
    async fn read(&self, node: &NodeName) -> Result<Zones, Blindness> {
        let host = host(node)?;
        match &self.0 {
            Kind::NodeExporter(exporter) => exporter.read(host).await,
            Kind::Ssh(ssh) => ssh.read(host).await,
        }
    }

    /// Whether each node has its own answer.
    fn is_per_node(&self) -> bool {
        match &self.0 {
            Kind::NodeExporter(exporter) => exporter.is_per_node(),
            Kind::Ssh(_) => true,
        }
    }
}

/// The node's name as a host's. PVE's nodes have one label of letters, digits and hyphens; whoever reports another one
/// does not get to say which host is asked: a name with dots may be any host of the world, and one that is a number is
/// an address to a resolver.
fn host(node: &NodeName) -> Result<&str, Blindness> {
    let name = node.as_str();
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let number =
        name.bytes().all(|byte| byte.is_ascii_digit()) || name.to_ascii_lowercase().starts_with("0x");
    if !plain || number || name.len() > 63 {
        return Err(blind(
            Cause::Malformed,
            format!("`{name}` is not asked: it is no name of a single host"),
        ));
    }
    Ok(name)
}

/// A cluster's sensors: where they are read, and what was last read.
pub(super) struct Sensors {
    cluster: ClusterName,
    source: Option<Source>,
    /// How long a reading is shown: two routine rounds, so that one that fails does not empty the page.
    kept: SignedDuration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    latest: BTreeMap<NodeName, (Timestamp, Zones)>,
    /// Whose sensors could not be read last time.
    failing: BTreeSet<NodeName>,
    /// What the page has, once it has anything.
    shown: Option<BTreeMap<NodeName, Zones>>,
}

impl Observer {
    /// The same observer, reading sensors. `routine` is how often.
    pub(crate) fn with_sensors(self, source: Option<Source>, routine: Duration) -> Observer {
        let sensors = Sensors::new(self.cluster.clone(), source, routine);
        Observer { sensors, ..self }
    }

    /// The sensors of every node that is there to be asked.
    pub(super) async fn temperatures(&self) -> BTreeMap<NodeName, Seen<Zones>> {
        self.sensors.round(self.members(), &self.clock).await
    }
}

impl Sensors {
    /// `routine` is how often they are read.
    fn new(cluster: ClusterName, source: Option<Source>, routine: Duration) -> Sensors {
        let kept = SignedDuration::try_from(routine.saturating_mul(2)).unwrap_or(SignedDuration::MAX);
        Sensors { cluster, source, kept, state: Mutex::default() }
    }

    /// Of nobody.
    pub(super) fn none(cluster: ClusterName) -> Sensors {
        Sensors::new(cluster, None, Duration::ZERO)
    }

    /// Reads the sensors of these nodes, some at a time. Nobody is asked, and nothing returned, without a source.
    async fn round(&self, nodes: Vec<NodeName>, clock: &Clock) -> BTreeMap<NodeName, Seen<Zones>> {
        let Some(source) = &self.source else { return BTreeMap::new() };
        let mut seen = BTreeMap::new();
        if nodes.len() > 1 && !source.is_per_node() {
            let words = "temperature.url holds no {node}, and the cluster has several nodes: whose sensors they are is \
                         not known";
            let unknown = blind(Cause::Malformed, words);
            seen = nodes.into_iter().map(|node| (node, Seen::NotReached(unknown.clone()))).collect();
        } else {
            let mut waiting = nodes.into_iter();
            let mut asked = JoinSet::new();
            loop {
                while asked.len() < AT_ONCE
                    && let Some(node) = waiting.next()
                {
                    let (source, asked_at) = (source.clone(), clock.now());
                    asked.spawn(async move { (source.read(&node).await, node, asked_at) });
                }
                match asked.join_next().await {
                    Some(Ok((Ok(value), node, asked_at))) => seen.insert(node, Seen::At { value, asked_at }),
                    Some(Ok((Err(blindness), node, _))) => seen.insert(node, Seen::NotReached(blindness)),
                    Some(Err(error)) => {
                        tracing::error!(cluster = %self.cluster, %error, "reading sensors broke off");
                        continue;
                    }
                    None => break,
                };
            }
        }
        self.remember(&seen);
        seen
    }

    /// Hands the page what it does not have yet; it sends the same again by itself.
    pub(super) fn show(&self, page: &Page, now: Timestamp) {
        if let Some(news) = self.news(now) {
            page.publish_temperatures(news, now);
        }
    }

    /// What is shown, where that is not what was shown before.
    fn news(&self, now: Timestamp) -> Option<BTreeMap<NodeName, Zones>> {
        let latest = self.latest(now);
        let mut state = self.state();
        // Before the first round there is nothing to show, which is not the same as no sensors.
        let news = state.shown.as_ref().map_or(!latest.is_empty(), |shown| *shown != latest);
        news.then(|| state.shown.insert(latest).clone())
    }

    /// What was last read, by node, as long as it is shown.
    fn latest(&self, now: Timestamp) -> BTreeMap<NodeName, Zones> {
        let young = |at: &Timestamp| now.duration_since(*at) <= self.kept;
        let state = self.state();
        let shown = state.latest.iter().filter(|(_, (at, _))| young(at));
        shown.map(|(node, (_, zones))| (node.clone(), zones.clone())).collect()
    }

    /// What fails is told when it begins to, and not at every round.
    fn remember(&self, seen: &BTreeMap<NodeName, Seen<Zones>>) {
        let mut state = self.state();
        // A node that is away was not asked; its last reading stays until it is too old.
        state.failing.retain(|node| seen.contains_key(node));
        for (node, seen) in seen {
            match seen {
                Seen::At { value, asked_at } => {
                    if state.failing.remove(node) {
                        tracing::info!(cluster = %self.cluster, %node, "its sensors are read again");
                    }
                    state.latest.insert(node.clone(), (*asked_at, value.clone()));
                }
                Seen::NotReached(Blindness { words, .. }) => {
                    if state.failing.insert(node.clone()) {
                        tracing::warn!(cluster = %self.cluster, %node, "its sensors are not read: {words}");
                    }
                }
                Seen::NotAsked => {}
            }
        }
        let newest = state.latest.values().map(|(at, _)| *at).max().unwrap_or(Timestamp::MIN);
        state.latest.retain(|_, (at, _)| newest.duration_since(*at) <= self.kept);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One sensor as its source shows it.
struct Sensor {
    /// What it may be called, the most telling first; the last one is unique on its node.
    names: [String; 3],
    celsius: f64,
}

/// Sensors by the first of their names that no other sensor has. What cannot be true is left out.
fn zones(sensors: Vec<Sensor>) -> Zones {
    let mut sensors: Vec<Sensor> =
        sensors.into_iter().filter(|sensor| PLAUSIBLE.contains(&sensor.celsius)).collect();
    sensors.sort_by(|a, b| b.celsius.total_cmp(&a.celsius));
    sensors.truncate(SENSORS_MAX);
    let mut taken: [BTreeMap<Box<str>, usize>; 3] = Default::default();
    for sensor in &sensors {
        for (taken, name) in taken.iter_mut().zip(&sensor.names) {
            *taken.entry(printable(name)).or_default() += 1;
        }
    }
    let mut zones = Zones::new();
    for Sensor { names, celsius } in &sensors {
        let mut names = names.iter().map(|name| printable(name));
        let alone = |(name, taken): &(Box<str>, &BTreeMap<Box<str>, usize>)| {
            !name.is_empty() && taken.get(name) == Some(&1)
        };
        let alone = names.clone().zip(&taken).find(alone);
        let name = alone.map(|(name, _)| name).or_else(|| names.next_back()).unwrap_or_default();
        // The hottest comes first: of two that share even the last name it is the one that matters.
        zones.entry(name).or_insert(*celsius);
    }
    zones
}

/// Chips and drivers name themselves; what they say goes into events and onto the page.
fn printable(name: &str) -> Box<str> {
    one_line(name, NAME_MAX)
}

/// The words of a text with single blanks between them, up to so many characters.
fn one_line(text: &str, characters: usize) -> Box<str> {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let line = words.collect::<Vec<_>>().join(" ");
    line.chars().take(characters).collect::<String>().into()
}

fn blind(cause: Cause, words: impl Into<String>) -> Blindness {
    Blindness { cause, words: words.into() }
}
