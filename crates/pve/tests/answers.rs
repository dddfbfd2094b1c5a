//! Every recorded answer is read: no row is dropped, named fields have the recorded value, refusals fall into the
//! right class.

#![allow(clippy::unwrap_used, reason = "helpers of tests; a panic is the report")]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use common::{Answer, Report};
use expect_test::expect;
use pve::answer::understand;
use pve::types::*;
use pve::{Asked, Error, ExitStatus};
use serde::de::DeserializeOwned;
use serde_json::Value;

struct Recorded {
    name: String,
    method: String,
    path: String,
    status: u16,
    reason: String,
    body: String,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/answers")
}

/// A recorded answer by name, without `.json`.
#[track_caller]
fn recorded(name: &str) -> Recorded {
    let text = std::fs::read_to_string(folder().join(format!("{name}.json"))).unwrap();
    let file: Value = serde_json::from_str(&text).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let line = text(&file["response"]["status_line"]);
    let (_, rest) = line.split_once(' ').unwrap();
    let (status, reason) = rest.split_once(' ').unwrap_or((rest, ""));
    Recorded {
        name: name.to_owned(),
        method: text(&file["request"]["method"]),
        path: text(&file["request"]["path"]),
        status: status.parse().unwrap(),
        reason: reason.to_owned(),
        body: text(&file["response"]["raw_body"]),
    }
}

fn all_recorded() -> Vec<Recorded> {
    let mut names = Vec::new();
    for place in ["", "cluster3", "cluster3-fixed-qmp", "no-quorum"] {
        for file in std::fs::read_dir(folder().join(place)).unwrap() {
            let name = file.unwrap().file_name().into_string().unwrap();
            match name.strip_suffix(".json") {
                Some("timeline-expiry" | "timeline-node-killed") | None => {} // no answers: observe/recorded.rs of the daemon plays them
                Some(name) if place.is_empty() => names.push(name.to_owned()),
                Some(name) => names.push(format!("{place}/{name}")),
            }
        }
    }
    names.sort();
    names.iter().map(|name| recorded(name)).collect()
}

impl Recorded {
    fn report(&self) -> Option<Result<Report, Error>> {
        let Recorded { method, path, status, reason, body, .. } = self;
        common::read(&Answer { method, path, status: *status, reason, body: body.as_bytes() })
    }

    fn read<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let asked =
            Asked { call: format!("{} {}", self.method, self.path).into(), endpoint: "pve1:8006".into() };
        Ok(understand(&asked, self.status, &self.reason, self.body.as_bytes())?.data)
    }
}

#[track_caller]
fn read<T: DeserializeOwned>(name: &str) -> T {
    recorded(name).read().unwrap()
}

#[track_caller]
fn rows<T: DeserializeOwned>(name: &str) -> Vec<T> {
    let list: Rows<T> = read(name);
    assert_eq!(list.unreadable, [], "{name}");
    list.rows
}

/// A guest's row of `/cluster/resources`.
#[track_caller]
fn guest(name: &str, id: &str) -> GuestResource {
    let found = rows::<Resource>(name).into_iter().find_map(|row| match row {
        Resource::Guest(guest) if guest.id.to_string() == id => Some(guest),
        Resource::Node(_)
        | Resource::Guest(_)
        | Resource::Storage(_)
        | Resource::Pool(_)
        | Resource::Network(_)
        | Resource::Other { .. } => None,
    });
    found.unwrap_or_else(|| panic!("{name} has no {id}"))
}

#[track_caller]
fn storage(name: &str, node: &str, storage: &str) -> StorageResource {
    let found = rows::<Resource>(name).into_iter().find_map(|row| match row {
        Resource::Storage(row) if row.node.as_str() == node && &*row.storage == storage => Some(row),
        Resource::Node(_)
        | Resource::Guest(_)
        | Resource::Storage(_)
        | Resource::Pool(_)
        | Resource::Network(_)
        | Resource::Other { .. } => None,
    });
    found.unwrap_or_else(|| panic!("{name} has no {storage} on {node}"))
}

#[track_caller]
fn node(name: &str, node: &str) -> NodeResource {
    let found = rows::<Resource>(name).into_iter().find_map(|row| match row {
        Resource::Node(row) if row.node.as_str() == node => Some(row),
        Resource::Node(_)
        | Resource::Guest(_)
        | Resource::Storage(_)
        | Resource::Pool(_)
        | Resource::Network(_)
        | Resource::Other { .. } => None,
    });
    found.unwrap_or_else(|| panic!("{name} has no node {node}"))
}

/// The widest net: each answer of an endpoint we use is read whole, and nothing in it is unknown to us.
#[test]
fn no_row_is_dropped() {
    let mut rows_read = 0;
    let mut answers_read = 0;
    let mut unknown: Vec<String> = Vec::new();
    for recorded in all_recorded().iter().filter(|recorded| recorded.status == 200) {
        // This one was asked for compressed; the client does not ask for that, and refuses it.
        if recorded.name == "ok.gzip" {
            continue;
        }
        let Some(report) = recorded.report() else { continue };
        let name = &recorded.name;
        let report = report.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(report.unreadable, [], "{name}");
        assert_eq!(report.unknown_words, BTreeMap::new(), "{name}");
        unknown.extend(report.unknown_keys.keys().map(|key| format!("{key} in {name} ({})", report.kind)));
        let body: Value = serde_json::from_str(&recorded.body).unwrap();
        let sent = match (&body["data"], &body["data"]["data"]) {
            (Value::Array(rows), _) | (_, Value::Array(rows)) => rows.len(),
            _ => 1,
        };
        assert_eq!(report.total(), sent, "{name}: {}", report.kind);
        rows_read += sent;
        answers_read += 1;
    }
    assert_eq!(unknown, [""; 0], "keys that no field of ours stands for");
    // So that a broken path of ours cannot make this test pass by reading nothing.
    assert_eq!((answers_read, rows_read), (173, 2066));
}

#[test]
fn every_other_answer_passes_without_panic() {
    let asked = Asked { call: "GET /x".into(), endpoint: "pve1:8006".into() };
    let recorded = all_recorded();
    for recorded in &recorded {
        let body = recorded.body.as_bytes();
        // Read as a type it is not, and cut anywhere: an error, at most.
        for end in [body.len(), body.len() / 2, body.len().saturating_sub(1), body.len().min(1)] {
            for status in [recorded.status, 200, 500] {
                let part = &body[..end];
                understand::<Rows<Resource>>(&asked, status, &recorded.reason, part).err();
                understand::<NodeReport>(&asked, status, &recorded.reason, part).err();
                understand::<HaManagerStatus>(&asked, status, &recorded.reason, part).err();
                understand::<pve::Upid>(&asked, status, &recorded.reason, part).err();
            }
        }
    }
    assert!(recorded.len() > 250, "{} answers", recorded.len());
}

/// One line per refusal: its class and the text that people read.
#[test]
fn refusals_by_what_to_do() {
    let mut told = String::new();
    for recorded in all_recorded().iter().filter(|recorded| recorded.status != 200) {
        let error = recorded.read::<Value>().unwrap_err();
        let class = format!("{error:?}");
        let class = class.split([' ', '{']).next().unwrap();
        told.push_str(&format!("{:<38} {class:<12} {error}\n", recorded.name));
    }
    expect![[r#"
        as-mon-sep.cluster-status              Forbidden    GET /api2/json/cluster/status at pve1:8006 is forbidden: Permission check failed (/, Sys.Audit); grant Sys.Audit on / to the token and to its user
        as-mon-sep.ha                          Forbidden    GET /api2/json/cluster/ha/status/current at pve1:8006 is forbidden: Permission check failed (/, Sys.Audit); grant Sys.Audit on / to the token and to its user
        as-mon-sep.metrics                     Forbidden    GET /api2/json/cluster/metrics/export at pve1:8006 is forbidden: Permission check failed (/, Sys.Audit); grant Sys.Audit on / to the token and to its user
        as-mon-sep.node-status                 Forbidden    GET /api2/json/nodes/pve1/status at pve1:8006 is forbidden: Permission check failed (/nodes/pve1, Sys.Audit); grant Sys.Audit on /nodes/pve1 to the token and to its user
        as-mon-sep.qemu100                     Forbidden    GET /api2/json/nodes/pve1/qemu/100/status/current at pve1:8006 is forbidden: Permission check failed (/vms/100, VM.Audit); grant VM.Audit on /vms/100 to the token and to its user
        as-nobody-t1.cluster-status            Forbidden    GET /api2/json/cluster/status at pve1:8006 is forbidden: Permission check failed (/, Sys.Audit); grant Sys.Audit on / to the token and to its user
        as-nobody-t1.ha                        Forbidden    GET /api2/json/cluster/ha/status/current at pve1:8006 is forbidden: Permission check failed (/, Sys.Audit); grant Sys.Audit on / to the token and to its user
        as-nobody-t1.metrics                   Forbidden    GET /api2/json/cluster/metrics/export at pve1:8006 is forbidden: Permission check failed (/, Sys.Audit); grant Sys.Audit on / to the token and to its user
        as-nobody-t1.node-status               Forbidden    GET /api2/json/nodes/pve1/status at pve1:8006 is forbidden: Permission check failed (/nodes/pve1, Sys.Audit); grant Sys.Audit on /nodes/pve1 to the token and to its user
        as-nobody-t1.qemu100                   Forbidden    GET /api2/json/nodes/pve1/qemu/100/status/current at pve1:8006 is forbidden: Permission check failed (/vms/100, VM.Audit); grant VM.Audit on /vms/100 to the token and to its user
        as-op-t1.cluster-status                Forbidden    GET /api2/json/cluster/status at pve1:8006 is forbidden: Permission check failed (/, Sys.Audit); grant Sys.Audit on / to the token and to its user
        as-op-t1.ha                            Forbidden    GET /api2/json/cluster/ha/status/current at pve1:8006 is forbidden: Permission check failed (/, Sys.Audit); grant Sys.Audit on / to the token and to its user
        as-op-t1.metrics                       Forbidden    GET /api2/json/cluster/metrics/export at pve1:8006 is forbidden: Permission check failed (/, Sys.Audit); grant Sys.Audit on / to the token and to its user
        as-op-t1.node-status                   Forbidden    GET /api2/json/nodes/pve1/status at pve1:8006 is forbidden: Permission check failed (/nodes/pve1, Sys.Audit); grant Sys.Audit on /nodes/pve1 to the token and to its user
        as-poolop-t1.cluster-status            Forbidden    GET /api2/json/cluster/status at pve1:8006 is forbidden: Permission check failed (/, Sys.Audit); grant Sys.Audit on / to the token and to its user
        as-poolop-t1.ha                        Forbidden    GET /api2/json/cluster/ha/status/current at pve1:8006 is forbidden: Permission check failed (/, Sys.Audit); grant Sys.Audit on / to the token and to its user
        as-poolop-t1.metrics                   Forbidden    GET /api2/json/cluster/metrics/export at pve1:8006 is forbidden: Permission check failed (/, Sys.Audit); grant Sys.Audit on / to the token and to its user
        as-poolop-t1.node-status               Forbidden    GET /api2/json/nodes/pve1/status at pve1:8006 is forbidden: Permission check failed (/nodes/pve1, Sys.Audit); grant Sys.Audit on /nodes/pve1 to the token and to its user
        ceph-status                            Rejected     GET /api2/json/cluster/ceph/status at pve1:8006 was rejected with 500: binary not installed: /usr/bin/ceph-mon
        cluster3/wrong-node.qemu-110-config    NotFound     GET /api2/json/nodes/pve1/qemu/110/config at pve1:8006 found nothing: Configuration file 'nodes/pve1/qemu-server/110.conf' does not exist
        cluster3/wrong-node.qemu-110-current   NotFound     GET /api2/json/nodes/pve1/qemu/110/status/current at pve1:8006 found nothing: Configuration file 'nodes/pve1/qemu-server/110.conf' does not exist
        err.bad-node-name                      Forbidden    GET /api2/json/nodes/no_node!/status at pve1:8006 is forbidden: Permission check failed (, Sys.Audit)
        err.bad-param-extra                    Rejected     GET /api2/json/cluster/resources?foo=bar at pve1:8006 was rejected with 400: Parameter verification failed. (foo: property is not defined in schema and the schema does not allow additional properties)
        err.bad-param-extra2                   Rejected     GET /api2/json/version?foo=bar at pve1:8006 was rejected with 400: Parameter verification failed. (foo: property is not defined in schema and the schema does not allow additional properties)
        err.bad-param-limit                    Rejected     GET /api2/json/nodes/pve1/tasks?limit=-1 at pve1:8006 was rejected with 400: Parameter verification failed. (limit: value must have a minimum value of 0)
        err.bad-param-type                     Rejected     GET /api2/json/cluster/resources?type=bogus at pve1:8006 was rejected with 400: Parameter verification failed. (type: value 'bogus' does not have a value in the enumeration 'vm, storage, node, sdn')
        err.bad-param-vmid                     Rejected     GET /api2/json/nodes/pve1/qemu/abc/status/current at pve1:8006 was rejected with 400: Parameter verification failed. (vmid: type check ('integer') failed - got 'abc')
        err.bad-ticket-cookie                  Unauthorized GET /api2/json/version at pve1:8006 was refused with 401: Authentication failed!; check that the token exists, is enabled and has not expired, and that its secret is the right one
        err.bad-token-secret                   Unauthorized GET /api2/json/version at pve1:8006 was refused with 401: Authentication failed!; check that the token exists, is enabled and has not expired, and that its secret is the right one
        err.disabled-user-token                Unauthorized GET /api2/json/version at pve1:8006 was refused with 401: Authentication failed!; check that the token exists, is enabled and has not expired, and that its secret is the right one
        err.expired-token                      Unauthorized GET /api2/json/version at pve1:8006 was refused with 401: Authentication failed!; check that the token exists, is enabled and has not expired, and that its secret is the right one
        err.malformed-token                    Unauthorized GET /api2/json/version at pve1:8006 was refused with 401: Authentication failed!; check that the token exists, is enabled and has not expired, and that its secret is the right one
        err.method-not-impl                    Unsupported  DELETE /api2/json/version at pve1:8006 is not supported by this server: Method 'DELETE /version' not implemented
        err.method-options                     Unsupported  OPTIONS /api2/json/nodes at pve1:8006 is not supported by this server: method 'OPTIONS' not available
        err.method-patch                       Unsupported  PATCH /api2/json/nodes at pve1:8006 is not supported by this server: method 'PATCH' not available
        err.method-put                         Unsupported  PUT /api2/json/nodes at pve1:8006 is not supported by this server: Method 'PUT /nodes' not implemented
        err.no-auth                            Unauthorized GET /api2/json/nodes at pve1:8006 was refused with 401: No ticket; check that the token exists, is enabled and has not expired, and that its secret is the right one
        err.no-auth-version                    Unauthorized GET /api2/json/version at pve1:8006 was refused with 401: No ticket; check that the token exists, is enabled and has not expired, and that its secret is the right one
        err.non-api-path                       Rejected     GET /foo/bar at pve1:8006 was rejected with 500: no such file '/foo/bar'
        err.token-lowercase-scheme             Unauthorized GET /api2/json/version at pve1:8006 was refused with 401: No ticket; check that the token exists, is enabled and has not expired, and that its secret is the right one
        err.token-space-after                  Unauthorized GET /api2/json/version at pve1:8006 was refused with 401: Authentication failed!; check that the token exists, is enabled and has not expired, and that its secret is the right one
        err.unknown-format                     Unsupported  GET /api2/xml/version at pve1:8006 is not supported by this server: no formatter for uri /version, xml
        err.unknown-node                       NotFound     GET /api2/json/nodes/nonode/status at pve1:8006 found nothing: hostname lookup 'nonode' failed - failed to get address info for: nonode: Temporary failure in name resolution
        err.unknown-node-qemu                  NotFound     GET /api2/json/nodes/nonode/qemu at pve1:8006 found nothing: hostname lookup 'nonode' failed - failed to get address info for: nonode: Temporary failure in name resolution
        err.unknown-path                       Unsupported  GET /api2/json/nosuch at pve1:8006 is not supported by this server: Method 'GET /nosuch' not implemented
        err.unknown-path-deep                  Unsupported  GET /api2/json/cluster/nosuch/thing at pve1:8006 is not supported by this server: Method 'GET /cluster/nosuch/thing' not implemented
        err.unknown-path-noauth                Unauthorized GET /api2/json/nosuch at pve1:8006 was refused with 401: No ticket; check that the token exists, is enabled and has not expired, and that its secret is the right one
        err.unknown-token                      Unauthorized GET /api2/json/version at pve1:8006 was refused with 401: Authentication failed!; check that the token exists, is enabled and has not expired, and that its secret is the right one
        err.unknown-user-token                 Unauthorized GET /api2/json/version at pve1:8006 was refused with 401: Authentication failed!; check that the token exists, is enabled and has not expired, and that its secret is the right one
        err.wrong-scheme-bearer                Unauthorized GET /api2/json/version at pve1:8006 was refused with 401: No ticket; check that the token exists, is enabled and has not expired, and that its secret is the right one
        head.version                           Unsupported  HEAD /api2/json/version at pve1:8006 is not supported by this server: method 'HEAD' not available
        lxc-999-current                        NotFound     GET /api2/json/nodes/pve1/lxc/999/status/current at pve1:8006 found nothing: Configuration file 'nodes/pve1/lxc/999.conf' does not exist
        no-quorum/put-config                   NoQuorum     PUT /api2/json/nodes/pve1/qemu/100/config at pve1:8006 failed, because the node has no quorum: unable to open file '/etc/pve/nodes/pve1/qemu-server/100.conf.tmp.116' - Permission denied
        no-quorum/start-100                    NoQuorum     POST /api2/json/nodes/pve1/qemu/100/status/start at pve1:8006 failed, because the node has no quorum: cluster not ready - no quorum?
        no-quorum/start-104                    NoQuorum     POST /api2/json/nodes/pve1/qemu/104/status/start at pve1:8006 failed, because the node has no quorum: cluster not ready - no quorum?
        node-ceph-status                       Rejected     GET /api2/json/nodes/pve1/ceph/status at pve1:8006 was rejected with 500: binary not installed: /usr/bin/ceph-mon
        node-disks-smart                       Rejected     GET /api2/json/nodes/pve1/disks/smart?disk=/dev/vda at pve1:8006 was rejected with 500: not a valid block device
        node-storage-nosuch                    NotFound     GET /api2/json/nodes/pve1/storage/nosuch/status at pve1:8006 found nothing: No such storage.
        node-storage-usbdisk-content           Rejected     GET /api2/json/nodes/pve1/storage/usbdisk/content at pve1:8006 was rejected with 500: unable to activate storage 'usbdisk' - directory is expected to be a mount point but is not mounted: '/mnt/usb'
        node-zfs                               Rejected     GET /api2/json/nodes/pve1/disks/zfs at pve1:8006 was rejected with 500: zfsutils-linux not installed
        ok.double-slash                        Rejected     GET //api2/json/version at pve1:8006 was rejected with 500: no such file '/json/version'
        post.get-with-post                     Unsupported  GET /api2/json/nodes/pve1/qemu/104/status/start at pve1:8006 is not supported by this server: Method 'GET /nodes/pve1/qemu/104/status/start' not implemented
        post.lxc-start-running                 Already      POST /api2/json/nodes/pve1/lxc/200/status/start at pve1:8006 had nothing to do: CT 200 already running
        post.start-as-auditor                  Forbidden    POST /api2/json/nodes/pve1/qemu/100/status/start at pve1:8006 is forbidden: Permission check failed (/vms/100, VM.PowerMgmt); grant VM.PowerMgmt on /vms/100 to the token and to its user
        post.start-bad-param                   Rejected     POST /api2/json/nodes/pve1/qemu/104/status/start at pve1:8006 was rejected with 400: Parameter verification failed. (foo: property is not defined in schema and the schema does not allow additional properties; timeout: type check ('integer') failed - got 'abc')
        post.start-json-badbody                Rejected     POST /api2/json/nodes/pve1/qemu/104/status/start at pve1:8006 was rejected with 500: '"' expected, at character offset 1 (before "bad") at /usr/share/perl5/PVE/APIServer/AnyEvent.pm line 934.
        post.start-missing-vm-as-auditor       Forbidden    POST /api2/json/nodes/pve1/qemu/999/status/start at pve1:8006 is forbidden: Permission check failed (/vms/999, VM.PowerMgmt); grant VM.PowerMgmt on /vms/999 to the token and to its user
        post.start-no-auth                     Unauthorized POST /api2/json/nodes/pve1/qemu/100/status/start at pve1:8006 was refused with 401: No ticket; check that the token exists, is enabled and has not expired, and that its secret is the right one
        post.start-nobody                      Forbidden    POST /api2/json/nodes/pve1/qemu/100/status/start at pve1:8006 is forbidden: Permission check failed (/vms/100, VM.PowerMgmt); grant VM.PowerMgmt on /vms/100 to the token and to its user
        post.start-text-body                   Rejected     POST /api2/json/nodes/pve1/qemu/104/status/start at pve1:8006 was rejected with 506: upload 'Content-Type 'text/plain' not implemented
        qemu-100-agent-net                     Rejected     GET /api2/json/nodes/pve1/qemu/100/agent/network-get-interfaces at pve1:8006 was rejected with 500: No QEMU guest agent configured
        qemu-101-agent-net                     Rejected     GET /api2/json/nodes/pve1/qemu/101/agent/network-get-interfaces at pve1:8006 was rejected with 500: No QEMU guest agent configured
        qemu-106-agent-net                     Rejected     GET /api2/json/nodes/pve1/qemu/106/agent/network-get-interfaces at pve1:8006 was rejected with 500: QEMU guest agent is not running
        qemu-200-current-wrongtype             NotFound     GET /api2/json/nodes/pve1/qemu/200/status/current at pve1:8006 found nothing: Configuration file 'nodes/pve1/qemu-server/200.conf' does not exist
        qemu-999-config                        NotFound     GET /api2/json/nodes/pve1/qemu/999/config at pve1:8006 found nothing: Configuration file 'nodes/pve1/qemu-server/999.conf' does not exist
        qemu-999-current                       NotFound     GET /api2/json/nodes/pve1/qemu/999/status/current at pve1:8006 found nothing: Configuration file 'nodes/pve1/qemu-server/999.conf' does not exist
        task.status-as-nobody                  Forbidden    GET /api2/json/nodes/pve1/tasks/UPID%3Apve1%3A00000AA8%3A00041356%3A6B0473EA%3Aqmstart%3A104%3Aop%40pve%21t1%3A/status at pve1:8006 is forbidden: Permission check failed (/nodes/pve1, Sys.Audit); grant Sys.Audit on /nodes/pve1 to the token and to its user
        task.status-bogus-upid                 Rejected     GET /api2/json/nodes/pve1/tasks/UPID:foo/status at pve1:8006 was rejected with 400: Parameter verification failed. (upid: unable to parse worker upid)
        task.status-unknown-upid               NotFound     GET /api2/json/nodes/pve1/tasks/UPID%3Apve1%3A0000AAAA%3A00001111%3A66666666%3Aqmstart%3A104%3Aop%40pve%21t1%3A/status at pve1:8006 found nothing: no such task
    "#]].assert_eq(&told);
}

#[test]
fn a_failed_hop_has_a_code_and_a_reason() {
    let asked = Asked { call: "GET /nodes/pve3/status".into(), endpoint: "pve1:8006".into() };
    let error = |code, reason| understand::<Value>(&asked, code, reason, b"").err().unwrap();
    let refused = error(595, "Connection refused");
    assert_eq!(
        refused.to_string(),
        "GET /nodes/pve3/status at pve1:8006 got no further than the endpoint: 595 Connection refused"
    );
    assert!(matches!(&refused, Error::Hop { code: 595, reason, .. } if &**reason == "Connection refused"));
    assert!(!refused.may_have_acted());
    assert!(error(596, "Connection timed out").may_have_acted());
}

#[test]
fn guests_of_the_cluster() {
    let table = [
        ("a running guest", guest("cluster-resources", "qemu/100")),
        ("under HA, frozen", guest("cluster-resources", "qemu/101")),
        ("a template", guest("cluster-resources", "qemu/102")),
        ("no name of its own", guest("cluster-resources", "qemu/104")),
        ("locked", guest("cluster-resources", "qemu/105")),
        ("a container", guest("cluster-resources", "lxc/200")),
        ("under HA, stopped", guest("cluster3/cluster-resources", "qemu/101")),
        ("on another node", guest("cluster3/cluster-resources", "qemu/120")),
    ];
    let told: Vec<String> = table
        .iter()
        .map(|(what, guest)| {
            let GuestResource { id, node, status, name, template, lock, hastate, pool, tags, .. } = guest;
            format!(
                "{what}: {id} {} on {node:?} {status} template={template} lock={} ha={} pool={} tags={}",
                name.as_deref().unwrap_or("-"),
                lock.as_ref().map_or("-", Lock::as_str),
                hastate.as_ref().map_or("-", HaState::as_str),
                pool.as_deref().unwrap_or("-"),
                tags.as_deref().unwrap_or("-"),
            )
        })
        .collect();
    expect![[r#"
        a running guest: qemu/100 web01 on node/pve1 running template=false lock=- ha=- pool=prod tags=prod;web
        under HA, frozen: qemu/101 db01 on node/pve1 stopped template=false lock=- ha=freeze pool=prod tags=db
        a template: qemu/102 tmpl-debian13 on node/pve1 stopped template=true lock=- ha=- pool=- tags=-
        no name of its own: qemu/104 VM 104 on node/pve1 stopped template=false lock=- ha=- pool=dev tags=-
        locked: qemu/105 locked on node/pve1 stopped template=false lock=backup ha=- pool=- tags=-
        a container: lxc/200 ct-dns on node/pve1 running template=false lock=- ha=- pool=- tags=infra
        under HA, stopped: qemu/101 db01 on node/pve1 stopped template=false lock=- ha=stopped pool=prod tags=db
        on another node: qemu/120 cache01 on node/pve3 running template=false lock=- ha=- pool=- tags=-"#]].assert_eq(&told.join("\n"));

    let web = guest("cluster-resources", "qemu/100");
    assert_eq!(web.tags().collect::<Vec<_>>(), ["prod", "web"]);
    assert_eq!(web.cpu, Some(0.086_804_673_550_105_3));
    assert_eq!((web.uptime, web.maxcpu, web.mem), (Some(893), Some(1.0), Some(580_370_432)));
    assert_eq!(
        (web.maxmem, web.memhost, web.maxdisk),
        (Some(67_108_864), Some(580_370_432), Some(1_073_741_824))
    );
}

#[test]
fn nodes_storages_pools_and_networks_of_the_cluster() {
    let gone = storage("cluster-resources", "pve1", "usbdisk");
    assert_eq!(gone.status, StorageStatus::Unknown);
    assert_eq!((gone.disk, gone.maxdisk, gone.shared), (None, None, false));
    let local = storage("cluster-resources", "pve1", "local");
    assert_eq!(local.status, StorageStatus::Available);
    assert_eq!(local.maxdisk, Some(270_553_174_016));
    assert!(storage("cluster3/cluster-resources", "pve3", "shared1").shared);

    let dead = node("no-quorum/cluster-resources", "pve2");
    assert_eq!((&dead.status, dead.hastate), (&NodeStatus::Offline, Some(HaNodeState::Online)));
    assert_eq!((dead.cpu, dead.uptime), (None, None), "only an online node has them");
    let blind = node("as-nobody-t1.cluster-resources", "pve1");
    assert_eq!((&blind.status, blind.maxmem, blind.cgroup_mode), (&NodeStatus::Online, None, Some(2)));

    let mut pools = Vec::new();
    let mut networks = Vec::new();
    for row in rows::<Resource>("cluster-resources") {
        match row {
            Resource::Pool(pool) => pools.push((pool.pool, pool.maxmem)),
            Resource::Network(network) => networks.push((network.id, network.network_type)),
            Resource::Node(_) | Resource::Guest(_) | Resource::Storage(_) | Resource::Other { .. } => {}
        }
    }
    pools.sort();
    assert_eq!(pools, [("dev".into(), None), ("prod".into(), Some(67_108_864))]);
    assert_eq!(networks, [("network/pve1/zone/localnetwork".into(), Some("zone".into()))]);
}

/// A dead node's rows lose their numbers, and guests even their names, after 300 s.
#[test]
fn rows_that_expired() {
    let text = std::fs::read_to_string(folder().join("timeline-expiry.json")).unwrap();
    let moments: Vec<Value> = serde_json::from_str(&text).unwrap();
    let mut story = Vec::new();
    for moment in &moments {
        let rows = ["vm120", "node3"].map(|what| moment["state"][what].to_string());
        let [vm, node] = rows.map(|rows| serde_json::from_str::<Rows<Resource>>(&rows).unwrap());
        assert_eq!((vm.total(), vm.unreadable.len(), node.total(), node.unreadable.len()), (1, 0, 1, 0));
        let (Resource::Guest(vm), Resource::Node(node)) = (&vm.rows[0], &node.rows[0]) else {
            panic!("{moment}")
        };
        let named = if vm.name.is_some() { "named" } else { "nameless" };
        let line =
            format!("qemu/120 {} {named}, node {} maxmem {}", vm.status, node.status, node.maxmem.is_some());
        if story.last() != Some(&line) {
            story.push(line);
        }
    }
    assert_eq!(
        story,
        [
            "qemu/120 running named, node offline maxmem true",
            "qemu/120 unknown nameless, node offline maxmem false",
        ]
    );
}

#[test]
fn guests_live() {
    let vm: LiveGuest = read("qemu-101-current");
    assert_eq!((vm.vmid, &vm.status, vm.qmpstatus), (101, &GuestStatus::Stopped, Some(GuestStatus::Stopped)));
    assert_eq!(vm.ha, Some(HaManaged { managed: true, state: Some(HaState::Started) }));

    let vm: LiveGuest = read("cluster3-fixed-qmp/qemu-100-current");
    assert_eq!((vm.running_qemu.as_deref(), vm.pid, vm.uptime), (Some("10.0.13"), Some(2113), Some(18)));
    assert_eq!((vm.pressure.cpu_some, vm.pressure.cpu_full), (Some(2.45), Some(1.99)));
    assert_eq!(vm.diskread, Some(2048));

    // Seen on the wire (not recorded whole): paused shows in two of three places.
    let live = r#"{"data":{"vmid":100,"status":"running","qmpstatus":"paused","clipboard":null}}"#;
    let resource = r#"{"data":[{"id":"qemu/100","vmid":100,"type":"qemu","node":"pve1","status":"paused"}]}"#;
    let asked = Asked { call: "GET /x".into(), endpoint: "pve1:8006".into() };
    let live = understand::<LiveGuest>(&asked, 200, "OK", live.as_bytes()).ok().unwrap().data;
    assert_eq!((live.status, live.qmpstatus), (GuestStatus::Running, Some(GuestStatus::Paused)));
    let seen = understand::<Rows<Resource>>(&asked, 200, "OK", resource.as_bytes()).ok().unwrap().data.rows;
    assert!(
        matches!(&seen[0], Resource::Guest(guest) if guest.status == GuestStatus::Paused && guest.status.has_process())
    );

    let ct: LiveGuest = read("lxc-200-current");
    assert_eq!((&ct.status, ct.cpus, ct.pid), (&GuestStatus::Running, Some(2.0), Some(302)));
    assert_eq!(ct.pressure.cpu_some, Some(0.0), "a text in containers");
    let list = rows::<LiveGuest>("node-lxc");
    let ct = list.iter().find(|ct| ct.vmid == 200).unwrap();
    assert_eq!(ct.pressure.memory_full, Some(0.0));

    let list = rows::<LiveGuest>("node-qemu");
    let find = |vmid| list.iter().find(|vm| vm.vmid == vmid).unwrap();
    assert!(find(102).template && !find(100).template);
    assert_eq!(find(105).lock, Some(Lock::Backup));
    assert_eq!(find(104).name.as_deref(), Some("VM 104"));
    assert_eq!(rows::<LiveGuest>("as-nobody-t1.node-qemu"), [], "a token without rights sees none");
}

#[test]
fn tasks() {
    let list = rows::<Task>("cluster-tasks");
    let failed = list.iter().find(|task| task.upid.as_str().starts_with("UPID:pve1:000000BC:")).unwrap();
    assert_eq!(failed.exit, Some(ExitStatus::Error("unable to get PID for CT 200 (not running?)".into())));
    assert_eq!((failed.upid.kind(), failed.upid.vmid(), failed.upid.token()), ("vzstart", Some(200), None));
    assert_eq!(failed.ended_at.unwrap().as_second(), 1_795_452_921);

    // The same running task: without a status here, "RUNNING" there; with the token split off here, not there.
    let running = |name| rows::<Task>(name).into_iter().find(|task| task.exit.is_none()).unwrap();
    let (cluster, node) = (running("task.cluster-active"), running("task.node-active"));
    assert_eq!(cluster, node);
    assert_eq!((node.upid.user(), node.upid.token(), node.ended_at), ("op@pve", Some("t1"), None));

    let status = |name| read::<TaskStatus>(name).state;
    assert_eq!(status("task.status-immediately"), TaskState::Running);
    let TaskState::Stopped(ExitStatus::Error(why)) = status("task.status-failed") else {
        panic!("it failed")
    };
    assert!(why.starts_with("KVM virtualisation configured, but not available."), "{why}");

    let log = rows::<LogLine>("task.log-failed");
    assert_eq!(log.iter().map(|line| line.n).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(&*log[2].t, &*format!("TASK ERROR: {why}"));
    assert_eq!(rows::<Task>("as-mon-sep.cluster-tasks"), [], "a token without rights sees none");
}

#[test]
fn membership_and_quorum() {
    let table = [
        ("cluster-status", Some(true), "pve1"),
        ("cluster3/cluster-status", Some(true), "pve1 pve2 pve3"),
        ("no-quorum/cluster-status", Some(false), "pve1"),
    ];
    for (name, quorate, online) in table {
        let status: ClusterStatus = read(name);
        assert_eq!(status.quorate(), quorate, "{name}");
        let mut names: Vec<&str> = status
            .nodes
            .iter()
            .filter(|node| node.online == Some(true))
            .map(|node| node.name.as_str())
            .collect();
        names.sort_unstable();
        assert_eq!(names.join(" "), online, "{name}");
        assert_eq!(status.local().unwrap().name.as_str(), "pve1", "{name}");
    }
    let cluster = read::<ClusterStatus>("cluster3/cluster-status").cluster.unwrap();
    assert_eq!((&*cluster.name, cluster.nodes, cluster.version), ("lab", Some(3), Some(3)));
}

#[test]
fn high_availability() {
    let quorate = |name| read::<HaManagerStatus>(name).quorum.quorate;
    assert!(quorate("ha-manager-status"), "a text: \"1\"");
    let manager: HaManagerStatus = read("cluster3/ha-manager-status");
    assert_eq!(manager.manager_status.master_node.as_ref().map(pve::NodeName::as_str), Some("pve3"));
    let container = &manager.manager_status.service_status["ct:200"];
    assert_eq!((container.state.clone(), container.running), (Some(HaState::Started), true));
    assert_eq!(manager.lrm_status.values().next().unwrap().state.as_deref(), Some("active"));
    assert!(manager.manager_status.node_status.values().all(|state| *state == HaNodeState::Online));

    let mut services = Vec::new();
    let mut quorum = None;
    for row in rows::<HaRow>("no-quorum/ha") {
        match row {
            HaRow::Service(service) => services.push(service),
            HaRow::Quorum(row) => quorum = row.quorate,
            HaRow::Master(_) | HaRow::Lrm(_) | HaRow::Fencing(_) | HaRow::Other { .. } => {}
        }
    }
    assert_eq!(quorum, Some(false));
    let disabled = services.iter().find(|service| service.sid.as_deref() == Some("vm:103")).unwrap();
    assert_eq!(disabled.state, Some(HaState::Disabled));
    assert_eq!((&disabled.crm_state, disabled.failback), (&Some(HaState::Stopped), Some(true)));
}

#[test]
fn a_node_about_itself() {
    let node: NodeReport = read("node-status");
    assert_eq!(node.loadavg, [Load(Some(2.74)), Load(Some(2.62)), Load(Some(2.37))], "texts");
    assert_eq!((node.uptime, node.memory.available), (Some(2554), Some(21_918_171_136)));
    assert_eq!((node.cpuinfo.mhz, node.cpuinfo.hvm), (Some(2596.128), Some(false)), "hvm is \"\"");
    assert_eq!(node.pveversion.as_deref(), Some("pve-manager/9.2.11/14a22df35955d97d"));

    let version: Version = read("version");
    assert_eq!((version.number(), &*version.version), (Some((9, 2)), "9.2.11"));
    let time: NodeTime = read("node-time");
    assert_eq!((time.time.unwrap().as_second(), time.timezone.as_deref()), (1_795_453_819, Some("Etc/UTC")));
    assert_eq!(read::<NodeConfig>("node-config").wakeonlan(), None);

    let storages = rows::<StorageRow>("node-storage");
    let find = |name: &str| &storages.iter().find(|row| &*row.storage == name).unwrap().state;
    let gone = find("usbdisk");
    assert_eq!(
        (gone.active, gone.enabled, gone.total, gone.used_fraction),
        (Some(false), Some(true), Some(0), None)
    );
    assert_eq!(find("local").active, Some(true));
    assert_eq!(read::<StorageState>("node-storage-usbdisk-status").active, Some(false));

    let services = rows::<Service>("node-services");
    let timesyncd = services.iter().find(|service| &*service.service == "systemd-timesyncd").unwrap();
    assert_eq!((timesyncd.state.as_deref(), timesyncd.unit_state.as_deref()), (Some("dead"), Some("masked")));

    let nodes = rows::<NodeRow>("cluster3/nodes");
    assert_eq!(nodes.len(), 3);
    assert!(
        nodes.iter().all(|node| node.ssl_fingerprint.as_deref().unwrap().parse::<pve::Fingerprint>().is_ok())
    );
}

#[test]
fn configurations_rights_and_measures() {
    let config: GuestConfig = read("qemu-100-config");
    assert_eq!((config.get("memory"), config.name()), (Some("64"), Some("web01")), "a text");
    assert_eq!((config.onboot(), config.digest().is_some()), (true, true));
    let config: GuestConfig = read("lxc-200-config");
    assert_eq!((config.get("memory"), config.name()), (Some("128"), Some("ct-dns")), "a number");
    assert!(!config.onboot(), "absent");

    let rights: Permissions = read("access-permissions");
    assert!(rights.allows("/", "Sys.Audit") && !rights.allows("/", "Sys.Syslog"));
    let rights: Permissions = read("as-poolop-t1.access-permissions");
    assert!(rights.allows("/vms/100", "VM.PowerMgmt") && !rights.allows("/vms/105", "VM.PowerMgmt"));
    assert_eq!(read::<Permissions>("as-mon-sep.access-permissions"), Permissions::default());

    let export: MetricsExport = read("metrics-export");
    let uptime =
        export.data.rows.iter().find(|row| &*row.id == "node/pve1" && &*row.metric == "uptime").unwrap();
    assert_eq!((uptime.value, uptime.timestamp.unwrap().as_second()), (Some(2550.0), 1_795_453_809));
    let points = rows::<RrdPoint>("node-rrddata");
    assert!(points.iter().any(|point| point.values.is_empty()), "what was not measured is left out");
    assert!(points.iter().any(|point| point.values.get("maxcpu") == Some(&2.0)));
}

#[test]
fn totals_of_pages() {
    let recorded = recorded("node-tasks");
    let asked = Asked { call: "GET /x".into(), endpoint: "pve1:8006".into() };
    let page = understand::<Rows<Task>>(&asked, 200, "OK", recorded.body.as_bytes()).ok().unwrap();
    assert_eq!(page.total, Some(page.data.total() as u64));
}
