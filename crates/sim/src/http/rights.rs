//! What a token may do where: PVE's roles on paths, and its rule that a deeper path replaces what it would inherit.
//!
//! ```text
//! auditor                            everything can be seen, nothing changed
//! observer                           the same, and the logs (Sys.Syslog)
//! auditor@/vms/100,auditor@/pool/a   one guest and one pool, and nothing else
//! auditor,none@/nodes/pve2           all, but of one node no numbers
//! auditor-Datastore.Audit            all but the storages
//! none                               a token with `privsep=1` and no rights of its own
//! ```
//!
//! Users and groups are not simulated: a token's rights are what is left of both.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::sync::Arc;

use crate::cluster::Guest;

type Privileges = BTreeSet<&'static str>;

/// What a token may do: privileges by path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rights(Arc<BTreeMap<String, Privileges>>);

/// More paths than this are no token of a test.
const PATHS_MAX: usize = 1_000;

const SEEING: &[&str] = &[
    "Datastore.Audit",
    "Mapping.Audit",
    "Pool.Audit",
    "SDN.Audit",
    "Sys.Audit",
    "VM.Audit",
    "VM.GuestAgent.Audit",
];
const LOGS: &[&str] = &["Sys.Syslog"];
const ACTING: &[&str] = &[
    "Datastore.Allocate",
    "Datastore.AllocateSpace",
    "Permissions.Modify",
    "Sys.Console",
    "Sys.Modify",
    "Sys.PowerMgmt",
    "VM.Allocate",
    "VM.Backup",
    "VM.Config.Options",
    "VM.Migrate",
    "VM.PowerMgmt",
    "VM.Snapshot",
];
/// What PVE's own `PVEVMUser` may, as recorded.
const USING: &[&str] = &[
    "VM.Audit",
    "VM.Backup",
    "VM.Config.CDROM",
    "VM.Config.Cloudinit",
    "VM.Console",
    "VM.GuestAgent.Audit",
    "VM.GuestAgent.FileRead",
    "VM.GuestAgent.FileSystemMgmt",
    "VM.GuestAgent.FileWrite",
    "VM.PowerMgmt",
];

/// The roles by name: what is written, and the lists of which it is made.
const ROLES: &[(&str, &[&[&str]])] = &[
    ("none", &[]),
    ("auditor", &[SEEING]),
    ("observer", &[SEEING, LOGS]),
    ("user", &[USING]),
    ("full", &[SEEING, LOGS, ACTING]),
];

/// The paths that `/access/permissions` always lists, where anything is granted on them.
const LISTED: &[&str] = &["/", "/access", "/nodes", "/pool", "/sdn", "/storage", "/vms"];

/// Why a text says no rights.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` are no rights: they are written ROLE[+ROLE][-PRIVILEGE][@/PATH], more after a comma; \
     roles are none, auditor, observer, user and full, or a privilege by its name (VM.Audit)"
)]
pub struct BadRights(String);

impl Rights {
    /// Everything everywhere.
    pub fn full() -> Rights {
        Rights::everywhere([SEEING, LOGS, ACTING].concat())
    }

    /// Nothing anywhere.
    pub fn none() -> Rights {
        Rights(Arc::default())
    }

    fn everywhere(privileges: Vec<&'static str>) -> Rights {
        Rights(Arc::new(BTreeMap::from([("/".into(), privileges.into_iter().collect())])))
    }

    /// Whether a privilege is held on a path.
    pub(super) fn may(&self, privilege: &str, path: &str) -> bool {
        self.on(path).is_some_and(|held| held.contains(privilege))
    }

    /// Whether a privilege is held on a guest, by its own path or by its pool's.
    pub(super) fn may_guest(&self, privilege: &str, guest: &Guest) -> bool {
        if let Some(held) = self.uniform() {
            return held.contains(privilege);
        }
        let pool = guest.spec.pool.as_ref();
        self.may(privilege, &format!("/vms/{}", guest.spec.id.vmid))
            || pool.is_some_and(|pool| self.may(privilege, &format!("/pool/{pool}")))
    }

    /// The same everywhere: of ten thousand guests, none needs a path of its own.
    fn uniform(&self) -> Option<&Privileges> {
        self.0.get("/").filter(|_| self.0.len() == 1)
    }

    /// The privileges of the deepest path above.
    fn on(&self, path: &str) -> Option<&Privileges> {
        let mut at = path;
        loop {
            if let Some(found) = self.0.get(at) {
                return Some(found);
            }
            at = match at.rfind('/') {
                Some(0) | None if at == "/" => return None,
                Some(0) | None => "/",
                Some(end) => &at[..end],
            };
        }
    }

    /// What `/access/permissions` says: privileges by path, and whether they are inherited below it. Those of a pool
    /// are shown on its guests, and end there.
    pub(super) fn listed<'a>(
        &'a self,
        guests: impl Iterator<Item = &'a Guest>,
    ) -> BTreeMap<String, BTreeMap<&'static str, bool>> {
        let mut out = BTreeMap::new();
        let named = LISTED.iter().copied().chain(self.0.keys().map(String::as_str));
        for path in named {
            let held = self.on(path).into_iter().flatten().map(|name| (*name, true));
            out.insert(path.to_owned(), held.collect::<BTreeMap<_, _>>());
        }
        for guest in guests {
            let Some(pool) = &guest.spec.pool else { continue };
            let Some(held) = self.0.get(&format!("/pool/{pool}")) else { continue };
            let entry = out.entry(format!("/vms/{}", guest.spec.id.vmid)).or_default();
            for name in held {
                entry.entry(name).or_insert(false);
            }
        }
        out.retain(|_, held| !held.is_empty());
        out
    }
}

impl FromStr for Rights {
    type Err = BadRights;

    fn from_str(text: &str) -> Result<Rights, BadRights> {
        let bad = || BadRights(text.into());
        let mut grants: BTreeMap<String, Privileges> = BTreeMap::new();
        for grant in text.split(',') {
            let (roles, path) = grant.split_once('@').unwrap_or((grant, "/"));
            if !path.starts_with('/') || (path.len() > 1 && path.ends_with('/')) || grants.len() >= PATHS_MAX
            {
                return Err(bad());
            }
            let mut parts = roles.split('-');
            let mut held = Privileges::new();
            for role in parts.next().unwrap_or_default().split('+') {
                held.extend(privileges(role).ok_or_else(bad)?);
            }
            for without in parts {
                held.remove(privilege(without).ok_or_else(bad)?);
            }
            grants.entry(path.into()).or_default().extend(held);
        }
        Ok(Rights(Arc::new(grants)))
    }
}

fn privileges(name: &str) -> Option<Privileges> {
    let role = ROLES.iter().find(|(known, _)| *known == name);
    match role {
        Some((_, lists)) => Some(lists.iter().copied().flatten().copied().collect()),
        None => privilege(name).map(|one| Privileges::from([one])),
    }
}

fn privilege(name: &str) -> Option<&'static str> {
    [SEEING, LOGS, ACTING, USING].into_iter().flatten().copied().find(|known| *known == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_row_per_way_to_hold_a_right() {
        #[rustfmt::skip]
        let table = [
            ("everything",                "full",                       "VM.PowerMgmt",    "/vms/100",   true),
            ("an auditor sees",           "auditor",                    "VM.Audit",        "/vms/100",   true),
            ("an auditor reads no logs",  "auditor",                    "Sys.Syslog",      "/nodes/a",   false),
            ("an observer does",          "observer",                   "Sys.Syslog",      "/nodes/a",   true),
            ("auditor and one more",      "auditor+Sys.Syslog",         "Sys.Syslog",      "/",          true),
            ("all but one",               "auditor-Datastore.Audit",    "Datastore.Audit", "/storage/a", false),
            ("one guest",                 "auditor@/vms/100",           "VM.Audit",        "/vms/100",   true),
            ("not another one",           "auditor@/vms/100",           "VM.Audit",        "/vms/1001",  false),
            ("a deeper path replaces",    "auditor,none@/nodes/b",      "Sys.Audit",       "/nodes/b",   false),
            ("and its neighbour inherits", "auditor,none@/nodes/b",     "Sys.Audit",       "/nodes/bb",  true),
            ("and what is below it",      "auditor,none@/nodes",        "Sys.Audit",       "/nodes/b",   false),
            ("nothing",                   "none",                       "VM.Audit",        "/",          false),
        ];
        for (name, text, privilege, path, expected) in table {
            let rights: Rights = text.parse().unwrap();
            assert_eq!(rights.may(privilege, path), expected, "{name}");
        }
    }

    #[test]
    fn a_word_that_is_none_is_told() {
        for text in ["", "auditr", "auditor@nodes", "auditor@/vms/", "auditor-nothing", "full,"] {
            assert!(text.parse::<Rights>().is_err(), "{text}");
        }
    }
}
