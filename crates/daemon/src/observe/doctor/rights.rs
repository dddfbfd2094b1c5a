//! What a token may do, what it would have to, and the commands that give it that (pve-domain 5.6).
//!
//! A token may only what its user may as well, and which of the two lacks a right is not to be seen from the token; so each
//! command is given for both. On a deeper path an entry replaces what would be inherited, so each names the auditor's, too.

use engine::decide::{Autonomy, Remedy, Runbook};
use pve::types::{GuestResource, NodeResource, Permissions};

use super::super::rounds::{JOURNALS, NEEDED};
use super::{Finding, Mark, count};

/// Who may do something, and what.
pub(super) struct Grantee<'a> {
    pub(super) token: &'a str,
    pub(super) rights: &'a Permissions,
}

/// What there is to act on.
pub(super) struct Place<'a> {
    pub(super) nodes: &'a [NodeResource],
    pub(super) guests: &'a [GuestResource],
}

/// What remedies take.
struct Need {
    remedies: &'static [Remedy],
    privilege: &'static str,
    path: &'static str,
    role: &'static str,
    price: &'static str,
}

const NEEDS: [Need; 3] = [
    Need {
        remedies: &[Remedy::Start, Remedy::Resume],
        privilege: "VM.PowerMgmt",
        path: "/vms",
        role: "JarvisPower",
        price: "start, resume; it may stop them, too",
    },
    Need {
        remedies: &[Remedy::RestartService],
        privilege: "Sys.Modify",
        path: "/nodes",
        role: "JarvisService",
        price: "restart a service; it may change much more of a node",
    },
    Need {
        remedies: &[Remedy::Wake],
        privilege: "Sys.PowerMgmt",
        path: "/nodes",
        role: "JarvisWake",
        price: "wake a node; it may shut one down, too",
    },
];

impl Grantee<'_> {
    /// What it needs to see everything.
    pub(super) fn watches(&self) -> Finding {
        let lacks: Vec<_> =
            NEEDED.iter().filter(|(path, privilege, _)| !self.rights.allows(path, privilege)).collect();
        let what = "rights to watch";
        if lacks.is_empty() {
            return Finding::new(Mark::Well, what, "everything is seen");
        }
        let mut paths: Vec<&str> = Vec::new();
        let mut words = Vec::new();
        if self.rights.paths.values().all(|held| held.is_empty()) {
            words.push(
                "it has none at all: either its user has none, or the token was not given any (privsep)"
                    .to_owned(),
            );
        }
        for (path, privilege, unseen) in lacks {
            words.push(format!("{privilege} on {path} is missing, so {unseen}"));
            // Where it holds above, an entry on the path itself takes it away.
            let at = if self.rights.allows("/", privilege) { *path } else { "/" };
            if !paths.contains(&at) {
                paths.push(at);
            }
        }
        let mend = paths.iter().flat_map(|path| self.grant(path, "PVEAuditor")).collect();
        Finding { mark: Mark::Missing, what: what.into(), words, mend, refused: false }
    }

    /// What the nodes' journals say of a death.
    pub(super) fn reads_journals(&self) -> Finding {
        let what = "rights to journals";
        let (path, privilege) = JOURNALS;
        if self.rights.allows(path, privilege) {
            return Finding::new(Mark::Well, what, "why a guest died is told");
        }
        let words = format!(
            "{privilege} on {path} is missing (PVEAuditor does not hold it): a crash is told without its cause"
        );
        let mut finding = Finding::new(Mark::Note, what, words);
        finding.mend.push(format!("pveum role add JarvisJournal --privs \"{privilege}\""));
        finding.mend.extend(self.grant("/", "PVEAuditor,JarvisJournal"));
        finding
    }

    /// Whoever acts looks first, and finds its own tasks again.
    pub(super) fn sees_what_it_acts_on(&self) -> Option<Finding> {
        let needed = NEEDED.iter().filter(|(path, _, _)| ["/nodes", "/vms"].contains(path));
        let lacks: Vec<String> = needed
            .filter(|(path, privilege, _)| !self.rights.allows(path, privilege))
            .map(|(path, privilege, _)| format!("{privilege} on {path}"))
            .collect();
        if lacks.is_empty() {
            return None;
        }
        let words = format!("it does not see what it acts on: it lacks {}", lacks.join(" and "));
        let mut finding = Finding::new(Mark::Missing, "token that acts", words);
        finding.mend.extend(self.grant("/", "PVEAuditor"));
        Some(finding)
    }

    /// What the runbooks need of it at this level.
    pub(super) fn acts(&self, runbooks: &[Runbook], level: Autonomy, place: &Place<'_>) -> Vec<Finding> {
        NEEDS.iter().filter_map(|need| self.meets(need, runbooks, level, place)).collect()
    }

    fn meets(
        &self,
        need: &Need,
        runbooks: &[Runbook],
        level: Autonomy,
        place: &Place<'_>,
    ) -> Option<Finding> {
        let books: Vec<&Runbook> =
            runbooks.iter().filter(|book| need.remedies.contains(&book.remedy)).collect();
        if books.is_empty() {
            return None;
        }
        let ids = books.iter().map(|book| &*book.id).collect::<Vec<_>>().join(", ");
        let Need { privilege, path, role, .. } = need;
        let (what, subjects): (_, Vec<bool>) = match *path {
            "/vms" => ("guest", place.guests.iter().map(|guest| self.may_act_on(guest, privilege)).collect()),
            _ => {
                let on =
                    |node: &NodeResource| self.rights.allows(&format!("{path}/{}", node.node), privilege);
                ("node", place.nodes.iter().map(on).collect())
            }
        };
        let may = subjects.iter().filter(|may| **may).count();
        let label = format!("rights to act on {what}s");
        if self.rights.allows(path, privilege) || (may == subjects.len() && may > 0) {
            return Some(Finding::new(Mark::Well, label, format!("{privilege} on every {what}: {ids}")));
        }
        if may > 0 {
            let words = format!(
                "{privilege} on {may} of {}: of the others it is only told ({ids})",
                count(subjects.len(), what)
            );
            return Some(Finding::new(Mark::Note, label, words));
        }
        let by_itself = books.iter().any(|book| book.level <= level);
        let (mark, so) = match by_itself {
            true => (Mark::Missing, "PVE refuses what is done at this level"),
            false => (Mark::Note, "it is proposed, and PVE refuses it when somebody approves"),
        };
        let mut finding =
            Finding::new(mark, label, format!("{privilege} on {path} is missing, so {so}: {ids}"));
        finding.mend.push(format!("pveum role add {role} --privs \"{privilege}\"      # {}", need.price));
        finding.mend.extend(self.grant(path, &format!("PVEAuditor,{role}")));
        Some(finding)
    }

    fn may_act_on(&self, guest: &GuestResource, privilege: &str) -> bool {
        let by_pool = guest.pool.as_deref().map(|pool| format!("/pool/{pool}"));
        self.rights.allows(&format!("/vms/{}", guest.id.vmid), privilege)
            || by_pool.is_some_and(|path| self.rights.allows(&path, privilege))
    }

    /// The commands that give it roles on a path, beside those that it has on that very path.
    pub(super) fn grant(&self, path: &str, roles: &str) -> [String; 2] {
        let user = self.token.split_once('!').map_or(self.token, |(user, _)| user);
        [
            format!("pveum acl modify {path} --users {user} --roles {roles}"),
            format!("pveum acl modify {path} --tokens '{}' --roles {roles}", self.token),
        ]
    }
}
