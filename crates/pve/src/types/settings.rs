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

    /// Whether the guest agent is enabled: `1`, `enabled=1`, or either with options behind a comma.
    pub fn agent(&self) -> bool {
        let first = self.get("agent").and_then(|agent| agent.split(',').next()).unwrap_or_default();
        ["1", "enabled=1"].contains(&first)
    }
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
}
