//! Numbers over time: `/cluster/metrics/export` and `rrddata`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;

use super::Rows;
use crate::lenient;

/// `/cluster/metrics/export`. The only answer that says when pvestatd measured; a node that does not answer in 20 s
/// is left out without a word.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct MetricsExport {
    pub data: Rows<Metric>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Metric {
    /// `node/pve1`, `qemu/100`, `storage/pve1/local`.
    pub id: Box<str>,
    pub metric: Box<str>,
    /// By the measured node's clock.
    #[serde(default, deserialize_with = "lenient::time")]
    pub timestamp: Option<Timestamp>,
    #[serde(default, deserialize_with = "lenient::float")]
    pub value: Option<f64>,
    /// gauge, counter or derive.
    #[serde(default, rename = "type", deserialize_with = "lenient::text")]
    pub kind: Option<Box<str>>,
}

/// A point of `rrddata`. What was not measured is left out.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "BTreeMap<Box<str>, Measured>")]
pub struct RrdPoint {
    pub time: Timestamp,
    pub values: BTreeMap<Box<str>, f64>,
}

#[derive(Deserialize)]
struct Measured(#[serde(deserialize_with = "lenient::float")] Option<f64>);

impl TryFrom<BTreeMap<Box<str>, Measured>> for RrdPoint {
    type Error = &'static str;

    fn try_from(mut row: BTreeMap<Box<str>, Measured>) -> Result<RrdPoint, &'static str> {
        let second = row.remove("time").and_then(|time| time.0).ok_or("a point without `time`")?;
        let time = Timestamp::from_second(second as i64).map_err(|_| "a point outside of any calendar")?;
        let values = row.into_iter().filter_map(|(name, value)| Some((name, value.0?))).collect();
        Ok(RrdPoint { time, values })
    }
}
