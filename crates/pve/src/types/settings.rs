//! Configuration files as PVE serves them: a flat map whose keys depend on what is configured (`net0`, `mp3`).

use std::collections::BTreeMap;
use std::ops::Deref;

use serde::Deserialize;

use super::guests::Lock;
use super::resources::split_tags;
use crate::lenient;

/// Key and value, each value as the text that stands in the file.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct Settings {
    values: BTreeMap<Box<str>, Value>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Value(#[serde(deserialize_with = "lenient::plain")] Box<str>);

impl Settings {
    pub fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(|value| &*value.0)
    }

    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(|key| &**key)
    }

    /// Absent is no.
    pub fn is_on(&self, key: &str) -> bool {
        self.get(key).is_some_and(|value| ["1", "yes", "true", "on"].contains(&value))
    }

    /// Changes with every change of the file.
    pub fn digest(&self) -> Option<&str> {
        self.get("digest")
    }
}

/// `/nodes/{node}/{qemu,lxc}/{vmid}/config`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct GuestConfig(pub Settings);

impl GuestConfig {
    /// A virtual machine's `name`, a container's `hostname`.
    pub fn name(&self) -> Option<&str> {
        self.get("name").or_else(|| self.get("hostname"))
    }

    /// Whether its node starts it at boot.
    pub fn onboot(&self) -> bool {
        self.is_on("onboot")
    }

    /// Its place in its node's start order, from `startup` (`order=2,up=30`, or the number alone).
    pub fn start_order(&self) -> Option<u32> {
        let parts = self.get("startup")?.split(',').map(str::trim);
        parts.map(|part| part.strip_prefix("order=").unwrap_or(part)).find_map(|order| order.parse().ok())
    }

    /// Seconds that its node waits after its start before it starts the next guest, from `startup` (`order=2,up=30`).
    pub fn start_up(&self) -> Option<u32> {
        let parts = self.get("startup")?.split(',').map(str::trim);
        parts.filter_map(|part| part.strip_prefix("up=")).find_map(|up| up.parse().ok())
    }

    pub fn template(&self) -> bool {
        self.is_on("template")
    }

    pub fn protection(&self) -> bool {
        self.is_on("protection")
    }

    pub fn lock(&self) -> Option<Lock> {
        self.get("lock").map(Lock::from)
    }

    pub fn tags(&self) -> impl Iterator<Item = &str> {
        split_tags(self.get("tags"))
    }

    /// The addresses of its network cards, from `net0` and on: of a virtual machine `virtio=BC:24:11:00:00:01,bridge=vmbr0`, of a
    /// container `name=eth0,bridge=vmbr0,hwaddr=BC:24:11:00:00:01`.
    pub fn addresses(&self) -> impl Iterator<Item = &str> {
        let digits = |rest: &str| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit());
        let cards = self.keys().filter(move |key| key.strip_prefix("net").is_some_and(digits));
        let parts = cards.filter_map(|key| self.get(key)).flat_map(|card| card.split(','));
        parts
            .filter_map(|part| part.split_once('='))
            .map(|(_, value)| value.trim())
            .filter(|value| is_mac(value))
    }

    /// Whether the guest agent is enabled: `1`, `enabled=1`, or either with options behind a comma.
    pub fn agent(&self) -> bool {
        let first = self.get("agent").and_then(|agent| agent.split(',').next()).unwrap_or_default();
        ["1", "enabled=1"].contains(&first)
    }
}

/// Six pairs of digits, as PVE writes the address of a card.
fn is_mac(text: &str) -> bool {
    let pair = |pair: &str| pair.len() == 2 && pair.bytes().all(|byte| byte.is_ascii_hexdigit());
    text.split(':').count() == 6 && text.split(':').all(pair)
}

impl Deref for GuestConfig {
    type Target = Settings;

    fn deref(&self) -> &Settings {
        &self.0
    }
}

/// `/nodes/{node}/config`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct NodeConfig(pub Settings);

impl NodeConfig {
    /// The MAC address to wake it with; may carry options behind a comma.
    pub fn wakeonlan(&self) -> Option<&str> {
        self.get("wakeonlan")
    }
}

impl Deref for NodeConfig {
    type Target = Settings;

    fn deref(&self) -> &Settings {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_read_as_they_stand_in_the_file() {
        let json = r#"{"memory":"64","cores":2,"onboot":1,"agent":"enabled=1,fstrim_cloned_disks=1","tags":"a;b",
            "hostname":"ct","lock":"backup","description":"","cpulimit":1.5}"#;
        let config: GuestConfig = serde_json::from_str(json).unwrap();
        assert_eq!(
            (config.get("memory"), config.get("cores"), config.get("cpulimit")),
            (Some("64"), Some("2"), Some("1.5"))
        );
        assert!(config.onboot() && config.agent() && !config.template() && !config.protection());
        assert_eq!((config.name(), config.lock()), (Some("ct"), Some(Lock::Backup)));
        assert_eq!(config.tags().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(config.get("description"), Some(""));
        let empty: GuestConfig = serde_json::from_str("{}").unwrap();
        assert!(!empty.onboot(), "absent is no");
    }

    #[test]
    fn the_addresses_of_its_cards() {
        for (name, json, expected) in [
            (
                "a virtual machine",
                r#"{"net0":"virtio=BC:24:11:00:00:01,bridge=vmbr0,firewall=1"}"#,
                &["BC:24:11:00:00:01"][..],
            ),
            (
                "a container",
                r#"{"net0":"name=eth0,bridge=vmbr0,hwaddr=BC:24:11:00:00:02,ip=dhcp,type=veth"}"#,
                &["BC:24:11:00:00:02"],
            ),
            (
                "several cards",
                r#"{"net0":"e1000=bc:24:11:00:00:01","net10":"virtio=BC:24:11:00:00:03"}"#,
                &["bc:24:11:00:00:01", "BC:24:11:00:00:03"],
            ),
            (
                "in the other way",
                r#"{"net1":"virtio,bridge=vmbr0,macaddr=BC:24:11:00:00:04"}"#,
                &["BC:24:11:00:00:04"],
            ),
            ("an address of another kind", r#"{"net0":"name=eth0,ip6=fd00:0:0:0:0:1,gw6=fe80::1"}"#, &[]),
            (
                "another key",
                r#"{"network":"x=BC:24:11:00:00:01","net":"x=BC:24:11:00:00:01","description":"net0=BC:24:11:00:00:01"}"#,
                &[],
            ),
            ("none", "{}", &[]),
        ] {
            let config: GuestConfig = serde_json::from_str(json).unwrap();
            assert_eq!(config.addresses().collect::<Vec<_>>(), expected, "{name}");
        }
    }
}
