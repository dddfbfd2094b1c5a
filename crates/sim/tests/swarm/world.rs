//! Makes a random scenario from a seed. It does not care whether what it orders makes sense at its time: chaos is the point.

use sim::Rng;

/// In one of so many scenarios nodes lose power, and little else happens: what they leave behind shows only after minutes.
const OUTAGES: u64 = 8;

/// A scenario of 10 to 30 minutes, with something happening every half minute.
pub(crate) fn scenario(seed: u64) -> String {
    let mut world = World {
        rng: Rng::new(seed.wrapping_mul(0x2545_f491)),
        text: String::new(),
        nodes: 0,
        guests: Vec::new(),
    };
    world.build(seed);
    if seed.is_multiple_of(OUTAGES) {
        let end = world.outages();
        world.say(&format!("at {} end", clock(end)));
        return world.text;
    }
    let mut at = 20;
    // In a third of them only guests and those who ask for them make trouble, beside calls that fail: there each death must
    // be told. In a third, each crash is contested by somebody. In the rest everything may happen at once.
    let kind = world.rng.below(3);
    for _ in 0..20 + world.rng.below(40) {
        at += 1 + world.rng.below(60) as i64;
        match kind {
            0 => world.calm_event(at),
            1 => world.contested_event(at),
            _ => world.event(at),
        }
    }
    let end = at + 240;
    world.say(&format!("at {} end", clock(end)));
    world.text
}

struct World {
    rng: Rng,
    text: String,
    nodes: usize,
    guests: Vec<String>,
}

fn clock(seconds: i64) -> String {
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

impl World {
    fn build(&mut self, seed: u64) {
        self.nodes = 1 + self.rng.below(5);
        self.say(&format!("seed {seed}"));
        let names: Vec<String> = (1..=self.nodes).map(|k| format!("pve{k}")).collect();
        self.say(&format!("nodes {}", names.join(" ")));
        if self.rng.below(3) == 0 {
            self.say("rights auditor");
        }
        // Some have enough of them for a storm.
        let guests = if self.rng.below(6) == 0 { 14 + self.rng.below(14) } else { 3 + self.rng.below(12) };
        for k in 0..guests {
            let kind = if self.rng.below(3) == 0 { "lxc" } else { "qemu" };
            let (id, node) = (format!("{kind}/{}", 100 + k), self.node());
            let state = ["running", "running", "running", "stopped", "paused"][self.rng.below(5)];
            let state = if kind == "lxc" && state == "paused" { "running" } else { state };
            let onboot = if self.rng.below(2) == 0 { " onboot" } else { "" };
            let ha = if self.nodes > 2 && self.rng.below(6) == 0 { " ha=started" } else { "" };
            let state = if ha.is_empty() { state } else { "running" };
            let tags = ["", "", "", " tags=jarvis-restart", " tags=jarvis-ignore,web"][self.rng.below(5)];
            let deaf = if self.rng.below(10) == 0 { " deaf" } else { "" };
            self.say(&format!("guest {id} g{k} on {node} {state}{onboot}{ha}{deaf}{tags}"));
            self.guests.push(id);
        }
        let level = self.one(&["1", "2", "3", "3", "3", "4"]);
        self.say(&format!("autonomy {level}"));
        if self.rng.below(3) == 0 {
            let id = self.guest();
            self.say(&format!("protect {id} node/pve1"));
        }
        self.say("guest qemu/900 tmpl on pve1 template");
        self.say("storage nfs shared 1000GiB used 40%");
        self.say("storage local local 100GiB used 40%");
    }

    fn say(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn at(&mut self, at: i64, command: &str) {
        self.say(&format!("at {} {command}", clock(at)));
    }

    fn node(&mut self) -> String {
        format!("pve{}", 1 + self.rng.below(self.nodes))
    }

    fn guest(&mut self) -> String {
        let chosen = self.rng.below(self.guests.len());
        self.guests[chosen].clone()
    }

    fn one(&mut self, words: &[&'static str]) -> &'static str {
        words[self.rng.below(words.len())]
    }

    /// Nodes lose power and come back, some guests cannot be started in the meantime, and now and then somebody is about.
    fn outages(&mut self) -> i64 {
        let mut at = 40;
        for _ in 0..2 + self.rng.below(3) {
            let node = self.node();
            for id in self.guests.clone() {
                if self.rng.below(2) == 0 {
                    let mended = at + 60 + self.rng.below(700) as i64;
                    self.at(at - 1, &format!("break {id}"));
                    self.at(mended, &format!("mend {id}"));
                }
            }
            if self.rng.below(3) == 0 {
                self.at(at, &format!("reset-node {node}"));
            } else {
                let lasts = 20 + self.rng.below(200) as i64;
                self.at(at, &format!("kill-node {node}"));
                self.at(at + lasts, &format!("start-node {node}"));
            }
            for _ in 0..self.rng.below(4) {
                let (id, when) = (self.guest(), at + self.rng.below(700) as i64);
                match self.rng.below(3) {
                    0 => self.event(when),
                    _ => self.meddle(when, &id),
                }
            }
            at += 600 + self.rng.below(400) as i64;
        }
        at + 240
    }

    /// Somebody does to a guest that may be down with its node what would stand against starting it.
    fn meddle(&mut self, at: i64, id: &str) {
        let by = self.one(&["", " by alice@pve"]);
        let lasts = 20 + self.rng.below(300) as i64;
        match self.rng.below(6) {
            0 => self.at(at, &format!("stop {id}{by}")),
            1 => self.at(at, &format!("start {id}{by}")),
            2 => self.at(at, &format!("crash {id}")),
            3 => {
                self.at(at, &format!("lock {id} snapshot"));
                self.at(at + lasts, &format!("unlock {id}"));
            }
            4 => {
                self.at(at, &format!("ha {id} started"));
                self.at(at + lasts, &format!("ha {id} none"));
            }
            _ => {
                let node = self.node();
                self.at(at, &format!("migrate {id} to {node}{by}"));
            }
        }
    }

    fn calm_event(&mut self, at: i64) {
        let id = self.guest();
        let by = self.one(&["", " by alice@pve", " by op@pve!t1"]);
        let how = self.one(&["", " killed", " segfault", " oom"]);
        match self.rng.below(8) {
            0..=2 => self.at(at, &format!("crash {id}{how}")),
            3 if self.rng.below(3) == 0 => self.operator(at, &id),
            3 => self.at(at, &format!("poweroff {id}")),
            4 => self.at(at, &format!("stop {id}{by}")),
            5 => self.at(at, &format!("shutdown {id}{by}")),
            _ => self.at(at, &format!("start {id}{by}")),
        }
    }

    /// What could be mended, and what stands against it.
    fn contested_event(&mut self, at: i64) {
        let (id, node) = (self.guest(), self.node());
        let by = self.one(&["", " by alice@pve", " by op@pve!t1"]);
        match self.rng.below(20) {
            0..=4 => self.interfered(at, &id, by),
            5..=13 => self.raced(at, &id, by),
            14 => self.full_and_still(at, &id),
            15 | 16 => self.service(at, &node),
            17 => self.dismissed(at, &id),
            18 if self.nodes > 1 => self.seen_from_one_side(at, &node),
            _ => self.at(at, &format!("start {id}{by}")),
        }
    }

    fn event(&mut self, at: i64) {
        let (id, node) = (self.guest(), self.node());
        let by = self.one(&["", " by alice@pve", " by op@pve!t1"]);
        match self.rng.below(50) {
            37..=40 => self.interfered(at, &id, by),
            41 | 42 => self.raced(at, &id, by),
            43 => self.many_at_once(at),
            44 | 45 => self.full_and_still(at, &id),
            46 | 47 => self.service(at, &node),
            48 => self.dismissed(at, &id),
            49 if self.nodes > 1 => self.seen_from_one_side(at, &node),
            34 | 35 => self.operator(at, &id),
            36 => self.at(at, &format!("break {id}")),
            0..=4 => {
                let how = self.one(&["", " killed", " segfault", " oom"]);
                self.at(at, &format!("crash {id}{how}"));
            }
            5 => self.at(at, &format!("poweroff {id}")),
            6 | 7 => {
                let verb = self.one(&["stop", "shutdown", "shutdown"]);
                self.at(at, &format!("{verb} {id}{by}"));
            }
            8..=10 => self.at(at, &format!("start {id}{by}")),
            11 => {
                let verb = self.one(&["reboot", "suspend", "rollback", "pause", "resume"]);
                self.at(at, &format!("{verb} {id}{by}"));
            }
            12 => self.at(at, &format!("reboot-inside {id}")),
            13 | 14 => self.at(at, &format!("migrate {id} to {node}{by}")),
            15 => {
                let mode = self.one(&["snapshot", "suspend", "stop"]);
                let (other, takes) = (self.guest(), 20 + self.rng.below(100));
                let other = if other == id { String::new() } else { format!(" {other}") };
                self.at(at, &format!("backup {id}{other} mode={mode} takes={takes}{by}"));
            }
            16 => self.at(at, &format!("destroy {id}{by}")),
            17 => {
                let other = self.node();
                self.at(at, &format!("create {id} new on {other} running{by}"));
            }
            18 => {
                let state = self.one(&["io-error", "internal-error", "guest-panicked", "running"]);
                self.at(at, &format!("state {id} {state}"));
            }
            19 => {
                let verb = self.one(&["hang", "unhang"]);
                self.at(at, &format!("{verb} {id}"));
            }
            20 => {
                let level = 50 + self.rng.below(50);
                let what = self.one(&["disk", "memory", "cpu"]);
                self.at(at, &format!("{what} node/{node} {level}%"));
            }
            21 => {
                let words = ["used 97%", "used 30%", "offline", "online"];
                let word = self.one(&words);
                self.at(at, &format!("storage nfs {word}"));
            }
            22 | 23 => self.trouble_with_the_api(at, &node),
            24 => {
                let (daemon, lasts) =
                    (self.one(&["pveproxy", "pvedaemon", "pmxcfs", "hang"]), self.rng.below(200) as i64);
                self.at(at, &format!("daemon {node} {daemon} down"));
                self.at(at + 1 + lasts, &format!("daemon {node} {daemon} up"));
            }
            25 => {
                let lasts = 5 + self.rng.below(400) as i64;
                self.at(at, &format!("stats {node} stalled"));
                self.at(at + lasts, &format!("stats {node} back"));
            }
            26 => self.service(at, &node),
            27 => {
                let lasts = 1 + self.rng.below(200) as i64;
                self.at(at, "quorum lost");
                self.at(at + lasts, "quorum back");
            }
            28 if self.nodes > 2 => {
                let lasts = 1 + self.rng.below(200) as i64;
                self.at(at, &format!("side 1 {node}"));
                self.at(at + lasts, &format!("side 0 {node}"));
            }
            29 if self.nodes > 2 => {
                let word = self.one(&["on", "off"]);
                self.at(at, &format!("maintenance {node} {word}"));
            }
            30 => {
                let verb = self.one(&["reboot-node", "reset-node", "shutdown-node"]);
                self.at(at, &format!("{verb} {node}"));
            }
            31 => self.at(at, &format!("start-node {node}")),
            _ => {
                let lasts = 10 + self.rng.below(400) as i64;
                self.at(at, &format!("kill-node {node}"));
                self.at(at + lasts, &format!("start-node {node}"));
            }
        }
    }

    /// A guest crashes, and while it is left alone for its first seconds something comes in between.
    fn interfered(&mut self, at: i64, id: &str, by: &str) {
        let soon = at + 1 + self.rng.below(40) as i64;
        let later = soon + 5 + self.rng.below(200) as i64;
        self.at(at, &format!("crash {id}"));
        match self.rng.below(15) {
            13 | 14 => {
                // Between its decision and its call, which takes its time when PVE does.
                let soon = at + 20 + self.rng.below(20) as i64;
                self.at(at + 10, "api slow=2000");
                self.at(soon, "kill-switch on");
                self.at(soon + 40, "kill-switch off");
                self.at(soon + 41, "api back");
            }
            12 => {
                let node = self.node();
                let about = self.one(&["", "node", "cluster", "tag:jarvis-restart"]);
                let about = match about {
                    "" => id.to_owned(),
                    "node" => format!("node/{node}"),
                    about => about.to_owned(),
                };
                self.at(soon, &format!("announce {about} for {}s", later - soon));
            }
            0 | 1 => {
                let lock = self.one(&["backup", "migrate", "snapshot"]);
                self.at(soon, &format!("lock {id} {lock}"));
                self.at(later, &format!("unlock {id}"));
            }
            2..=4 => {
                self.at(soon, &format!("ha {id} started"));
                self.at(later, &format!("ha {id} none"));
            }
            5..=9 => {
                // Shortly before it would be started: earlier, a row shows the lock, and nobody looks at the tasks.
                let soon = at + 12 + self.rng.below(14) as i64;
                let mode = self.one(&["snapshot", "stop"]);
                self.at(soon, &format!("backup {id} mode={mode} takes=60{by}"));
            }
            10 => {
                // Somebody is quicker, and it dies again at once.
                self.at(soon, &format!("start {id} by alice@pve"));
                let again = soon + 8 + self.rng.below(12) as i64;
                self.at(again, &format!("crash {id}"));
            }
            _ => {
                self.at(soon, "standby on");
                self.at(later, "standby off");
            }
        }
    }

    /// A guest crashes, and is not what it was just before it would be started: after the last round that could show it.
    fn raced(&mut self, at: i64, id: &str, by: &str) {
        let soon = at + 11 + self.rng.below(10) as i64;
        self.at(at, &format!("crash {id}"));
        match self.rng.below(8) {
            which @ 0..=6 => {
                let node = self.node();
                if which < 4 {
                    self.at(soon, &format!("template {id}"));
                }
                let gone = if which < 4 { soon + 60 } else { soon };
                self.at(gone, &format!("destroy {id}{by}"));
                self.at(gone + 60, &format!("create {id} new on {node} running onboot{by}"));
            }
            _ => {
                let node = self.node();
                self.at(soon, &format!("migrate {id} to {node}{by}"));
            }
        }
    }

    /// A service fails, or is stopped by its task or at its node: half of the times until after the next routine round and
    /// all that follows it.
    fn service(&mut self, at: i64, node: &str) {
        let word = self.one(&["failed", "failed", "inactive", "inactive by alice@pve"]);
        let service = self.one(&["chrony", "chrony", "cron", "pve-ha-lrm", "corosync"]);
        let lasts = self.rng.below(800) as i64;
        self.at(at, &format!("service {node} {service} {word}"));
        self.at(at + lasts, &format!("service {node} {service} active"));
    }

    /// A guest crashes, and somebody says that it is to be left alone.
    fn dismissed(&mut self, at: i64, id: &str) {
        self.at(at, &format!("crash {id}"));
        let soon = at + 8 + self.rng.below(40) as i64;
        self.at(soon, &format!("dismiss {id} by bob"));
    }

    /// A node dies while all others but one cannot be asked.
    fn seen_from_one_side(&mut self, at: i64, node: &str) {
        let lasts = 60 + self.rng.below(300) as i64;
        let others: Vec<String> =
            (1..=self.nodes).map(|k| format!("pve{k}")).filter(|other| other != node).skip(1).collect();
        for other in &others {
            self.at(at, &format!("api {other} unreachable"));
        }
        self.at(at + 2, &format!("kill-node {node}"));
        for other in &others {
            self.at(at + lasts, &format!("api {other} back"));
        }
        self.at(at + lasts, &format!("start-node {node}"));
    }

    /// More crashes than one minute should have.
    fn many_at_once(&mut self, at: i64) {
        for id in self.guests.clone() {
            let moment = at + 12 + self.rng.below(20) as i64;
            self.at(at, &format!("start {id}"));
            self.at(moment, &format!("crash {id}"));
        }
    }

    /// A machine stands still while a storage is full, and there is room again.
    fn full_and_still(&mut self, at: i64, id: &str) {
        let lasts = 30 + self.rng.below(300) as i64;
        self.at(at, "storage nfs used 99%");
        self.at(at + 1, &format!("state {id} io-error"));
        self.at(at + lasts, "storage nfs used 30%");
    }

    /// Somebody says something to Jarvis.
    fn operator(&mut self, at: i64, id: &str) {
        let lasts = 5 + self.rng.below(200) as i64;
        match self.rng.below(5) {
            0 => {
                self.at(at, "kill-switch on");
                self.at(at + lasts, "kill-switch off");
            }
            1 => {
                let about = [
                    id.to_owned(),
                    format!("node/{}", self.node()),
                    "cluster".into(),
                    "tag:jarvis-restart".into(),
                ];
                let about = &about[self.rng.below(4)];
                self.at(at, &format!("announce {about} for {lasts}s"));
            }
            2 => self.at(at, &format!("approve {id} by bob")),
            3 => self.at(at, &format!("dismiss {id} by bob")),
            _ => {
                let level = self.one(&["1", "2", "3", "4"]);
                self.at(at, &format!("allow {level}"));
            }
        }
    }

    fn trouble_with_the_api(&mut self, at: i64, node: &str) {
        let words = [
            "unreachable",
            "refused",
            "reset",
            "hang",
            "denied",
            "blind",
            "empty",
            "garbage",
            "truncated",
            "slow=3000",
        ];
        let (word, lasts) = (self.one(&words), 1 + self.rng.below(120) as i64);
        let node = if self.rng.below(2) == 0 { format!("{node} ") } else { String::new() };
        self.at(at, &format!("api {node}{word}"));
        self.at(at + lasts, &format!("api {node}back"));
    }
}
