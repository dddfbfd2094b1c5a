//! Task ids (UPIDs) and how a task ended.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};

use crate::ids::NodeName;

/// `UPID:node:pid:pstart:starttime:type:id:user:`, the numbers in hexadecimal, the last colon part of it.
///
/// Keeps the text as PVE wrote it, because that text is the key of later questions about the task.
#[derive(Clone)]
pub struct Upid {
    text: Box<str>,
    node: NodeName,
    pid: u32,
    pstart: u64,
    started_at: Timestamp,
    kind: Box<str>,
    id: Box<str>,
    user: Box<str>,
}

/// Why a text is no task id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a task id (UPID): {why}")]
pub struct UpidError {
    text: Box<str>,
    why: &'static str,
}

/// Real ones stay below 150; the longest user name and token PVE allows still fit.
const UPID_MAX: usize = 512;

impl Upid {
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The node that runs the task: questions about it go there.
    pub fn node(&self) -> &NodeName {
        &self.node
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    pub fn pstart(&self) -> u64 {
        self.pstart
    }

    /// By the clock of the node that runs the task.
    pub fn started_at(&self) -> Timestamp {
        self.started_at
    }

    /// `qmstart`, `vzdump`, `hastop`, ..; an open list.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// What the task is about: a guest's number, a service, or nothing (a backup of several guests).
    pub fn id(&self) -> Option<&str> {
        Some(&*self.id).filter(|id| !id.is_empty())
    }

    /// The guest's number, where `id` is one.
    pub fn vmid(&self) -> Option<u32> {
        self.id.parse().ok()
    }

    /// `name@realm`, without a token's name.
    pub fn user(&self) -> &str {
        self.user.split_once('!').map_or(&self.user, |(user, _)| user)
    }

    /// The token's name, if a token started the task.
    pub fn token(&self) -> Option<&str> {
        self.user.split_once('!').map(|(_, token)| token)
    }

    /// `name@realm` or `name@realm!token`: compares with [`crate::Token::id`] to know our own tasks.
    pub fn authid(&self) -> &str {
        &self.user
    }
}

impl FromStr for Upid {
    type Err = UpidError;

    fn from_str(text: &str) -> Result<Upid, UpidError> {
        let wrong = |why| UpidError { text: crate::answer::excerpt(text.as_bytes(), 120), why };
        if text.len() > UPID_MAX {
            return Err(wrong("it is too long"));
        }
        // The text goes into a path; percent-encoding keeps it one segment, and this keeps it one line.
        if text.bytes().any(|byte| byte.is_ascii_control()) {
            return Err(wrong("it holds control characters"));
        }
        let mut parts = text.split(':');
        let mut part = |why| parts.next().ok_or_else(|| wrong(why));
        if part("it is empty")? != "UPID" {
            return Err(wrong("it does not begin with UPID:"));
        }
        let node = NodeName::new(part("no node")?).map_err(|_| wrong("no valid node name"))?;
        let hex = |text: &str, why| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            digits.then(|| u64::from_str_radix(text, 16).ok()).flatten().ok_or_else(|| wrong(why))
        };
        let pid = hex(part("no pid")?, "no valid pid")?;
        let pid = u32::try_from(pid).map_err(|_| wrong("no valid pid"))?;
        let pstart = hex(part("no pstart")?, "no valid pstart")?;
        let started = hex(part("no start time")?, "no valid start time")?;
        let started_at = i64::try_from(started).ok().and_then(|second| Timestamp::from_second(second).ok());
        let started_at = started_at.ok_or_else(|| wrong("no valid start time"))?;
        let kind = part("no type")?;
        let id = part("no id")?;
        let user = part("no user")?;
        if !part("no colon at the end")?.is_empty() || parts.next().is_some() {
            return Err(wrong("there is more than a colon after the user"));
        }
        if kind.is_empty() {
            return Err(wrong("no type"));
        }
        if user.is_empty() {
            return Err(wrong("no user"));
        }
        let (text, kind, id, user) = (text.into(), kind.into(), id.into(), user.into());
        Ok(Upid { text, node, pid, pstart, started_at, kind, id, user })
    }
}

impl PartialEq for Upid {
    fn eq(&self, other: &Upid) -> bool {
        self.text == other.text
    }
}

impl Eq for Upid {}

impl PartialOrd for Upid {
    fn partial_cmp(&self, other: &Upid) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Upid {
    fn cmp(&self, other: &Upid) -> std::cmp::Ordering {
        self.text.cmp(&other.text)
    }
}

impl std::hash::Hash for Upid {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl fmt::Display for Upid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Upid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Upid {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Upid, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

/// How a finished task ended, in PVE's own four classes. `Ok` and `Warnings` are success.
///
/// Success of the task is not success of the act: `hastart` is OK before the guest runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    Ok,
    Warnings(u32),
    /// The error's text, as the task wrote it.
    Error(Box<str>),
    /// Nobody knows: the worker was killed, the node restarted, or its log is unreadable.
    Unknown(Box<str>),
}

impl ExitStatus {
    pub fn parse(text: &str) -> ExitStatus {
        if text == "OK" {
            return ExitStatus::Ok;
        }
        if let Some(count) = text.strip_prefix("WARNINGS: ").and_then(|count| count.parse().ok()) {
            return ExitStatus::Warnings(count);
        }
        // Without any text PVE itself says "unknown".
        let unknown = ["unexpected status", ""].contains(&text)
            || text.starts_with("unable to get last line from task log")
            || text.starts_with("unable to read tail");
        if unknown { ExitStatus::Unknown(text.into()) } else { ExitStatus::Error(text.into()) }
    }

    pub fn is_success(&self) -> bool {
        match self {
            ExitStatus::Ok | ExitStatus::Warnings(_) => true,
            ExitStatus::Error(_) | ExitStatus::Unknown(_) => false,
        }
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExitStatus::Ok => f.write_str("OK"),
            ExitStatus::Warnings(count) => write!(f, "WARNINGS: {count}"),
            ExitStatus::Error(text) => f.write_str(text),
            ExitStatus::Unknown(text) if text.is_empty() => f.write_str("unknown"),
            ExitStatus::Unknown(text) => write!(f, "unknown ({text})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upids_are_taken_apart() {
        let upid: Upid = "UPID:pve1:00000AA8:00041356:6B0473EA:qmstart:104:op@pve!t1:".parse().unwrap();
        assert_eq!(upid.node().as_str(), "pve1");
        assert_eq!((upid.pid(), upid.pstart()), (2728, 267_094));
        assert_eq!(upid.started_at(), Timestamp::from_second(1_795_453_930).unwrap());
        assert_eq!((upid.kind(), upid.id(), upid.vmid()), ("qmstart", Some("104"), Some(104)));
        assert_eq!((upid.user(), upid.token(), upid.authid()), ("op@pve", Some("t1"), "op@pve!t1"));
        assert_eq!(upid.to_string(), "UPID:pve1:00000AA8:00041356:6B0473EA:qmstart:104:op@pve!t1:");

        let upid: Upid = "UPID:pve-2:00000C0F:123456789:6B046FF8:vzdump::root@pam:".parse().unwrap();
        assert_eq!((upid.id(), upid.vmid(), upid.token()), (None, None, None));
        assert_eq!(upid.pstart(), 0x1_2345_6789, "nine digits after long uptime");
        let upid: Upid = "UPID:pve1:00000C0F:12345678:6B046FF8:srvstart:pveproxy:root@pam:".parse().unwrap();
        assert_eq!((upid.id(), upid.vmid()), (Some("pveproxy"), None));
    }

    #[test]
    fn what_is_no_upid() {
        #[rustfmt::skip]
        let table = [
            ("empty", "", "it does not begin with UPID:"),
            ("a word", "OK", "it does not begin with UPID:"),
            ("cut short", "UPID:pve1:00000AA8", "no pstart"),
            ("no last colon", "UPID:pve1:1:1:1:qmstart:1:root@pam", "no colon at the end"),
            ("too much", "UPID:pve1:1:1:1:qmstart:1:root@pam:x", "there is more than a colon after the user"),
            ("too many colons", "UPID:pve1:1:1:1:qmstart:1:root@pam::", "there is more than a colon after the user"),
            ("a path as node", "UPID:../..:1:1:1:qmstart:1:root@pam:", "no valid node name"),
            ("not hexadecimal", "UPID:pve1:zz:1:1:qmstart:1:root@pam:", "no valid pid"),
            ("a sign", "UPID:pve1:+1:1:1:qmstart:1:root@pam:", "no valid pid"),
            ("pid too large", "UPID:pve1:1FFFFFFFF:1:1:qmstart:1:root@pam:", "no valid pid"),
            ("time too large", "UPID:pve1:1:1:FFFFFFFFFFFFFFFF:qmstart:1:root@pam:", "no valid start time"),
            ("no type", "UPID:pve1:1:1:1::1:root@pam:", "no type"),
            ("no user", "UPID:pve1:1:1:1:qmstart:1::", "no user"),
            ("a line break", "UPID:pve1:1:1:1:qmstart:1:root@pam\r\n:", "it holds control characters"),
        ];
        for (name, text, why) in table {
            let error = text.parse::<Upid>().unwrap_err();
            assert_eq!(error.why, why, "{name}");
        }
        let long = format!("UPID:pve1:1:1:1:qmstart:{}:root@pam:", "1".repeat(600));
        assert_eq!(long.parse::<Upid>().unwrap_err().why, "it is too long");
    }

    #[test]
    fn exit_statuses_fall_into_pves_classes() {
        let error = |text: &str| ExitStatus::Error(text.into());
        let unknown = |text: &str| ExitStatus::Unknown(text.into());
        #[rustfmt::skip]
        let table = [
            ("OK", ExitStatus::Ok, true, "OK"),
            ("WARNINGS: 3", ExitStatus::Warnings(3), true, "WARNINGS: 3"),
            ("WARNINGS: many", error("WARNINGS: many"), false, "WARNINGS: many"),
            ("ok", error("ok"), false, "ok"),
            ("VM 100 already running", error("VM 100 already running"), false, "VM 100 already running"),
            ("unexpected status", unknown("unexpected status"), false, "unknown (unexpected status)"),
            ("unable to get last line from task log - x", unknown("unable to get last line from task log - x"), false,
                "unknown (unable to get last line from task log - x)"),
            ("unable to get PID for CT 200 (not running?)", error("unable to get PID for CT 200 (not running?)"), false,
                "unable to get PID for CT 200 (not running?)"),
            ("", unknown(""), false, "unknown"),
        ];
        for (text, expected, success, printed) in table {
            let exit = ExitStatus::parse(text);
            assert_eq!(exit, expected, "{text}");
            assert_eq!((exit.is_success(), &*exit.to_string()), (success, printed), "{text}");
        }
    }
}
