//! The calls that PVE has, as far as they are simulated: path, parameters, and who does the work.

use engine::observe::GuestKind;

use crate::cluster::upid_node;

/// What a parameter must be.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// A number from this on.
    Int(i64),
    /// `0` or `1`.
    Flag,
    /// One of these.
    Enum(&'static [&'static str], &'static str),
    /// What a pattern of PVE's allows, and its text for what does not.
    Like(fn(&str) -> bool, &'static str),
    /// Anything.
    Text,
}

pub(super) type Params = &'static [(&'static str, Kind)];

/// A call that PVE has.
pub(super) struct Call {
    /// For the counters: `/nodes/{node}/qemu`.
    pub(super) pattern: &'static str,
    pub(super) what: What,
    pub(super) params: Params,
    /// Done by pvedaemon: the answer's header shows it.
    pub(super) protected: bool,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum What {
    Index(&'static str, &'static [&'static str]),
    Version,
    Nodes,
    Resources,
    ClusterStatus,
    ClusterTasks,
    ClusterLog,
    Permissions,
    HaCurrent,
    HaManager,
    NotBackedUp,
    Qdevice,
    Empty,
    Pools,
    NodeStatus,
    NodeVersion,
    NodeConfig,
    NodeTime,
    Services,
    Journal,
    Guests(GuestKind),
    Current(GuestKind),
    Config(GuestKind),
    /// `rrddata` of a guest, or of the node.
    History(Option<GuestKind>),
    Act(GuestKind, Doing),
    /// Not passed on: the node that is asked sends the packet.
    Wake,
    RestartService,
    Tasks,
    TaskStatus,
    TaskLog,
    Storage,
    Subscription,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Doing {
    Start,
    Stop,
    Shutdown,
    Reboot,
    Suspend,
    Resume,
}

/// Parameters that a call refuses, each with PVE's text.
type Refused = Vec<(String, String)>;

pub(super) fn verify(call: &Call, parts: &[&str], given: &[(String, String)]) -> Result<(), Refused> {
    let mut errors = Vec::new();
    if let ["nodes", _, "qemu" | "lxc", vmid, ..] = parts
        && vmid.parse::<u32>().is_err()
    {
        errors.push(("vmid".into(), format!("type check ('integer') failed - got '{vmid}'")));
    }
    if matches!(call.what, What::TaskStatus | What::TaskLog) && upid_node(parts[3]).is_none() {
        errors.push(("upid".into(), "unable to parse worker upid".into()));
    }
    if call.what == What::RestartService && !SERVICES.contains(&parts[3]) {
        let words = SERVICES.join(", ");
        let error = format!("value '{}' does not have a value in the enumeration '{words}'", parts[3]);
        errors.push(("service".into(), error));
    }
    for (name, value) in given {
        let Some((_, kind)) = call.params.iter().find(|(known, _)| known == name) else {
            let text =
                "property is not defined in schema and the schema does not allow additional properties";
            errors.push((name.clone(), text.into()));
            continue;
        };
        if let Some(error) = objection(*kind, value) {
            errors.push((name.clone(), error));
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

fn objection(kind: Kind, value: &str) -> Option<String> {
    match kind {
        Kind::Int(least) => match value.parse::<i64>() {
            Ok(number) if number < least => Some(format!("value must have a minimum value of {least}")),
            Ok(_) => None,
            Err(_) => Some(format!("type check ('integer') failed - got '{value}'")),
        },
        Kind::Flag if matches!(value, "0" | "1") => None,
        Kind::Flag => Some(format!("type check ('boolean') failed - got '{value}'")),
        Kind::Enum(all, words) => (!all.contains(&value))
            .then(|| format!("value '{value}' does not have a value in the enumeration '{words}'")),
        Kind::Like(allows, objection) => (!allows(value)).then(|| objection.to_owned()),
        Kind::Text => None,
    }
}

/// `n` or `n..m`, 0 to 7.
fn is_priority(text: &str) -> bool {
    let (low, high) = text.split_once("..").unwrap_or((text, text));
    let level = |text: &str| matches!(text.as_bytes(), [b'0'..=b'7']);
    level(low) && level(high)
}

fn is_unit(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.@:-".contains(&byte))
}

/// The services that PVE lets be restarted.
const SERVICES: &[&str] = &[
    "chrony",
    "corosync",
    "cron",
    "ksmtuned",
    "lxcfs",
    "postfix",
    "proxmox-firewall",
    "pve-cluster",
    "pve-firewall",
    "pve-ha-crm",
    "pve-ha-lrm",
    "pve-lxc-syscalld",
    "pvedaemon",
    "pvefw-logger",
    "pveproxy",
    "pvescheduler",
    "pvestatd",
    "qmeventd",
    "spiceproxy",
    "sshd",
    "syslog",
    "systemd-journald",
    "systemd-timesyncd",
];
const NO_PARAMS: Params = &[];
const TIMEOUT: Params = &[("timeout", Kind::Int(0)), ("skiplock", Kind::Flag)];
const SHUTDOWN: Params = &[
    ("timeout", Kind::Int(0)),
    ("forceStop", Kind::Flag),
    ("keepActive", Kind::Flag),
    ("skiplock", Kind::Flag),
];
const STOP: Params = &[
    ("timeout", Kind::Int(0)),
    ("keepActive", Kind::Flag),
    ("overrule-shutdown", Kind::Flag),
    ("skiplock", Kind::Flag),
];
const SUSPEND: Params = &[("todisk", Kind::Flag), ("statestorage", Kind::Text), ("skiplock", Kind::Flag)];
const RESUME: Params = &[("nocheck", Kind::Flag), ("skiplock", Kind::Flag)];
const TASKS: Params = &[
    ("errors", Kind::Flag),
    ("limit", Kind::Int(0)),
    ("since", Kind::Int(0)),
    ("source", Kind::Enum(&["archive", "active", "all"], "archive, active, all")),
    ("start", Kind::Int(0)),
    ("statusfilter", Kind::Text),
    ("typefilter", Kind::Text),
    ("until", Kind::Int(0)),
    ("userfilter", Kind::Text),
    ("vmid", Kind::Int(1)),
];
const STORAGE: Params = &[
    ("content", Kind::Text),
    ("enabled", Kind::Flag),
    ("format", Kind::Flag),
    ("storage", Kind::Text),
    ("target", Kind::Text),
];
const CONFIG: Params = &[("current", Kind::Flag), ("snapshot", Kind::Text)];
const HISTORY: Params = &[
    (
        "timeframe",
        Kind::Enum(
            &["hour", "day", "week", "month", "year", "decade"],
            "hour, day, week, month, year, decade",
        ),
    ),
    ("cf", Kind::Enum(&["AVERAGE", "MAX"], "AVERAGE, MAX")),
];
const RESOURCES: Params =
    &[("type", Kind::Enum(&["vm", "storage", "node", "sdn"], "vm, storage, node, sdn"))];
const LOG: Params = &[("start", Kind::Int(0)), ("limit", Kind::Int(0)), ("download", Kind::Flag)];

const CLUSTER_LOG: Params = &[("max", Kind::Int(1))];
const PATTERN: &str = "value does not match the regex pattern";
const JOURNAL: Params = &[
    ("endcursor", Kind::Text),
    ("kernel", Kind::Flag),
    ("lastentries", Kind::Int(0)),
    ("priority", Kind::Like(is_priority, PATTERN)),
    ("service", Kind::Text),
    ("since", Kind::Int(0)),
    ("startcursor", Kind::Text),
    ("structured", Kind::Flag),
    ("unit", Kind::Like(is_unit, PATTERN)),
    ("until", Kind::Int(0)),
];

const ROOT: &[&str] = &["version", "cluster", "nodes", "access", "pools"];
const CLUSTER: &[&str] =
    &["backup", "backup-info", "config", "ha", "log", "replication", "resources", "status", "tasks"];
const NODE: &[&str] = &[
    "config",
    "journal",
    "lxc",
    "qemu",
    "replication",
    "services",
    "status",
    "storage",
    "subscription",
    "tasks",
    "time",
    "version",
];

pub(super) fn find(method: &str, parts: &[&str]) -> Option<Call> {
    use What::*;
    let call = |pattern, what, params, protected| Some(Call { pattern, what, params, protected });
    match (method, parts) {
        ("GET", []) => call("/", Index("subdir", ROOT), NO_PARAMS, false),
        ("GET", ["version"]) => call("/version", Version, NO_PARAMS, false),
        ("GET", ["nodes"]) => call("/nodes", Nodes, NO_PARAMS, false),
        ("GET", ["pools"]) => call("/pools", Pools, &[("poolid", Kind::Text), ("type", Kind::Text)], false),
        ("GET", ["access", "permissions"]) => {
            call("/access/permissions", Permissions, &[("path", Kind::Text), ("userid", Kind::Text)], false)
        }
        ("GET", ["cluster", rest @ ..]) => match rest {
            [] => call("/cluster", Index("name", CLUSTER), NO_PARAMS, false),
            ["resources"] => call("/cluster/resources", Resources, RESOURCES, false),
            ["status"] => call("/cluster/status", ClusterStatus, NO_PARAMS, true),
            ["tasks"] => call("/cluster/tasks", ClusterTasks, NO_PARAMS, false),
            ["log"] => call("/cluster/log", ClusterLog, CLUSTER_LOG, false),
            ["replication"] => call("/cluster/replication", Empty, NO_PARAMS, false),
            ["backup"] => call("/cluster/backup", Empty, NO_PARAMS, false),
            ["ha", "status", "current"] => call("/cluster/ha/status/current", HaCurrent, NO_PARAMS, false),
            ["ha", "status", "manager_status"] => {
                call("/cluster/ha/status/manager_status", HaManager, NO_PARAMS, false)
            }
            ["backup-info", "not-backed-up"] => {
                call("/cluster/backup-info/not-backed-up", NotBackedUp, NO_PARAMS, true)
            }
            ["config", "qdevice"] => call("/cluster/config/qdevice", Qdevice, NO_PARAMS, true),
            _ => None,
        },
        ("GET", ["nodes", _, rest @ ..]) => match rest {
            [] => call("/nodes/{node}", Index("name", NODE), NO_PARAMS, false),
            ["status"] => call("/nodes/{node}/status", NodeStatus, NO_PARAMS, false),
            ["version"] => call("/nodes/{node}/version", NodeVersion, NO_PARAMS, false),
            ["config"] => call("/nodes/{node}/config", NodeConfig, &[("property", Kind::Text)], false),
            ["time"] => call("/nodes/{node}/time", NodeTime, NO_PARAMS, true),
            ["services"] => call("/nodes/{node}/services", Services, NO_PARAMS, true),
            ["journal"] => call("/nodes/{node}/journal", Journal, JOURNAL, true),
            ["subscription"] => call("/nodes/{node}/subscription", Subscription, NO_PARAMS, false),
            ["replication"] => call("/nodes/{node}/replication", Empty, &[("guest", Kind::Int(1))], true),
            ["storage"] => call("/nodes/{node}/storage", Storage, STORAGE, true),
            ["tasks"] => call("/nodes/{node}/tasks", Tasks, TASKS, false),
            ["tasks", _, "status"] => call("/nodes/{node}/tasks/{upid}/status", TaskStatus, NO_PARAMS, true),
            ["tasks", _, "log"] => call("/nodes/{node}/tasks/{upid}/log", TaskLog, LOG, true),
            ["qemu"] => call("/nodes/{node}/qemu", Guests(GuestKind::Qemu), &[("full", Kind::Flag)], true),
            ["lxc"] => call("/nodes/{node}/lxc", Guests(GuestKind::Lxc), NO_PARAMS, true),
            ["qemu", _, "status", "current"] => {
                call("/nodes/{node}/qemu/{vmid}/status/current", Current(GuestKind::Qemu), NO_PARAMS, true)
            }
            ["lxc", _, "status", "current"] => {
                call("/nodes/{node}/lxc/{vmid}/status/current", Current(GuestKind::Lxc), NO_PARAMS, true)
            }
            ["rrddata"] => call("/nodes/{node}/rrddata", History(None), HISTORY, false),
            ["qemu", _, "rrddata"] => {
                call("/nodes/{node}/qemu/{vmid}/rrddata", History(Some(GuestKind::Qemu)), HISTORY, false)
            }
            ["lxc", _, "rrddata"] => {
                call("/nodes/{node}/lxc/{vmid}/rrddata", History(Some(GuestKind::Lxc)), HISTORY, false)
            }
            ["qemu", _, "config"] => {
                call("/nodes/{node}/qemu/{vmid}/config", Config(GuestKind::Qemu), CONFIG, false)
            }
            ["lxc", _, "config"] => {
                call("/nodes/{node}/lxc/{vmid}/config", Config(GuestKind::Lxc), CONFIG, false)
            }
            _ => None,
        },
        ("POST", ["nodes", _, kind @ ("qemu" | "lxc"), _, "status", verb]) => {
            let kind = if *kind == "qemu" { GuestKind::Qemu } else { GuestKind::Lxc };
            let (doing, params, qemu, lxc) = match *verb {
                "start" => (
                    Doing::Start,
                    TIMEOUT,
                    "/nodes/{node}/qemu/{vmid}/status/start",
                    "/nodes/{node}/lxc/{vmid}/status/start",
                ),
                "stop" => (
                    Doing::Stop,
                    STOP,
                    "/nodes/{node}/qemu/{vmid}/status/stop",
                    "/nodes/{node}/lxc/{vmid}/status/stop",
                ),
                "shutdown" => (
                    Doing::Shutdown,
                    SHUTDOWN,
                    "/nodes/{node}/qemu/{vmid}/status/shutdown",
                    "/nodes/{node}/lxc/{vmid}/status/shutdown",
                ),
                "reboot" => (
                    Doing::Reboot,
                    TIMEOUT,
                    "/nodes/{node}/qemu/{vmid}/status/reboot",
                    "/nodes/{node}/lxc/{vmid}/status/reboot",
                ),
                "suspend" => (
                    Doing::Suspend,
                    SUSPEND,
                    "/nodes/{node}/qemu/{vmid}/status/suspend",
                    "/nodes/{node}/lxc/{vmid}/status/suspend",
                ),
                "resume" => (
                    Doing::Resume,
                    RESUME,
                    "/nodes/{node}/qemu/{vmid}/status/resume",
                    "/nodes/{node}/lxc/{vmid}/status/resume",
                ),
                _ => return None,
            };
            call(if kind == GuestKind::Qemu { qemu } else { lxc }, Act(kind, doing), params, true)
        }
        ("POST", ["nodes", _, "wakeonlan"]) => call("/nodes/{node}/wakeonlan", Wake, NO_PARAMS, true),
        ("POST", ["nodes", _, "services", _, "restart"]) => {
            call("/nodes/{node}/services/{service}/restart", RestartService, NO_PARAMS, true)
        }
        (_, _) => None,
    }
}
