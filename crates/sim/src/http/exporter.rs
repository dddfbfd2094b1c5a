//! What a node's `node_exporter` says: its sensors, and a few of the many other figures to be passed over.
//!
//! A sensor's name is `CHIP`, `CHIP/LABEL`, or begins with `zone`: those are the kernel's thermal zones.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use engine::observe::NodeName;
use jiff::Timestamp;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::wire::{self, Answer, Incoming, Payload};
use super::world::Shared;
use crate::cluster::{Cluster, Node};

const IDLE: Duration = Duration::from_secs(5);
/// What Prometheus' text format calls itself.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";

pub(super) async fn serve(
    listener: TcpListener,
    node: NodeName,
    shared: Arc<Shared>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut guests = JoinSet::new();
    loop {
        while guests.try_join_next().is_some() {}
        tokio::select! {
            _ = stopped.changed() => return, // Dropping the set ends what is left.
            came = listener.accept() => {
                if let Ok((stream, _)) = came {
                    guests.spawn(one(stream, node.clone(), shared.clone()));
                }
            }
        }
    }
}

/// One request per connection: `/metrics`, or `/NODE/metrics` of another one, as behind one address for all of them. Of a
/// node without power nobody answers.
async fn one(mut stream: TcpStream, node: NodeName, shared: Arc<Shared>) {
    let Incoming::Request(request) = wire::read(&mut stream, &mut Vec::new(), IDLE).await else { return };
    let meant = match (request.method.as_str(), request.path().strip_suffix("/metrics")) {
        ("GET", Some("")) => Some(node),
        ("GET", Some(other)) => other.strip_prefix('/').and_then(|name| name.parse().ok()),
        (_, _) => None,
    };
    let answer = match meant {
        Some(node) => {
            let told = shared.with_cluster(|cluster| {
                let found = cluster.nodes().get(&node).filter(|node| node.alive());
                found.map(|node| metrics(cluster, node))
            });
            let Some(Some(text)) = told else { return };
            Answer { content_type: TEXT, ..Answer::ok(text) }
        }
        None => Answer::text(404, "Not Found", "404 page not found\n".into()),
    };
    let payload = Payload::of(&answer, request.reads_gzip());
    let head = wire::head(&answer, &payload, Timestamp::now(), true);
    if let Err(error) = wire::send(&mut stream, &head, payload.bytes()).await {
        tracing::trace!(%error, "whoever asked for figures did not wait");
    }
}

/// Prometheus' text format, as `node_exporter` prints it.
fn metrics(cluster: &Cluster, node: &Node) -> String {
    let mut out = String::new();
    let mut say = |line: std::fmt::Arguments| {
        // Writing to a string cannot fail.
        let written = out.write_fmt(line).and_then(|()| out.write_char('\n'));
        debug_assert!(written.is_ok());
    };
    say(format_args!("# HELP node_boot_time_seconds Node boot time, in unixtime."));
    say(format_args!("# TYPE node_boot_time_seconds gauge"));
    say(format_args!("node_boot_time_seconds {:e}", node.booted_at.as_second() as f64));
    let (zones, chips): (Vec<_>, Vec<_>) =
        node.temperatures.iter().partition(|(name, _)| name.starts_with("zone"));
    if !chips.is_empty() {
        say(format_args!("# HELP node_hwmon_sensor_label Label for given chip and sensor"));
        say(format_args!("# TYPE node_hwmon_sensor_label gauge"));
        for (at, (name, _)) in chips.iter().enumerate() {
            let (chip, label) = name.split_once('/').unwrap_or((name, name));
            say(format_args!(
                "node_hwmon_sensor_label{{chip=\"{}\",label=\"{}\",sensor=\"temp{}\"}} 1",
                escape(chip),
                escape(label),
                at + 1
            ));
        }
        say(format_args!("# HELP node_hwmon_temp_celsius Hardware monitor for temperature (input)"));
        say(format_args!("# TYPE node_hwmon_temp_celsius gauge"));
        for (at, (name, degrees)) in chips.iter().enumerate() {
            let (chip, _) = name.split_once('/').unwrap_or((name, name));
            say(format_args!(
                "node_hwmon_temp_celsius{{chip=\"{}\",sensor=\"temp{}\"}} {degrees}",
                escape(chip),
                at + 1
            ));
        }
        say(format_args!("# HELP node_hwmon_temp_max_celsius Hardware monitor for temperature (max)"));
        say(format_args!("# TYPE node_hwmon_temp_max_celsius gauge"));
        for (at, (name, _)) in chips.iter().enumerate() {
            let (chip, _) = name.split_once('/').unwrap_or((name, name));
            say(format_args!(
                "node_hwmon_temp_max_celsius{{chip=\"{}\",sensor=\"temp{}\"}} 100",
                escape(chip),
                at + 1
            ));
        }
    }
    say(format_args!("# HELP node_load1 1m load average."));
    say(format_args!("# TYPE node_load1 gauge"));
    say(format_args!("node_load1 {:.2}", node.cpu * f64::from(node.spec.cores)));
    if !zones.is_empty() {
        say(format_args!("# HELP node_thermal_zone_temp Zone temperature in Celsius"));
        say(format_args!("# TYPE node_thermal_zone_temp gauge"));
        for (at, (name, degrees)) in zones.iter().enumerate() {
            say(format_args!("node_thermal_zone_temp{{type=\"{}\",zone=\"{at}\"}} {degrees}", escape(name)));
        }
    }
    say(format_args!("# HELP node_time_seconds System time in seconds since epoch (1970)."));
    say(format_args!("# TYPE node_time_seconds gauge"));
    say(format_args!("node_time_seconds {:e}", cluster.now().as_second() as f64));
    out
}

/// A label's value.
fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
