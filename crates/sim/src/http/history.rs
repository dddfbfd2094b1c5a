//! History: `rrddata`, made up backwards from how things are now. What did not run has points with a time and nothing else,
//! as PVE's have.

use engine::observe::GuestKind;
use jiff::Timestamp;

use super::views::row;
use crate::cluster::{Cluster, Guest, Node};
use crate::json::Json;

/// Points of one answer.
const POINTS: i64 = 70;

/// Seconds from one point to the next.
fn step(timeframe: Option<&str>) -> i64 {
    match timeframe {
        Some("day") => 1_800,
        Some("week") => 10_800,
        Some(_) | None => 60,
    }
}

/// The times of the points, oldest first.
fn times<'a>(now: Timestamp, get: &impl Fn(&str) -> Option<&'a str>) -> impl Iterator<Item = i64> {
    let step = step(get("timeframe"));
    let last = now.as_second() / step * step;
    (0..POINTS).map(move |back| last - (POINTS - 1 - back) * step)
}

/// A value that wanders around another one, the same for the same time.
fn around(value: f64, second: i64, of: u64) -> f64 {
    let phase = second as f64 / 900.0 + of as f64;
    value * (1.0 + 0.3 * phase.sin() + 0.1 * (phase * 5.3).sin())
}

pub(super) fn of_node<'a>(
    cluster: &'a Cluster,
    node: &'a Node,
    get: &impl Fn(&str) -> Option<&'a str>,
) -> Json<'a> {
    let spec = &node.spec;
    let now = cluster.now();
    let booted = now.as_second().saturating_sub(i64::try_from(node.uptime(now)).unwrap_or(i64::MAX));
    let points = times(now, get).map(|time| {
        let mut point = row! { "time" => time };
        if time >= booted {
            let of = u64::from(spec.cores);
            point.extend(row! {
                "cpu" => around(node.cpu, time, of).min(1.0), "maxcpu" => spec.cores,
                "memused" => spec.memory as f64 * around(node.memory, time, of + 1).min(1.0), "memtotal" => spec.memory,
                "rootused" => spec.disk as f64 * node.disk, "roottotal" => spec.disk,
            });
        }
        Json::Map(point)
    });
    Json::List(points.collect())
}

pub(super) fn of_guest<'a>(
    cluster: &'a Cluster,
    guest: &'a Guest,
    get: &impl Fn(&str) -> Option<&'a str>,
) -> Json<'a> {
    let spec = &guest.spec;
    let numbers = cluster.numbers(spec.id);
    let now = cluster.now();
    let uptime = i64::try_from(numbers.uptime).unwrap_or(i64::MAX);
    let started = now.as_second().saturating_sub(uptime);
    let points = times(now, get).map(|time| {
        let mut point =
            row! { "time" => time, "maxcpu" => spec.cores, "maxmem" => spec.memory, "maxdisk" => spec.disk };
        if guest.process.is_some() && time >= started {
            let of = u64::from(spec.id.vmid);
            let memory = around(numbers.memory as f64, time, of).min(spec.memory as f64);
            let cpu = around(numbers.cpu, time, of + 1).min(1.0);
            match spec.id.kind {
                GuestKind::Qemu => point.extend(row! { "cpu" => cpu, "mem" => memory }),
                // The recorded container did nothing, and what is nothing is a whole number.
                GuestKind::Lxc => {
                    point.extend(row! { "cpu" => 0_i64, "mem" => memory as u64, "disk" => numbers.disk })
                }
            }
        }
        Json::Map(point)
    });
    Json::List(points.collect())
}
