//! Caller: who asks, what they may, and what each call needs.
//!
//! The one table of rights. A call that is not in it needs an admin, so that a forgotten row shuts a door instead of
//! opening one. A right on one cluster is asked again by whoever knows which cluster is meant ([`Caller::may`]).

use std::convert::Infallible;
use std::fmt;

use axum::extract::FromRequestParts;
use axum::http::Method;
use axum::http::request::Parts;
use engine::observe::ClusterName;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What somebody may do, from least to most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Look.
    Viewer,
    /// Look, stop everything, and act within the guardrails.
    Operator,
    /// All of that, and decide who may what.
    Admin,
}

impl Role {
    /// Every role, from least to most.
    pub const ALL: [Role; 3] = [Role::Viewer, Role::Operator, Role::Admin];

    /// As stored and sent.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
            Role::Admin => "admin",
        }
    }

    /// From a word; `None` for any other.
    pub fn from_word(word: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.as_str() == word)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How somebody showed who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Via {
    /// A login.
    Session,
    /// An API token, by its name.
    Token(Box<str>),
    /// The command line of the machine on which the daemon runs.
    CommandLine,
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Via::Session => f.write_str("login"),
            Via::Token(name) => write!(f, "token {name}"),
            Via::CommandLine => f.write_str("command line"),
        }
    }
}

/// Who asks. Every request behind the login has one; handlers take it as an argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The user's name.
    pub name: Box<str>,
    /// What the user, or the token with less, may.
    pub role: Role,
    /// The clusters that the role is for; `None`: all.
    pub clusters: Option<Box<[ClusterName]>>,
    /// How the caller showed who they are.
    pub via: Via,
}

impl Caller {
    /// Whether the caller has the role for a cluster; `None` asks for all clusters together (the kill switch, users).
    pub fn may(&self, role: Role, cluster: Option<&ClusterName>) -> bool {
        let within = match (&self.clusters, cluster) {
            (None, _) => true,
            (Some(own), Some(cluster)) => own.contains(cluster),
            (Some(_), None) => false,
        };
        within && self.role >= role
    }

    /// Whether the caller may see anything of a cluster.
    pub fn sees(&self, cluster: &ClusterName) -> bool {
        self.may(Role::Viewer, Some(cluster))
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Caller, Infallible> {
        // The login's layer sets it on every request that it lets through; without that layer nobody may anything.
        let nobody =
            Caller { name: "".into(), role: Role::Viewer, clusters: Some(Box::new([])), via: Via::Session };
        Ok(parts.extensions.get().cloned().unwrap_or(nobody))
    }
}

/// The calls before the login. Everything else wants one.
pub const PUBLIC: &[(Method, &str)] = &[
    (Method::GET, "/"),
    (Method::GET, "/api/health"),
    (Method::POST, "/api/auth/login"),
    (Method::POST, "/api/auth/setup"),
    (Method::POST, "/api/v1/session"),
    (Method::GET, "/api/v1/openapi.json"),
];

/// What each call needs, by the path as it is routed. All others need an admin.
pub const NEEDS: &[(Method, &str, Role)] = &[
    (Method::GET, "/api/monitor/status", Role::Viewer),
    (Method::GET, "/api/monitor/actions", Role::Viewer),
    (Method::GET, "/api/memory/events", Role::Viewer),
    (Method::GET, "/api/memory/events/unresolved", Role::Viewer),
    (Method::GET, "/api/memory/preferences", Role::Viewer),
    (Method::GET, "/metrics", Role::Viewer),
    (Method::PUT, "/api/monitor/killswitch", Role::Operator),
    (Method::PUT, "/api/monitor/autonomy-level", Role::Operator),
    (Method::PUT, "/api/memory/preferences/{key}", Role::Operator),
    (Method::POST, "/api/memory/events", Role::Operator),
    (Method::GET, "/api/tools", Role::Viewer),
    (Method::POST, "/api/tools/execute", Role::Operator),
    // One's own login and tokens; whose is asked again by `auth`.
    (Method::POST, "/api/auth/logout", Role::Viewer),
    (Method::GET, "/api/v1/session", Role::Viewer),
    (Method::DELETE, "/api/v1/session", Role::Viewer),
    (Method::POST, "/api/v1/session/ticket", Role::Viewer),
    (Method::GET, "/api/v1/tokens", Role::Viewer),
    (Method::POST, "/api/v1/tokens", Role::Viewer),
    (Method::DELETE, "/api/v1/tokens/{id}", Role::Viewer),
    (Method::POST, "/api/v1/users/{name}/password", Role::Viewer),
    (Method::GET, "/api/v1/users", Role::Admin),
    (Method::POST, "/api/v1/users", Role::Admin),
    (Method::PATCH, "/api/v1/users/{name}", Role::Admin),
    (Method::DELETE, "/api/v1/users/{name}", Role::Admin),
    (Method::GET, "/api/v1/clusters", Role::Viewer),
    (Method::GET, "/api/v1/clusters/{cluster}", Role::Viewer),
    (Method::GET, "/api/v1/clusters/{cluster}/nodes", Role::Viewer),
    (Method::GET, "/api/v1/clusters/{cluster}/nodes/{node}", Role::Viewer),
    (Method::GET, "/api/v1/clusters/{cluster}/guests", Role::Viewer),
    (Method::GET, "/api/v1/clusters/{cluster}/guests/{kind}/{vmid}", Role::Viewer),
    (Method::GET, "/api/v1/clusters/{cluster}/nodes/{node}/history", Role::Viewer),
    (Method::GET, "/api/v1/clusters/{cluster}/guests/{kind}/{vmid}/history", Role::Viewer),
    (Method::GET, "/api/v1/clusters/{cluster}/guests/{kind}/{vmid}/config", Role::Viewer),
    (Method::GET, "/api/v1/clusters/{cluster}/storages", Role::Viewer),
    // What a task says is in the journal of those who may read that one.
    (Method::GET, "/api/v1/clusters/{cluster}/tasks/{upid}/log", Role::Operator),
    // Addresses, names of tokens, and what they may.
    (Method::GET, "/api/v1/clusters/{cluster}/checkup", Role::Admin),
    (Method::GET, "/api/v1/nodes", Role::Viewer),
    (Method::GET, "/api/v1/guests", Role::Viewer),
    (Method::GET, "/api/v1/storages", Role::Viewer),
    (Method::GET, "/api/v1/incidents", Role::Viewer),
    (Method::GET, "/api/v1/incidents/{id}", Role::Viewer),
    (Method::POST, "/api/v1/incidents/{id}/{order}", Role::Operator),
    (Method::GET, "/api/v1/maintenance", Role::Viewer),
    (Method::POST, "/api/v1/maintenance", Role::Operator),
    (Method::DELETE, "/api/v1/maintenance/{id}", Role::Operator),
    (Method::GET, "/api/v1/silences", Role::Viewer),
    (Method::POST, "/api/v1/silences", Role::Operator),
    (Method::DELETE, "/api/v1/silences/{id}", Role::Operator),
    (Method::GET, "/api/v1/events", Role::Viewer),
    (Method::GET, "/api/v1/events/{seq}", Role::Viewer),
    (Method::POST, "/api/v1/events/{seq}/resolve", Role::Operator),
    (Method::GET, "/api/v1/actions", Role::Viewer),
    (Method::GET, "/api/v1/journal", Role::Operator),
    (Method::GET, "/api/v1/journal/verification", Role::Operator),
    (Method::GET, "/api/v1/journal/export", Role::Operator),
    (Method::GET, "/api/v1/preferences", Role::Viewer),
    (Method::GET, "/api/v1/health", Role::Viewer),
    (Method::GET, "/api/v1/clock", Role::Viewer),
    (Method::GET, "/api/v1/policy", Role::Viewer),
];

/// The role that a call needs. A `HEAD` is a `GET` whose answer nobody reads.
pub(super) fn needed(method: &Method, path: &str) -> Role {
    let method = if method == Method::HEAD { &Method::GET } else { method };
    let row = NEEDS.iter().find(|(needs, routed, _)| needs == method && *routed == path);
    row.map_or(Role::Admin, |(_, _, role)| *role)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(role: Role, clusters: Option<&[&str]>) -> Caller {
        let clusters = clusters.map(|names| names.iter().map(|name| name.parse().unwrap()).collect());
        Caller { name: "alice".into(), role, clusters, via: Via::Session }
    }

    #[test]
    fn who_may_what() {
        use Role::{Admin, Operator, Viewer};
        let lab: ClusterName = "lab".parse().unwrap();
        let table: [(&str, Caller, Role, Option<&ClusterName>, bool); 8] = [
            ("a viewer looks", caller(Viewer, None), Viewer, Some(&lab), true),
            ("a viewer does not act", caller(Viewer, None), Operator, Some(&lab), false),
            ("an operator acts", caller(Operator, None), Operator, Some(&lab), true),
            ("an operator makes no users", caller(Operator, None), Admin, None, false),
            ("of one cluster, there", caller(Operator, Some(&["lab"])), Operator, Some(&lab), true),
            ("of one cluster, elsewhere", caller(Operator, Some(&["edge"])), Viewer, Some(&lab), false),
            ("of one cluster, for all", caller(Admin, Some(&["lab"])), Operator, None, false),
            ("an admin, for all", caller(Admin, None), Admin, None, true),
        ];
        for (name, caller, role, cluster, expected) in table {
            assert_eq!(caller.may(role, cluster), expected, "{name}");
        }
    }

    #[test]
    fn a_call_that_nobody_listed_needs_an_admin() {
        assert_eq!(needed(&Method::GET, "/api/monitor/status"), Role::Viewer);
        assert_eq!(needed(&Method::HEAD, "/api/monitor/status"), Role::Viewer);
        assert_eq!(needed(&Method::PUT, "/api/monitor/status"), Role::Admin);
        assert_eq!(needed(&Method::GET, "/api/anything"), Role::Admin);
    }
}
