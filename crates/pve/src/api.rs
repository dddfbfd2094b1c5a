//! One function per endpoint of PVE that is used. What each may see depends on the token's rights: PVE leaves out of
//! lists, without a word, what the token may not see.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::Method;
use serde::de::DeserializeOwned;

use crate::client::{Client, Patience, Question, Shape};
use crate::error::Error;
use crate::ids::{GuestId, NodeName};
use crate::types::{
    ClusterStatus, GuestConfig, HaManagerStatus, HaRow, Journal, LiveGuest, LogEntry, LogLine, NodeConfig,
    NodeReport, NodeRow, NodeTime, Page, Permissions, Resource, Rows, RrdPoint, Service, StorageRow, Task,
    TaskStatus, Version,
};
use crate::upid::Upid;

/// Which tasks of a node.
#[derive(Clone, Debug, Default)]
pub struct TaskQuery {
    pub vmid: Option<u32>,
    pub source: TaskSource,
    /// By the time the task started, on the node's own clock.
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    /// PVE gives 50 if nothing is said. The node keeps two files of some 500 to 1000 each (pve-domain 3.1).
    pub limit: Option<u32>,
    /// Where to begin, for the next page.
    pub start: Option<u32>,
    /// One exact type, such as `qmstop`.
    pub typefilter: Option<String>,
    /// A part of the user's name.
    pub userfilter: Option<String>,
    /// Only those that did not end with OK (so also those with warnings).
    pub errors_only: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TaskSource {
    /// Finished tasks.
    #[default]
    Archive,
    /// Running tasks.
    Active,
    All,
}

/// Over how long PVE shows its averages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Timeframe {
    Hour,
    Day,
    Week,
}

impl Timeframe {
    fn parameters(self) -> Vec<(&'static str, String)> {
        let word = match self {
            Timeframe::Hour => "hour",
            Timeframe::Day => "day",
            Timeframe::Week => "week",
        };
        vec![("timeframe", word.to_owned()), ("cf", "AVERAGE".to_owned())]
    }
}

/// Which part of a node's journal. PVE takes either the latest entries or a range, whole seconds, and refuses other
/// ways of narrowing it before 9.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JournalQuery {
    /// So many of the latest entries.
    Last(u32),
    /// From here on, by the node's own clock.
    Since(Timestamp),
    /// From the first to the second.
    Between(Timestamp, Timestamp),
}

impl JournalQuery {
    fn parameters(self) -> Vec<(&'static str, String)> {
        match self {
            JournalQuery::Last(entries) => vec![("lastentries", entries.to_string())],
            JournalQuery::Since(since) => vec![("since", second(since))],
            JournalQuery::Between(since, until) => vec![("since", second(since)), ("until", second(until))],
        }
    }
}

/// PVE's times are whole seconds and never negative.
fn second(time: Timestamp) -> String {
    time.as_second().max(0).to_string()
}

impl TaskQuery {
    fn parameters(&self) -> Vec<(&'static str, String)> {
        let source = match self.source {
            TaskSource::Archive => "archive",
            TaskSource::Active => "active",
            TaskSource::All => "all",
        };
        let given = [
            ("source", Some(source.to_owned())),
            ("vmid", self.vmid.map(|vmid| vmid.to_string())),
            ("since", self.since.map(second)),
            ("until", self.until.map(second)),
            ("limit", self.limit.map(|limit| limit.to_string())),
            ("start", self.start.map(|start| start.to_string())),
            ("typefilter", self.typefilter.clone()),
            ("userfilter", self.userfilter.clone()),
            ("errors", self.errors_only.then(|| "1".to_owned())),
        ];
        given.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

impl Client {
    /// `GET /version`. Any token may; the cheapest sign that pveproxy lives and takes the token.
    pub async fn version(&self) -> Result<Version, Error> {
        self.cheap(&["version"]).await
    }

    /// `GET /nodes`. Without Sys.Audit a row has no numbers.
    pub async fn nodes(&self) -> Result<Rows<NodeRow>, Error> {
        self.cheap(&["nodes"]).await
    }

    /// `GET /cluster/resources`: nodes, guests, storages, pools and networks of the whole cluster, from the memory of
    /// the contacted node. The numbers are up to 14 s old, and up to 300 s if the node concerned is silent.
    pub async fn cluster_resources(&self) -> Result<Rows<Resource>, Error> {
        self.cheap(&["cluster", "resources"]).await
    }

    /// `GET /cluster/status`: quorum and membership, as the contacted node sees them. Needs Sys.Audit on `/`.
    pub async fn cluster_status(&self) -> Result<ClusterStatus, Error> {
        self.cheap(&["cluster", "status"]).await
    }

    /// `GET /cluster/tasks`: at most 25 per node, of all nodes. A token without Sys.Audit on `/` sees none. Running
    /// tasks of a dead node stay in the list.
    pub async fn cluster_tasks(&self) -> Result<Rows<Task>, Error> {
        self.cheap(&["cluster", "tasks"]).await
    }

    /// `GET /cluster/log`: what the cluster logged of itself, at most `max` entries. Without Sys.Syslog on `/` the list
    /// is empty rather than refused.
    pub async fn cluster_log(&self, max: u32) -> Result<Rows<LogEntry>, Error> {
        let parameters = vec![("max", max.to_string())];
        Ok(self.ask(Question::get(&["cluster", "log"], parameters, None, Patience::Cheap)).await?.data)
    }

    /// `GET /cluster/ha/status/manager_status`: HA's own notes, also of planned downtime. Needs Sys.Audit on `/`.
    pub async fn ha_manager_status(&self) -> Result<HaManagerStatus, Error> {
        self.cheap(&["cluster", "ha", "status", "manager_status"]).await
    }

    /// `GET /cluster/ha/status/current`: HA's services with what is wished of them. Needs Sys.Audit on `/`.
    pub async fn ha_status(&self) -> Result<Rows<HaRow>, Error> {
        self.cheap(&["cluster", "ha", "status", "current"]).await
    }

    /// `GET /access/permissions`: what this token may do.
    pub async fn permissions(&self) -> Result<Permissions, Error> {
        self.cheap(&["access", "permissions"]).await
    }

    /// `GET /nodes/{node}/status`, answered live by that node's pveproxy. Needs Sys.Audit on the node.
    pub async fn node_status(&self, node: &NodeName) -> Result<NodeReport, Error> {
        self.forwarded(node, &["nodes", node.as_str(), "status"], Vec::new()).await
    }

    /// `GET /nodes/{node}/services`: what systemd says of each. Costs the node 0.7 s of CPU, in one of its three
    /// workers: never two at a time. Needs Sys.Audit on the node.
    pub async fn node_services(&self, node: &NodeName) -> Result<Rows<Service>, Error> {
        self.forwarded(node, &["nodes", node.as_str(), "services"], Vec::new()).await
    }

    /// `GET /nodes/{node}/storage` of those that are enabled: the node tries each just now, and waits for one that
    /// hangs.
    pub async fn node_storages(&self, node: &NodeName) -> Result<Rows<StorageRow>, Error> {
        let parameters = vec![("enabled", "1".to_owned())];
        self.forwarded(node, &["nodes", node.as_str(), "storage"], parameters).await
    }

    /// `GET /nodes/{node}/config`: among others how to wake it. Needs Sys.Audit on `/`.
    pub async fn node_config(&self, node: &NodeName) -> Result<NodeConfig, Error> {
        self.forwarded(node, &["nodes", node.as_str(), "config"], Vec::new()).await
    }

    /// `GET /nodes/{node}/time`: its clock.
    pub async fn node_time(&self, node: &NodeName) -> Result<NodeTime, Error> {
        self.forwarded(node, &["nodes", node.as_str(), "time"], Vec::new()).await
    }

    /// `GET /nodes/{node}/journal`. Needs Sys.Syslog on the node, which PVEAuditor does not hold. Costs the node some
    /// 25 ms of CPU, more where the journal is large.
    ///
    /// `None`: the node's reader of the journal gave nothing at all. It does so where it cannot read what it was asked
    /// for, so that is no proof of silence; ask anew, without what was remembered.
    pub async fn node_journal(&self, node: &NodeName, query: JournalQuery) -> Result<Option<Journal>, Error> {
        let path = ["nodes", node.as_str(), "journal"];
        let question = Question {
            shape: Shape::Journal,
            ..Question::get(&path, query.parameters(), Some(node), Patience::Forwarded)
        };
        Ok(self.ask::<Option<Journal>>(question).await?.data)
    }

    /// `GET /nodes/{node}/qemu`: live, but only `running` or `stopped`.
    pub async fn qemu_list(&self, node: &NodeName) -> Result<Rows<LiveGuest>, Error> {
        self.forwarded(node, &["nodes", node.as_str(), "qemu"], Vec::new()).await
    }

    /// `GET /nodes/{node}/lxc`: live, `running` or `stopped`. Costs the node some 40 ms per running container.
    pub async fn lxc_list(&self, node: &NodeName) -> Result<Rows<LiveGuest>, Error> {
        self.forwarded(node, &["nodes", node.as_str(), "lxc"], Vec::new()).await
    }

    /// `GET /nodes/{node}/{kind}/{vmid}/status/current`: the authority on one guest. [`Error::NotFound`] means that
    /// it is not on this node (any more).
    pub async fn guest_status(&self, node: &NodeName, guest: GuestId) -> Result<LiveGuest, Error> {
        let vmid = guest.vmid.to_string();
        let path = ["nodes", node.as_str(), guest.kind.as_str(), &vmid, "status", "current"];
        self.forwarded(node, &path, Vec::new()).await
    }

    /// `GET /nodes/{node}/{kind}/{vmid}/config`. Cheap for PVE; cache it by `digest`.
    pub async fn guest_config(&self, node: &NodeName, guest: GuestId) -> Result<GuestConfig, Error> {
        let vmid = guest.vmid.to_string();
        self.forwarded(node, &["nodes", node.as_str(), guest.kind.as_str(), &vmid, "config"], Vec::new())
            .await
    }

    /// `GET /nodes/{node}/rrddata`: averages over so long, some seventy points.
    pub async fn node_history(&self, node: &NodeName, over: Timeframe) -> Result<Rows<RrdPoint>, Error> {
        self.forwarded(node, &["nodes", node.as_str(), "rrddata"], over.parameters()).await
    }

    /// `GET /nodes/{node}/{kind}/{vmid}/rrddata`: the same of one guest.
    pub async fn guest_history(
        &self,
        node: &NodeName,
        guest: GuestId,
        over: Timeframe,
    ) -> Result<Rows<RrdPoint>, Error> {
        let vmid = guest.vmid.to_string();
        let path = ["nodes", node.as_str(), guest.kind.as_str(), &vmid, "rrddata"];
        self.forwarded(node, &path, over.parameters()).await
    }

    /// `GET /nodes/{node}/tasks`. Needs Sys.Audit on the node for others' tasks.
    pub async fn node_tasks(&self, node: &NodeName, query: &TaskQuery) -> Result<Page<Task>, Error> {
        let path = ["nodes", node.as_str(), "tasks"];
        let question = Question::get(&path, query.parameters(), Some(node), Patience::Forwarded);
        let understood = self.ask::<Rows<Task>>(question).await?;
        Ok(Page { rows: understood.data, total: understood.total })
    }

    /// `GET /nodes/{node}/tasks/{upid}/status`, at the task's own node.
    pub async fn task_status(&self, upid: &Upid) -> Result<TaskStatus, Error> {
        let path = ["nodes", upid.node().as_str(), "tasks", upid.as_str(), "status"];
        self.forwarded(upid.node(), &path, Vec::new()).await
    }

    /// `GET /nodes/{node}/tasks/{upid}/log`: `limit` lines from line `start` on, counted from 0.
    pub async fn task_log(&self, upid: &Upid, start: u32, limit: u32) -> Result<Page<LogLine>, Error> {
        let path = ["nodes", upid.node().as_str(), "tasks", upid.as_str(), "log"];
        let parameters = vec![("start", start.to_string()), ("limit", limit.to_string())];
        let question = Question::get(&path, parameters, Some(upid.node()), Patience::Forwarded);
        let understood = self.ask::<Rows<LogLine>>(question).await?;
        Ok(Page { rows: understood.data, total: understood.total })
    }

    /// `POST .../status/start`. The task id says only that a task was begun: locked, template, missing disk and no
    /// KVM show in the task. For a guest under HA the task merely asks HA.
    pub async fn guest_start(&self, node: &NodeName, guest: GuestId) -> Result<Upid, Error> {
        self.act(node, guest, "start", Vec::new()).await
    }

    /// `POST .../status/stop`: pulls the plug.
    pub async fn guest_stop(&self, node: &NodeName, guest: GuestId) -> Result<Upid, Error> {
        self.act(node, guest, "stop", Vec::new()).await
    }

    /// `POST .../status/shutdown`: asks the guest. `within` is how long PVE waits for it (60 s if nothing is said),
    /// whole seconds; if it does not obey, the task fails and the guest runs on.
    pub async fn guest_shutdown(
        &self,
        node: &NodeName,
        guest: GuestId,
        within: Option<Duration>,
    ) -> Result<Upid, Error> {
        let parameters = within.map(|within| ("timeout", within.as_secs().to_string()));
        self.act(node, guest, "shutdown", parameters.into_iter().collect()).await
    }

    /// `POST .../status/reboot`: shuts the guest down and starts it again; HA or not, it is done directly. `within` as in
    /// [`Client::guest_shutdown`]. A machine's task ends OK before it is started again, by a task of root's.
    pub async fn guest_reboot(
        &self,
        node: &NodeName,
        guest: GuestId,
        within: Option<Duration>,
    ) -> Result<Upid, Error> {
        let parameters = within.map(|within| ("timeout", within.as_secs().to_string()));
        self.act(node, guest, "reboot", parameters.into_iter().collect()).await
    }

    /// `POST .../qemu/{vmid}/status/resume`: lets a machine go on that stands still, after a disk error too. HA or not, it
    /// is done directly.
    pub async fn guest_resume(&self, node: &NodeName, guest: GuestId) -> Result<Upid, Error> {
        self.act(node, guest, "resume", Vec::new()).await
    }

    /// `POST /nodes/{node}/wakeonlan`: the *contacted* node sends the packet, so it must be another one than `node`, of
    /// the same network. Gives the MAC address; that the packet was sent is all that is known. Needs Sys.PowerMgmt on
    /// the node.
    pub async fn wake_node(&self, node: &NodeName) -> Result<Box<str>, Error> {
        let path = ["nodes", node.as_str(), "wakeonlan"];
        // Done by the contacted node's pvedaemon, so nobody else's seat is taken.
        let (parameters, patience, shape) = (Vec::new(), Patience::Forwarded, Shape::Plain);
        let question =
            Question { method: Method::POST, path: &path, parameters, node: None, patience, shape };
        Ok(self.ask(question).await?.data)
    }

    /// `POST /nodes/{node}/services/{service}/restart`. Needs Sys.Modify on the node.
    pub async fn restart_service(&self, node: &NodeName, service: &str) -> Result<Upid, Error> {
        let path = ["nodes", node.as_str(), "services", service, "restart"];
        let (parameters, patience, shape) = (Vec::new(), Patience::Forwarded, Shape::Plain);
        let question =
            Question { method: Method::POST, path: &path, parameters, node: Some(node), patience, shape };
        Ok(self.ask(question).await?.data)
    }

    async fn act(
        &self,
        node: &NodeName,
        guest: GuestId,
        verb: &str,
        parameters: Vec<(&'static str, String)>,
    ) -> Result<Upid, Error> {
        let vmid = guest.vmid.to_string();
        let path = ["nodes", node.as_str(), guest.kind.as_str(), &vmid, "status", verb];
        let (patience, shape) = (Patience::Forwarded, Shape::Plain);
        let question =
            Question { method: Method::POST, path: &path, parameters, node: Some(node), patience, shape };
        Ok(self.ask(question).await?.data)
    }

    async fn cheap<T: DeserializeOwned + Send + 'static>(&self, path: &[&str]) -> Result<T, Error> {
        Ok(self.ask(Question::get(path, Vec::new(), None, Patience::Cheap)).await?.data)
    }

    async fn forwarded<T: DeserializeOwned + Send + 'static>(
        &self,
        node: &NodeName,
        path: &[&str],
        parameters: Vec<(&'static str, String)>,
    ) -> Result<T, Error> {
        Ok(self.ask(Question::get(path, parameters, Some(node), Patience::Forwarded)).await?.data)
    }
}

impl<'a> Question<'a> {
    fn get(
        path: &'a [&'a str],
        parameters: Vec<(&'static str, String)>,
        node: Option<&'a NodeName>,
        patience: Patience,
    ) -> Question<'a> {
        Question { method: Method::GET, path, parameters, node, patience, shape: Shape::Plain }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_query_holds_nothing_that_an_older_server_refuses() {
        let at = |second| Timestamp::from_second(second).unwrap();
        #[rustfmt::skip]
        let table = [
            ("the latest", JournalQuery::Last(20),              "lastentries=20"),
            ("from here on", JournalQuery::Since(at(1_795_453_930)), "since=1795453930"),
            ("a range", JournalQuery::Between(at(-5), at(7)),   "since=0&until=7"),
        ];
        for (name, query, expected) in table {
            let printed: Vec<String> =
                query.parameters().into_iter().map(|(name, value)| format!("{name}={value}")).collect();
            assert_eq!(printed.join("&"), expected, "{name}");
        }
    }

    #[test]
    fn a_task_query_becomes_parameters_that_every_version_knows() {
        let second = |second| Some(Timestamp::from_second(second).unwrap());
        let query = TaskQuery {
            vmid: Some(101),
            source: TaskSource::All,
            since: second(1_795_453_930),
            until: second(-5),
            limit: Some(100),
            start: Some(50),
            typefilter: Some("qmstop".into()),
            userfilter: Some("root@pam".into()),
            errors_only: true,
        };
        let printed: Vec<String> =
            query.parameters().into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            printed.join("&"),
            "source=all&vmid=101&since=1795453930&until=0&limit=100&start=50&typefilter=qmstop\
             &userfilter=root@pam&errors=1"
        );
        let nothing: Vec<_> = TaskQuery::default().parameters();
        assert_eq!(nothing, [("source", "archive".to_owned())]);
    }
}
