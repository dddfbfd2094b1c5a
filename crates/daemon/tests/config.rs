//! The configuration through its public door: what is good, what is wrong and in which words, and what never shows.

#![cfg(test)]

#[path = "config/clusters.rs"]
mod clusters;
#[path = "config/help.rs"]
mod help;
#[path = "config/runbooks.rs"]
mod runbooks;
#[path = "config/sensors.rs"]
mod sensors;
#[path = "config/tell.rs"]
mod tell;
#[path = "config/tls.rs"]
mod tls;

use std::fs;
use std::path::Path;
use std::time::Duration;

use daemon::config::{Config, Live, Temperature, Trust, describe};
use engine::observe::Subject;
use engine::policy::{Metric, Rung};
use expect_test::{Expect, expect};

use help::*;

// ---- Good ones ----

#[test]
fn the_least_configuration_is_complete() {
    let config = load(MINIMAL, &[]).unwrap();
    expect![[r#"
        server.listen                 127.0.0.1:4000  (default)
        server.allowed_origins        []  (default)
        server.behind_proxy           []  (default)
        server.tls_cert               none: no TLS  (default)
        server.password               none: the log shows a link with which to set one  (default)
        store.path                    data/jarvis.db  (default)
        store.retention_days          30  (default)
        store.tape_days               7  (default)
        store.tape_mib                512  (default)
        autonomy.level                2  (default)
        autonomy.standby              false  (default)
        tiers.live                    2s  (default)
        tiers.critical                12s  (default)
        tiers.important               32s  (default)
        tiers.routine                 5m  (default)
        tiers.background              30m  (default)
        cluster[0].name               lab  (jarvis.toml:2:8)
        cluster[0].fingerprint        00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF  (jarvis.toml:6:15)
        cluster[0].endpoints[0]       https://10.0.0.11:8006  (jarvis.toml:3:14)
        cluster[0].token_id           jarvis@pve!observe  (jarvis.toml:4:12)
        cluster[0].token_secret_env   LAB_SECRET  (jarvis.toml:5:20)
        cluster[0].ignore             []  (default)
        cluster[0].protect            []  (default)
        cluster[0].magic_packet_to    255.255.255.255:9  (default)
        cluster[0].temperature        none: no sensors are read  (default)
        thresholds.disk               high above 90 % until below 88 %, critical above 95 % until below 93 %, after 0s  (default)
        thresholds.memory             high above 85 % until below 83 %, critical above 95 % until below 93 %, after 0s  (default)
        thresholds.cpu                high above 95 % until below 85 %, after 0s  (default)
        thresholds.storage            high above 85 % until below 83 %, critical above 95 % until below 93 %, after 0s  (default)
        thresholds.temperature        high above 80 °C until below 75 °C, after 0s  (default)
        runbook.vm-crashed-restart    VM_CRASHED: start from level 3, 3 in 1h, 1m apart, after 15s; looked at after 15s, well for 1m within 3m  (default)
        runbook.ct-crashed-restart    CT_CRASHED: start from level 3, 3 in 1h, 1m apart, after 15s; looked at after 10s, well for 1m within 3m  (default)
        runbook.node-unreachable-wol  NODE_UNREACHABLE: wake from level 3, 3 in 1h, 2m apart, after 1m; looked at after 30s, well for 0s within 5m  (default)
        runbook.service-down-restart  SERVICE_DOWN: restart-service from level 3, 3 in 1h, 1m apart, after 15s; looked at after 5s, well for 10s within 2m  (default)
        runbook.vm-fault-resume       VM_FAULT: resume from level 3, 3 in 1h, 1m apart, after 15s; looked at after 5s, well for 30s within 2m  (default)
        server.public_url             none: what is told has no links  (default)
        mail                          none: nobody is told by mail  (default)
        note: autonomy.level 2: what could be done is proposed, and done when somebody approves; operators may lower it, and raise it again up to this
    "#]].assert_eq(&describe(&config));
    assert_eq!(config.warnings, Vec::<String>::new());
    let cluster = &config.clusters[0];
    assert_eq!(cluster.token_secret.expose(), SECRET);
    assert_eq!(cluster.endpoints[0].url(), "https://10.0.0.11:8006");
    assert_eq!(cluster.temperature, None);
    assert_eq!(config.tiers.live, Live::Every(Duration::from_secs(2)));
    assert!(matches!(cluster.endpoints[0].trust, Trust::Fingerprint([0x00, 0x11, .., 0xff])));
    assert_eq!(cluster.policy, engine::policy::Policy::default(), "contract 1's marks");
}

#[test]
fn everything_can_be_said() {
    let folder = Folder::new();
    let secret = folder.file("lab.secret", &format!("{SECRET}\n"), 0o600);
    let open = folder.file("edge.secret", SECRET, 0o644);
    let password = folder.file("password", "correct horse\n", 0o640);
    let key = folder.file("id_ed25519", PRIVATE_KEY, 0o600);
    let ca = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/ca.pem");
    let text = format!(
        r#"
[server]
listen = "[::]:4001"
allowed_origins = ["https://Dash.example:8443"]
behind_proxy = ["10.0.0.5", "fd00::5"]
password_file = "{password}"

[store]
path = "/var/lib/jarvis/jarvis.db"
retention_days = 90

[autonomy]
level = 4

[tiers]
live = "off"
critical = "2s"
important = "1m 4s"
routine = "10m"
background = "1h"

[[cluster]]
name = "lab"
endpoints = ["https://10.0.0.11", {{ url = "https://PVE2.lab:8007/", fingerprint = "PIN" }}, "https://[fd00::1]:8006"]
token_id = "jarvis@pve!observe"
token_secret_file = "{secret}"
ca_file = "{ca}"
ignore = ["qemu/999", "tag:Lab", "storage/scratch", "storage/pve1/local", "node/pve3"]
protect = ["qemu/103", "node/pve1"]
self = "qemu/103"
temperature = {{ source = "node_exporter", url = "https://{{node}}.lab:9443/metrics?collect[]=hwmon" }}

[[cluster]]
name = "edge"
temperature = {{ source = "ssh", user = "jarvis_1", key_file = "{key}" }}
endpoints = ["https://192.168.0.2"]
token_id = "jarvis@pam!x"
token_secret_file = "{open}"
insecure = true

[[cluster]]
name = "plain"
endpoints = ["https://pve.example"]
token_id = "jarvis@pam!x"
token_secret = "{SECRET}"
temperature = {{ source = "node_exporter" }}

[thresholds]
disk = {{ high = 80, critical = 92.5 }}
temperature = {{ high = 75 }}
cpu = {{ pending = "90s" }}

[[thresholds.for]]
subject = "node/pve1"
disk = {{ high = 85 }}
memory = {{ clear = 5 }}
temperature = {{ high = 101.5, clear = 10, pending = "5m" }}

[[thresholds.for]]
cluster = "lab"
disk = {{ pending = "1m" }}
storage = {{ high = 70 }}

[[thresholds.for]]
cluster = "edge"
subject = "storage/backup"
storage = {{ high = 97, critical = 99, clear = 1 }}
"#,
        ca = ca.display(),
    );
    let config = load(&text, &[]).unwrap();
    let shown = folder.strip(&describe(&config)).replace(env!("CARGO_MANIFEST_DIR"), "CRATE");
    expect![[r#"
        server.listen                    [::]:4001  (jarvis.toml:3:10)
        server.allowed_origins           [https://dash.example:8443]  (jarvis.toml:4:19)
        server.behind_proxy              [10.0.0.5, fd00::5]  (jarvis.toml:5:16)
        server.tls_cert                  none: no TLS  (default)
        server.password_file             DIR/password  (jarvis.toml:6:17)
        store.path                       /var/lib/jarvis/jarvis.db  (jarvis.toml:9:8)
        store.retention_days             90  (jarvis.toml:10:18)
        store.tape_days                  7  (default)
        store.tape_mib                   512  (default)
        autonomy.level                   4  (jarvis.toml:13:9)
        autonomy.standby                 false  (default)
        tiers.live                       off  (jarvis.toml:16:8)
        tiers.critical                   2s  (jarvis.toml:17:12)
        tiers.important                  1m 4s  (jarvis.toml:18:13)
        tiers.routine                    10m  (jarvis.toml:19:11)
        tiers.background                 1h  (jarvis.toml:20:14)
        cluster[0].name                  lab  (jarvis.toml:23:8)
        cluster[0].ca_file               CRATE/tests/data/ca.pem  (jarvis.toml:27:11)
        cluster[0].endpoints[0]          https://10.0.0.11:8006  (jarvis.toml:24:14)
        cluster[0].endpoints[1].url      https://pve2.lab:8007 pinned to 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF  (jarvis.toml:24:43)
        cluster[0].endpoints[2]          https://[fd00::1]:8006  (jarvis.toml:24:184)
        cluster[0].token_id              jarvis@pve!observe  (jarvis.toml:25:12)
        cluster[0].token_secret_file     DIR/lab.secret  (jarvis.toml:26:21)
        cluster[0].ignore                [qemu/999, tag:lab, storage/scratch, storage/pve1/local, node/pve3]  (jarvis.toml:28:10)
        cluster[0].protect               [qemu/103, node/pve1]  (jarvis.toml:29:11)
        cluster[0].self                  qemu/103  (jarvis.toml:30:8)
        cluster[0].magic_packet_to       255.255.255.255:9  (default)
        cluster[0].temperature.source    node_exporter  (jarvis.toml:31:26)
        cluster[0].temperature.url       https://{node}.lab:9443/metrics?collect[]=hwmon  (jarvis.toml:31:49)
        cluster[1].name                  edge  (jarvis.toml:34:8)
        cluster[1].insecure              true  (jarvis.toml:39:12)
        cluster[1].endpoints[0]          https://192.168.0.2:8006  (jarvis.toml:36:14)
        cluster[1].token_id              jarvis@pam!x  (jarvis.toml:37:12)
        cluster[1].token_secret_file     DIR/edge.secret  (jarvis.toml:38:21)
        cluster[1].ignore                []  (default)
        cluster[1].protect               []  (default)
        cluster[1].magic_packet_to       255.255.255.255:9  (default)
        cluster[1].temperature.source    ssh  (jarvis.toml:35:26)
        cluster[1].temperature.user      jarvis_1  (jarvis.toml:35:40)
        cluster[1].temperature.key_file  DIR/id_ed25519  (jarvis.toml:35:63)
        cluster[2].name                  plain  (jarvis.toml:42:8)
        cluster[2].ca_file               none: by the authorities of this machine  (default)
        cluster[2].endpoints[0]          https://pve.example:8006  (jarvis.toml:43:14)
        cluster[2].token_id              jarvis@pam!x  (jarvis.toml:44:12)
        cluster[2].token_secret          (hidden)  (jarvis.toml:45:16)
        cluster[2].ignore                []  (default)
        cluster[2].protect               []  (default)
        cluster[2].magic_packet_to       255.255.255.255:9  (default)
        cluster[2].temperature.source    node_exporter  (jarvis.toml:46:26)
        cluster[2].temperature.url       http://{node}:9100/metrics  (default)
        thresholds.disk                  high above 80 % until below 78 %, critical above 92.5 % until below 90.5 %, after 0s  (jarvis.toml:49:8)
        thresholds.memory                high above 85 % until below 83 %, critical above 95 % until below 93 %, after 0s  (default)
        thresholds.cpu                   high above 95 % until below 85 %, after 1m 30s  (jarvis.toml:51:7)
        thresholds.storage               high above 85 % until below 83 %, critical above 95 % until below 93 %, after 0s  (default)
        thresholds.temperature           high above 75 °C until below 70 °C, after 0s  (jarvis.toml:50:15)
        thresholds.for[0].disk           node/pve1: high above 85 % until below 83 %, critical above 92.5 % until below 90.5 %, after 0s  (jarvis.toml:55:8)
        thresholds.for[0].memory         node/pve1: high above 85 % until below 80 %, critical above 95 % until below 90 %, after 0s  (jarvis.toml:56:10)
        thresholds.for[0].temperature    node/pve1: high above 101.5 °C until below 91.5 °C, after 5m  (jarvis.toml:57:15)
        thresholds.for[1].disk           lab: high above 80 % until below 78 %, critical above 92.5 % until below 90.5 %, after 1m  (jarvis.toml:61:8)
        thresholds.for[1].storage        lab: high above 70 % until below 68 %, critical above 95 % until below 93 %, after 0s  (jarvis.toml:62:11)
        thresholds.for[2].storage        storage/backup: high above 97 % until below 96 %, critical above 99 % until below 98 %, after 0s  (jarvis.toml:67:11)
        runbook.vm-crashed-restart       VM_CRASHED: start from level 3, 3 in 1h, 1m apart, after 15s; looked at after 15s, well for 1m within 3m  (default)
        runbook.ct-crashed-restart       CT_CRASHED: start from level 3, 3 in 1h, 1m apart, after 15s; looked at after 10s, well for 1m within 3m  (default)
        runbook.node-unreachable-wol     NODE_UNREACHABLE: wake from level 3, 3 in 1h, 2m apart, after 1m; looked at after 30s, well for 0s within 5m  (default)
        runbook.service-down-restart     SERVICE_DOWN: restart-service from level 3, 3 in 1h, 1m apart, after 15s; looked at after 5s, well for 10s within 2m  (default)
        runbook.vm-fault-resume          VM_FAULT: resume from level 3, 3 in 1h, 1m apart, after 15s; looked at after 5s, well for 30s within 2m  (default)
        server.public_url                none: what is told has no links  (default)
        mail                             none: nobody is told by mail  (default)
        note: autonomy.level 4: crashed guests are started, lost nodes woken and failed services restarted, within the guardrails; operators may lower it, and raise it again up to this
        note: the configured password is admin's for as long as it is configured; it is not stored, and one that was set otherwise rests as long
        note: tiers.live is off: a stop is noticed by the critical tier, 2s later at worst
        note: cluster edge: where Jarvis itself runs is not said (self), so that it is looked for by this machine's name and addresses; `jarvis doctor` says whether it is found: it is never to act on itself
        note: cluster plain: where Jarvis itself runs is not said (self), so that it is looked for by this machine's name and addresses; `jarvis doctor` says whether it is found: it is never to act on itself
        warning: [::]:4001 speaks no TLS: it answers this machine and the proxies in behind_proxy alone, and refuses everybody else; what a proxy sends to it travels in clear
        warning: cluster edge is insecure: whoever sits between here and the cluster can read its token. Give its ca_file (/etc/pve/pve-root-ca.pem on any of its nodes) or a fingerprint
        warning: DIR/edge.secret (cluster[1].token_secret_file) can be read by every user of this machine: chmod 600 DIR/edge.secret
        warning: cluster[2].token_secret stands in the configuration file itself: put it into a file of its own (token_secret_file)
    "#]].assert_eq(&shown);

    let marks = |cluster: usize, subject: &str, metric| {
        let subject: Subject = subject.parse().unwrap();
        let marks = config.clusters[cluster].policy.marks(&subject, metric);
        let part = |rung| marks.mark(rung).map(|mark| format!("{mark}-{}", marks.clear_mark(rung).unwrap()));
        [part(Rung::High), part(Rung::Critical), Some(format!("{:#}", marks.pending))]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(" ")
    };
    #[rustfmt::skip]
    let table = [
        ("the general mark",                        2, "node/pve1",      Metric::Cpu,     "95-85 1m 30s"),
        ("a node's own, in a plain cluster",        2, "node/pve1",      Metric::Disk,    "85-83 92.5-90.5 0s"),
        ("another node there",                      2, "node/pve2",      Metric::Disk,    "80-78 92.5-90.5 0s"),
        ("a node's own builds on its cluster's",    0, "node/pve1",      Metric::Disk,    "85-83 92.5-90.5 1m"),
        ("another node of that cluster",            0, "node/pve2",      Metric::Disk,    "80-78 92.5-90.5 1m"),
        ("a clear mark alone",                      0, "node/pve1",      Metric::Memory,  "85-80 95-90 0s"),
        ("a cluster's storages",                    0, "storage/backup", Metric::Storage, "70-68 95-93 0s"),
        ("a storage of one cluster",                1, "storage/backup", Metric::Storage, "97-96 99-98 0s"),
        ("the same name in another",                2, "storage/backup", Metric::Storage, "85-83 95-93 0s"),
        ("a node's sensors, beyond 100",            0, "node/pve1",      Metric::Temperature, "101.5-91.5 5m"),
        ("another node's",                          0, "node/pve2",      Metric::Temperature, "75-70 0s"),
    ];
    for (name, cluster, subject, metric, expected) in table {
        assert_eq!(marks(cluster, subject, metric), expected, "{name}");
    }
    let sources: Vec<_> = config.clusters.iter().map(|cluster| cluster.temperature.clone()).collect();
    let expected = [
        Temperature::NodeExporter { url: "https://{node}.lab:9443/metrics?collect[]=hwmon".into() },
        Temperature::Ssh { user: "jarvis_1".into(), key_file: key.into() },
        Temperature::NodeExporter { url: "http://{node}:9100/metrics".into() },
    ];
    assert_eq!(sources, expected.map(Some));
    assert_eq!(config.tiers.live, Live::Off);
    let policy = &config.clusters[0].policy;
    assert!(policy.ignores(&"storage/scratch".parse().unwrap(), &[]));
    assert!(policy.ignores(&"qemu/5000".parse().unwrap(), &["lab".into()]), "PVE's tags are in lower case");
    assert_eq!(config.server.password.unwrap().expose(), "correct horse");
}

#[test]
fn the_environment_goes_before_the_file() {
    let folder = Folder::new();
    let password = folder.file("password", "from the file", 0o600);
    let text = format!(
        "[server]\nlisten = \"127.0.0.2:4001\"\npassword_file = \"{password}\"\n[store]\npath = \"a.db\"\n{MINIMAL}"
    );
    let env = [
        ("PORT", "5000"),
        ("DB_PATH", "/srv/b.db"),
        ("JARVIS_PASSWORD", "from outside"),
        ("PVE_TOKEN_ID", "other@pam!token"),
        ("PVE_TOKEN_SECRET", "other-secret"),
    ];
    let config = load(&text, &env).unwrap();
    let lines = describe(&config);
    let from_outside: Vec<&str> = lines.lines().filter(|line| line.contains("environment ")).collect();
    expect![[r#"
        server.listen                 127.0.0.2:5000  (environment PORT)
        server.password               (hidden)  (environment JARVIS_PASSWORD)
        store.path                    /srv/b.db  (environment DB_PATH)
        cluster[0].token_id           other@pam!token  (environment PVE_TOKEN_ID)
        cluster[0].token_secret       (hidden)  (environment PVE_TOKEN_SECRET)"#]]
    .assert_eq(&from_outside.join("\n"));
    assert_eq!(config.server.listen.to_string(), "127.0.0.2:5000");
    assert_eq!(config.server.password.unwrap().expose(), "from outside");
    assert_eq!(config.clusters[0].token_secret.expose(), "other-secret");

    let unset = env.map(|(name, _)| (name, " "));
    let config = load(&text, &unset).unwrap();
    assert_eq!(config.server.listen.to_string(), "127.0.0.2:4001", "set to nothing is not set");
    assert_eq!(config.server.password.unwrap().expose(), "from the file");
}

#[test]
fn the_example_is_good_and_shows_every_default() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../jarvis.example.toml");
    let text = fs::read_to_string(file).unwrap();
    let env = [("LAB_TOKEN_SECRET", SECRET)];
    let as_it_is = load(&text, &env).unwrap();
    assert_eq!(as_it_is.warnings, Vec::<String>::new());
    // Every commented setting, put into force, but those that name files or stand instead of another one.
    let skipped = [
        "#password_file",
        "#tls_cert",
        "#tls_key",
        "#token_secret_file",
        "#act_token",
        "#ca_file",
        "#insecure",
        "#temperature = { source",
    ];
    let in_force: String = text
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest)
                if rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '[')
                    && !skipped.iter().any(|key| line.starts_with(key)) =>
            {
                rest
            }
            Some(_) | None => line,
        })
        .flat_map(|line| [line, "\n"])
        .collect();
    let in_force = load(&in_force, &env).unwrap();
    let values = |config: &Config| {
        let lines = describe(config);
        let lines = lines.lines().filter(|line| !line.contains("self") && !line.contains("thresholds.for"));
        lines
            .map(|line| {
                let line = line.rsplit_once(" (").map_or(line, |(value, _)| value);
                line.split_whitespace().collect::<Vec<_>>().join(" ")
            })
            .collect::<Vec<_>>()
            .join("\n")
    };
    assert_eq!(values(&as_it_is), values(&in_force), "what is shown as a default is the default");
}

// ---- Bad ones ----

#[test]
fn a_wrong_setting_is_named_with_its_place_and_what_is_allowed() {
    #[rustfmt::skip]
    let table: [(&str, &str, Expect); 53] = [
        ("nothing at all",               "",                                       expect!["jarvis.toml: cluster: no [[cluster]] to watch: a cluster needs a name, endpoints, a token and a ca_file or fingerprint"]),
        ("a typo in a table",            "[sever]\nlisten = \"127.0.0.1:1\"",      expect!["jarvis.toml:1:2: sever: unknown key `sever`: did you mean `server`?"]),
        ("a typo in a key",              "[server]\nlisen = \"127.0.0.1:1\"",      expect!["jarvis.toml:2:1: server.lisen: unknown key `lisen`: did you mean `listen`?"]),
        ("a key of another world",       "[server]\nlog_level = 1",                expect!["jarvis.toml:2:1: server.log_level: unknown key `log_level`: known here are listen, allowed_origins, password_file, behind_proxy, tls_cert, tls_key, public_url"]),
        ("a key at the top",             "port = 4000",                            expect!["jarvis.toml:1:1: port: unknown key `port`: known here are server, store, autonomy, tiers, cluster, thresholds, runbook, mail, webhook"]),
        ("TLS files that are not there",  "[server]\ntls_cert = \"a\"\ntls_key = \"b\"", expect![[r#"
            the configuration has 2 problems:
              jarvis.toml:2:12: server.tls_cert: `a` cannot be opened: No such file or directory (os error 2)
              jarvis.toml:3:11: server.tls_key: `b` cannot be opened: No such file or directory (os error 2)"#]]),
        ("a certificate without a key",  "[server]\ntls_cert = \"a\"",           expect!["jarvis.toml:2:12: server.tls_cert: needs its private key: set tls_key too"]),
        ("a key without a certificate",  "[server]\ntls_key = \"b\"",            expect!["jarvis.toml:2:11: server.tls_key: needs its certificate: set tls_cert too"]),
        ("a sensor has one mark",        "[thresholds]\ntemperature = { high = 70, critical = 80 }", expect!["jarvis.toml:2:39: thresholds.temperature.critical: temperature has one mark: take `critical` out"]),
        ("a sensor that melts",          "[thresholds]\ntemperature = { high = 151 }", expect!["jarvis.toml:2:15: thresholds.temperature: a mark is a temperature above 0 and at most 150 °C, not 151"]),
        ("a sensor that never clears",   "[thresholds]\ntemperature = { high = 4 }", expect!["jarvis.toml:2:15: thresholds.temperature: clear (5) is how far below a mark a value clears: more than 0 and less than high (4)"]),
        ("a typo in a metric",           "[thresholds]\ntemprature = { high = 80 }", expect!["jarvis.toml:2:1: thresholds.temprature: unknown key `temprature`: did you mean `temperature`?"]),
        ("another type",                 "[server]\nlisten = 4000",                expect!["jarvis.toml:2:10: server.listen: must be a text in quotes, not a whole number"]),
        ("a table as a text",            "server = \"x\"",                         expect!["jarvis.toml:1:10: server: must be a table, not a text"]),
        ("no address",                   "[server]\nlisten = \"localhost:4000\"",  expect!["jarvis.toml:2:10: server.listen: must be an address and a port, like 127.0.0.1:4000 or [::1]:4000"]),
        ("beyond loopback",              "[server]\nlisten = \"0.0.0.0:4000\"",    expect![[r#"jarvis.toml:2:10: server.listen: 0.0.0.0:4000 can be reached from other machines, and passwords would travel in clear: give a certificate (tls_cert, tls_key), or listen on 127.0.0.1, or put a proxy with TLS in front and name its address: behind_proxy = ["10.0.0.5"]"#]]),
        ("beyond loopback, no proxy",    "[server]\nlisten = \"10.1.2.3:4000\"\nbehind_proxy = []", expect![[r#"jarvis.toml:2:10: server.listen: 10.1.2.3:4000 can be reached from other machines, and passwords would travel in clear: give a certificate (tls_cert, tls_key), or listen on 127.0.0.1, or put a proxy with TLS in front and name its address: behind_proxy = ["10.0.0.5"]"#]]),
        ("a proxy by name",              "[server]\nbehind_proxy = [\"10.0.0.5\", \"proxy.lan\"]", expect!["jarvis.toml:2:29: server.behind_proxy[1]: must be an IP address like 10.0.0.5"]),
        ("any origin",                   "[server]\nallowed_origins = [\"*\", \"https://a.example/x\"]", expect![[r#"
            the configuration has 2 problems:
              jarvis.toml:2:20: server.allowed_origins[0]: must be an origin like https://jarvis.example:8443: scheme, host and port, no path
              jarvis.toml:2:25: server.allowed_origins[1]: must be an origin like https://jarvis.example:8443: scheme, host and port, no path"#]]),
        ("no such password file",        "[server]\npassword_file = \"/nonexistent/password\"", expect!["jarvis.toml:2:17: server.password_file: `/nonexistent/password` cannot be opened: No such file or directory (os error 2)"]),
        ("a database server",            "[store]\npath = \"postgres://jarvis@db/jarvis\"", expect!["jarvis.toml:2:8: store.path: must be the path of a file: a database server is not supported by this version"]),
        ("a folder as the store",        "[store]\npath = \"data/\"",              expect!["jarvis.toml:2:8: store.path: must be the path of a file, like data/jarvis.db"]),
        ("no retention",                 "[store]\nretention_days = 0",            expect!["jarvis.toml:2:18: store.retention_days: 0 is not a whole number from 1 to 3650"]),
        ("a level too high",             "[autonomy]\nlevel = 5",                  expect!["jarvis.toml:2:9: autonomy.level: 5 is not a whole number from 0 to 4"]),
        ("a level in words",             "[autonomy]\nlevel = \"observe\"",        expect!["jarvis.toml:2:9: autonomy.level: must be a whole number, not a text"]),
        ("a level with a fraction",      "[autonomy]\nlevel = 2.5",                expect!["jarvis.toml:2:9: autonomy.level: must be a whole number, not a fraction"]),
        ("a tier too fast",              "[tiers]\ncritical = \"1s\"",             expect!["jarvis.toml:2:12: tiers.critical: 1s is not from 2s to 5m"]),
        ("a tier too slow",              "[tiers]\nbackground = \"2d\"",           expect![[r#"jarvis.toml:2:14: tiers.background: must be a time like "12s" or "5m", from 1m to 24h"#]]),
        ("a tier without a unit",        "[tiers]\nimportant = \"32\"",            expect![[r#"jarvis.toml:2:13: tiers.important: must be a time like "12s" or "5m", from 5s to 1h"#]]),
        ("a tier as a number",           "[tiers]\nroutine = 300",                 expect!["jarvis.toml:2:11: tiers.routine: must be a text in quotes, not a whole number"]),
        ("a tier that must be",          "[tiers]\nroutine = \"off\"",             expect![[r#"jarvis.toml:2:11: tiers.routine: must be a time like "12s" or "5m", from 30s to 6h"#]]),
        ("live, neither",                "[tiers]\nlive = \"never\"",              expect![[r#"jarvis.toml:2:8: tiers.live: must be a time like "12s" or "5m", from 1s to 30s, or off"#]]),
        ("live too fast",                "[tiers]\nlive = \"500ms\"",              expect!["jarvis.toml:2:8: tiers.live: 500ms is not from 1s to 30s"]),
        ("live too slow",                "[tiers]\nlive = \"31s\"",                expect!["jarvis.toml:2:8: tiers.live: 31s is not from 1s to 30s"]),
        ("a mark beyond all",            "[thresholds]\ndisk = { high = 101 }",    expect!["jarvis.toml:2:8: thresholds.disk: a mark is a percentage above 0 and at most 100, not 101"]),
        ("a ladder on its head",         "[thresholds]\ndisk = { high = 96 }",     expect!["jarvis.toml:2:8: thresholds.disk: critical (95) must lie above high (96)"]),
        ("it would never clear",         "[thresholds]\nmemory = { clear = 0 }",   expect!["jarvis.toml:2:10: thresholds.memory: clear (0) is how far below a mark a value clears: more than 0 and less than high (85)"]),
        ("a pending of days",            "[thresholds]\ncpu = { pending = \"25h\" }", expect![[r#"jarvis.toml:2:19: thresholds.cpu.pending: must be a time like "90s", from 0s to 24h"#]]),
        ("a pending of no time",         "[thresholds]\ncpu = { pending = \"soon\" }", expect![[r#"jarvis.toml:2:19: thresholds.cpu.pending: must be a time like "90s", from 0s to 24h"#]]),
        ("cpu has one mark",             "[thresholds]\ncpu = { critical = 99 }",  expect!["jarvis.toml:2:20: thresholds.cpu.critical: cpu has one mark: take `critical` out"]),
        ("a mark in words",              "[thresholds]\ndisk = { high = \"90 %\" }", expect!["jarvis.toml:2:17: thresholds.disk.high: must be a number, not a text"]),
        ("no number at all",             "[thresholds]\ndisk = { high = nan }",    expect!["jarvis.toml:2:17: thresholds.disk.high: must be a finite number"]),
        ("marks for nobody",             "[[thresholds.for]]\ndisk = { high = 80 }", expect!["jarvis.toml:1:1: thresholds.for[0]: needs a subject (`node/NAME`, `storage/NAME`), a cluster, or both"]),
        ("marks for a guest",            "[[thresholds.for]]\nsubject = \"qemu/101\"\ndisk = { high = 80 }", expect!["jarvis.toml:2:11: thresholds.for[0].subject: must be `node/NAME` or `storage/NAME`: nothing else is measured by this version"]),
        ("a node's storage",             "[[thresholds.for]]\nsubject = \"node/pve1\"\nstorage = { high = 80 }", expect!["jarvis.toml:3:11: thresholds.for[0].storage: is not measured there: a node has disk, memory, cpu and temperature, a storage has storage"]),
        ("a storage's cpu",              "[[thresholds.for]]\nsubject = \"storage/nfs\"\ncpu = { high = 80 }", expect!["jarvis.toml:3:7: thresholds.for[0].cpu: is not measured there: a node has disk, memory, cpu and temperature, a storage has storage"]),
        ("a subject that is none",       "[[thresholds.for]]\nsubject = \"pve1\"\ndisk = { high = 80 }", expect!["jarvis.toml:2:11: thresholds.for[0].subject: must be `node/NAME`, `storage/NAME` or `storage/NODE/NAME`"]),
        ("a cluster that is none",       "[[thresholds.for]]\ncluster = \"lap\"\ndisk = { high = 80 }", expect!["jarvis.toml:2:11: thresholds.for[0].cluster: `lap` is no cluster; there is lab"]),
        ("twice the same",               "[[thresholds.for]]\nsubject = \"node/a\"\ndisk = { high = 80 }\n[[thresholds.for]]\nsubject = \"node/a\"\ndisk = { high = 70 }", expect!["jarvis.toml:6:8: thresholds.for[1].disk: is given twice for the same subject"]),
        ("broken TOML",                  "[server]\nlisten = \"127.0.0.1:4000",    expect![[r#"jarvis.toml:2:25: invalid basic string, expected `"`"#]]),
        ("a key given twice",            "[store]\npath = \"a\"\npath = \"b\"",    expect!["jarvis.toml:3:1: duplicate key"]),
        ("two broken lines",             "[server\nlisten = = 1",                  expect![[r#"
            the configuration has 3 problems:
              jarvis.toml:1:8: unclosed table, expected `]`
              jarvis.toml:2:10: extra `=`, expected nothing
              jarvis.toml:2:12: unexpected key or value, expected newline, `#`"#]]),
        ("a number too large",           "[store]\nretention_days = 99999999999999999999", expect!["jarvis.toml:2:18: store.retention_days: the number is too large"]),
    ];
    for (name, text, expected) in table {
        let text = if text.is_empty() { String::new() } else { format!("{text}\n{MINIMAL}") };
        expected.assert_eq(&complaint(name, &text, &[]));
    }
}

#[test]
fn a_wrong_cluster_is_named_with_its_place_and_what_is_allowed() {
    let folder = Folder::new();
    let empty = folder.file("empty", " \n", 0o600);
    let two = folder.file("two", &format!("{SECRET}\nmore\n"), 0o600);
    let whole = folder.file("whole", &format!("PVEAPIToken=jarvis@pve!observe={SECRET}"), 0o600);
    let blank = folder.file("blank", "two words", 0o600);
    let large = folder.file("large", &SECRET.repeat(40), 0o600);
    let key = folder.file("key.pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", 0o600);
    let broken =
        folder.file("broken.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", 0o600);
    let cut = folder.file("cut.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n", 0o600);
    let secret_line = "token_secret_env = \"LAB_SECRET\"";
    let secret_file = |file: &str| format!("token_secret_file = \"{file}\"");
    let trust_line = "fingerprint = \"PIN\"";
    let ca_file = |file: &str| format!("ca_file = \"{file}\"");
    let endpoints_line = "endpoints = [\"https://10.0.0.11:8006\"]";
    let endpoints = |list: &str| format!("endpoints = {list}");
    let token_line = "token_id = \"jarvis@pve!observe\"";
    #[rustfmt::skip]
    let table: [(&str, &str, String, Expect); 52] = [
        ("no name",                       "name = \"lab\"",  String::new(),                          expect!["jarvis.toml:1:1: cluster[0].name: is missing: a cluster needs a name, endpoints, a token and a ca_file or fingerprint"]),
        ("no name of a cluster",          "name = \"lab\"",  "name = \"my lab\"".into(),             expect!["jarvis.toml:2:8: cluster[0].name: `my lab` is no cluster name: 1 to 100 characters, letters, digits, `-`, `_` and `.`, starting with a letter or digit"]),
        ("no endpoints",                  endpoints_line,    String::new(),                          expect!["jarvis.toml:1:1: cluster[0].endpoints: is missing: a cluster needs a name, endpoints, a token and a ca_file or fingerprint"]),
        ("empty endpoints",               endpoints_line,    endpoints("[]"),                        expect![[r#"jarvis.toml:3:13: cluster[0].endpoints: is empty: name at least one node, like ["https://10.0.0.11:8006"]"#]]),
        ("an endpoint alone",             endpoints_line,    endpoints("\"https://10.0.0.11\""),     expect!["jarvis.toml:3:13: cluster[0].endpoints: must be a list of texts or tables, not a text"]),
        ("a typo",                        endpoints_line,    "endpoint = [\"https://a\"]".into(),    expect![[r#"
            the configuration has 2 problems:
              jarvis.toml:1:1: cluster[0].endpoints: is missing: a cluster needs a name, endpoints, a token and a ca_file or fingerprint
              jarvis.toml:3:1: cluster[0].endpoint: unknown key `endpoint`: did you mean `endpoints`?"#]]),
        ("a typo within",                 endpoints_line,    endpoints("[{ url = \"https://a\", fingerprnt = \"x\" }]"), expect!["jarvis.toml:3:35: cluster[0].endpoints[0].fingerprnt: unknown key `fingerprnt`: did you mean `fingerprint`?"]),
        ("a table without url",           endpoints_line,    endpoints("[{ host = \"a\" }]"),        expect![[r#"
            the configuration has 2 problems:
              jarvis.toml:3:14: cluster[0].endpoints[0].url: is missing: write { url = "https://HOST:8006", fingerprint = "AB:CD:..." }
              jarvis.toml:3:16: cluster[0].endpoints[0].host: unknown key `host`: known here are url, fingerprint"#]]),
        ("plain HTTP",                    endpoints_line,    endpoints("[\"http://10.0.0.11:8006\"]"), expect!["jarvis.toml:3:14: cluster[0].endpoints[0]: must begin with https://: PVE speaks nothing else, and a token must not travel in the clear"]),
        ("no scheme",                     endpoints_line,    endpoints("[\"10.0.0.11:8006\"]"),      expect!["jarvis.toml:3:14: cluster[0].endpoints[0]: must begin with https://: PVE speaks nothing else, and a token must not travel in the clear"]),
        ("a path",                        endpoints_line,    endpoints("[\"https://10.0.0.11:8006/api2/json\"]"), expect!["jarvis.toml:3:14: cluster[0].endpoints[0]: must be https://HOST or https://HOST:PORT, and nothing after it"]),
        ("a user",                        endpoints_line,    endpoints("[\"https://root:3f0c7d2e-0d3b-4a51-9c8e-2b1f6a7d9e10@10.0.0.11\"]"), expect!["jarvis.toml:3:14: cluster[0].endpoints[0]: must hold no user or password: the token is given with token_id and token_secret_file"]),
        ("a query",                       endpoints_line,    endpoints("[\"https://10.0.0.11?x\"]"), expect!["jarvis.toml:3:14: cluster[0].endpoints[0]: must be https://HOST or https://HOST:PORT, and nothing after it"]),
        ("no host",                       endpoints_line,    endpoints("[\"https://:8006\"]"),       expect!["jarvis.toml:3:14: cluster[0].endpoints[0]: must be https://HOST or https://HOST:PORT, and nothing after it"]),
        ("port 0",                        endpoints_line,    endpoints("[\"https://a:0\"]"),         expect!["jarvis.toml:3:14: cluster[0].endpoints[0]: the port must be a number from 1 to 65535"]),
        ("port 65536",                    endpoints_line,    endpoints("[\"https://a:65536\"]"),     expect!["jarvis.toml:3:14: cluster[0].endpoints[0]: the port must be a number from 1 to 65535"]),
        ("a signed port",                 endpoints_line,    endpoints("[\"https://a:+8006\"]"),     expect!["jarvis.toml:3:14: cluster[0].endpoints[0]: the port must be a number from 1 to 65535"]),
        ("half an IPv6 address",          endpoints_line,    endpoints("[\"https://[fd00::1\"]"),    expect!["jarvis.toml:3:14: cluster[0].endpoints[0]: must be https://HOST or https://HOST:PORT, and nothing after it"]),
        ("the same address twice",        endpoints_line,    endpoints("[\"https://PVE1\", \"https://pve1:8006\"]"), expect!["jarvis.toml:3:30: cluster[0].endpoints[1]: is the same address as cluster[0].endpoints[0]"]),
        ("a number among them",           endpoints_line,    endpoints("[\"https://a\", 8006]"),     expect!["jarvis.toml:3:27: cluster[0].endpoints[1]: must be a text in quotes, not a whole number"]),
        ("a short pin",                   endpoints_line,    endpoints("[{ url = \"https://a\", fingerprint = \"AB:CD\" }]"), expect!["jarvis.toml:3:49: cluster[0].endpoints[0].fingerprint: must be a SHA-256 fingerprint: 32 pairs of hex digits with colons between them, as `pvenode cert info` shows it"]),
        ("a SHA-1 fingerprint",           trust_line,        "fingerprint = \"00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33\"".into(), expect!["jarvis.toml:6:15: cluster[0].fingerprint: must be a SHA-256 fingerprint: 32 pairs of hex digits with colons between them, as `pvenode cert info` shows it"]),
        ("a fingerprint with a sign",     trust_line,        format!("fingerprint = \"{}\"", PIN.replace("00:11", "+0:11")), expect!["jarvis.toml:6:15: cluster[0].fingerprint: must be a SHA-256 fingerprint: 32 pairs of hex digits with colons between them, as `pvenode cert info` shows it"]),
        ("a fingerprint of other letters", trust_line,       format!("fingerprint = \"{}\"", "é".repeat(32)), expect!["jarvis.toml:6:15: cluster[0].fingerprint: must be a SHA-256 fingerprint: 32 pairs of hex digits with colons between them, as `pvenode cert info` shows it"]),
        ("pin and authority",             trust_line,        format!("{trust_line}\n{}", ca_file("/x")), expect!["jarvis.toml:6:15: cluster[0].fingerprint: contradicts ca_file: give either ca_file or fingerprint"]),
        ("authority and none",            trust_line,        format!("{}\ninsecure = true", ca_file("/x")), expect!["jarvis.toml:7:12: cluster[0].insecure: contradicts ca_file: give either ca_file or insecure"]),
        ("insecure in words",             trust_line,        "insecure = \"yes\"".into(),            expect!["jarvis.toml:6:12: cluster[0].insecure: must be true or false, not a text"]),
        ("no such ca_file",               trust_line,        ca_file("/nonexistent/ca.pem"),         expect!["jarvis.toml:6:11: cluster[0].ca_file: `/nonexistent/ca.pem` cannot be opened: No such file or directory (os error 2)"]),
        ("a folder as ca_file",           trust_line,        ca_file("/"),                           expect!["jarvis.toml:6:11: cluster[0].ca_file: `/` cannot be opened: it is no ordinary file"]),
        ("a key as ca_file",              trust_line,        ca_file(&key),                          expect!["jarvis.toml:6:11: cluster[0].ca_file: `DIR/key.pem` holds no certificate: it must be PEM, like /etc/pve/pve-root-ca.pem on any node of the cluster"]),
        ("a broken certificate",          trust_line,        ca_file(&broken),                       expect!["jarvis.toml:6:11: cluster[0].ca_file: `DIR/broken.pem` holds a certificate that cannot be used: invalid peer certificate: BadEncoding"]),
        ("a cut certificate",             trust_line,        ca_file(&cut),                          expect!["jarvis.toml:6:11: cluster[0].ca_file: `DIR/cut.pem` holds PEM that is broken or cut off"]),
        ("no token",                      token_line,        String::new(),                          expect!["jarvis.toml:1:1: cluster[0].token_id: is missing: a cluster needs a name, endpoints, a token and a ca_file or fingerprint"]),
        ("a user is no token",            token_line,        "token_id = \"jarvis@pve\"".into(),     expect!["jarvis.toml:4:12: cluster[0].token_id: must be USER@REALM!TOKEN, like jarvis@pve!observe"]),
        ("the secret in the id",          token_line,        format!("token_id = \"jarvis@pve!observe={SECRET}\""), expect!["jarvis.toml:4:12: cluster[0].token_id: holds a `=`: the part after it is the secret and belongs into token_secret_file"]),
        ("no secret",                     secret_line,       String::new(),                          expect!["jarvis.toml:1:1: cluster[0].token_secret_file: is missing: a file that holds the token's secret and nothing else"]),
        ("two secrets",                   secret_line,       format!("{secret_line}\ntoken_secret = \"{SECRET}\""), expect!["jarvis.toml:6:16: cluster[0].token_secret: contradicts token_secret_env: give either token_secret_env or token_secret"]),
        ("a variable that is not set",    secret_line,       "token_secret_env = \"LAP_SECRET\"".into(), expect!["jarvis.toml:5:20: cluster[0].token_secret_env: the variable LAP_SECRET is not set"]),
        ("the secret as a variable",      secret_line,       format!("token_secret_env = \"{SECRET}\""), expect!["jarvis.toml:5:20: cluster[0].token_secret_env: must be the name of a variable, like LAB_TOKEN_SECRET (what stands there is not shown: it may be the secret)"]),
        ("the secret as a file",          secret_line,       secret_file(SECRET),                    expect!["jarvis.toml:5:21: cluster[0].token_secret_file: a file (its name looks like the secret itself and is not shown) cannot be opened: No such file or directory (os error 2)"]),
        ("no such secret file",           secret_line,       secret_file("/nonexistent/secret"),     expect!["jarvis.toml:5:21: cluster[0].token_secret_file: `/nonexistent/secret` cannot be opened: No such file or directory (os error 2)"]),
        ("an empty secret file",          secret_line,       secret_file(&empty),                    expect!["jarvis.toml:5:21: cluster[0].token_secret_file: `DIR/empty` is empty: it must hold the secret"]),
        ("a secret file of two lines",    secret_line,       secret_file(&two),                      expect!["jarvis.toml:5:21: cluster[0].token_secret_file: `DIR/two` holds several lines: it must hold the secret and nothing else"]),
        ("the whole header",              secret_line,       secret_file(&whole),                    expect!["jarvis.toml:5:21: cluster[0].token_secret_file: the secret holds a `=`: only what stands after the `=` of the token is the secret"]),
        ("a secret with a blank",         secret_line,       secret_file(&blank),                    expect!["jarvis.toml:5:21: cluster[0].token_secret_file: the secret is empty, or holds a blank or a character that is not ASCII: copy it again"]),
        ("a large secret file",           secret_line,       secret_file(&large),                    expect!["jarvis.toml:5:21: cluster[0].token_secret_file: `DIR/large` holds more than 1024 bytes: it must hold the secret and nothing else"]),
        ("acts without a secret",         token_line,        format!("{token_line}\nact_token_id = \"a@pve!act\""), expect!["jarvis.toml:1:1: cluster[0].act_token_secret_file: is missing: a file that holds the token's secret and nothing else"]),
        ("a secret for no acts",          token_line,        format!("{token_line}\nact_token_secret = \"x\""), expect!["jarvis.toml:5:20: cluster[0].act_token_secret: is the secret of act_token_id, and that is missing"]),
        ("a user acts",                   token_line,        format!("{token_line}\nact_token_id = \"a@pve\"\nact_token_secret = \"{SECRET}\""), expect!["jarvis.toml:5:16: cluster[0].act_token_id: must be USER@REALM!TOKEN, like jarvis@pve!observe"]),
        ("two secrets for acts",          token_line,        format!("{token_line}\nact_token_id = \"a@pve!act\"\nact_token_secret = \"x\"\nact_token_secret_env = \"Y\""), expect!["jarvis.toml:6:20: cluster[0].act_token_secret: contradicts act_token_secret_env: give either act_token_secret_env or act_token_secret"]),
        ("nobody to ignore",              token_line,        format!("{token_line}\nignore = [\"101\", \"cluster\", \"tag:\", \"qemu/99\"]\nprotect = [\"vm/101\"]"), expect![[r#"
            the configuration has 5 problems:
              jarvis.toml:5:11: cluster[0].ignore[0]: must be `node/NAME`, `qemu/ID`, `lxc/ID`, `storage/NAME` or `tag:TAG`
              jarvis.toml:5:18: cluster[0].ignore[1]: the cluster as a whole cannot be ignored or protected: take its [[cluster]] out
              jarvis.toml:5:29: cluster[0].ignore[2]: must be a tag as PVE writes it, like tag:lab
              jarvis.toml:5:37: cluster[0].ignore[3]: must be `node/NAME`, `qemu/ID`, `lxc/ID`, `storage/NAME` or `tag:TAG`
              jarvis.toml:6:12: cluster[0].protect[0]: must be `node/NAME`, `qemu/ID`, `lxc/ID`, `storage/NAME` or `tag:TAG`"#]]),
        ("itself in a storage",           token_line,        format!("{token_line}\nself = \"storage/x\""), expect!["jarvis.toml:5:8: cluster[0].self: must be the guest or node that Jarvis runs on: `qemu/ID`, `lxc/ID` or `node/NAME`"]),
    ];
    for (name, line, replacement, expected) in table {
        assert!(MINIMAL.contains(line), "{name}: nothing is broken");
        let text = MINIMAL.replace(line, &replacement);
        expected.assert_eq(&folder.strip(&complaint(name, &text, &[])));
    }
}

#[test]
fn a_wrong_variable_is_named() {
    let two = format!("{MINIMAL}{}", MINIMAL.replace("lab", "edge").replace(".11", ".12"));
    #[rustfmt::skip]
    let table: [(&str, &str, Variables, Expect); 5] = [
        ("no port",                        MINIMAL, &[("PORT", "http")],                           expect!["environment PORT: server.listen: must be a port: a whole number from 0 to 65535"]),
        ("a port too large",               MINIMAL, &[("PORT", "70000")],                          expect!["environment PORT: server.listen: must be a port: a whole number from 0 to 65535"]),
        ("a database server",              MINIMAL, &[("DB_PATH", "postgres://x")],                expect!["environment DB_PATH: store.path: must be the path of a file: a database server is not supported by this version"]),
        ("the whole token",                MINIMAL, &[("PVE_TOKEN_ID", "a@pve!b=3f0c7d2e-0d3b-4a51-9c8e-2b1f6a7d9e10")], expect!["environment PVE_TOKEN_ID: cluster[0].token_id: holds a `=`: the part after it is the secret and belongs into token_secret_file"]),
        ("one token for two clusters",     &two,    &[("PVE_TOKEN_ID", "a@pve!b"), ("PVE_TOKEN_SECRET", "x")], expect![[r#"
            the configuration has 2 problems:
              environment PVE_TOKEN_ID: cluster: is for a configuration with one cluster, and here are several: give each its own token with token_id and token_secret_file or token_secret_env
              environment PVE_TOKEN_SECRET: cluster: is for a configuration with one cluster, and here are several: give each its own token with token_id and token_secret_file or token_secret_env"#]]),
    ];
    for (name, text, env, expected) in table {
        expected.assert_eq(&complaint(name, text, env));
    }
}

#[test]
fn all_that_is_wrong_is_named_at_once_in_the_order_of_the_file() {
    let text = r#"
[server]
listen = "0.0.0.0:80"
lissten = "127.0.0.1:80"

[tiers]
critical = "1h"

[[cluster]]
name = "lab"
endpoints = ["http://10.0.0.11", "https://10.0.0.12"]
token_id = "root@pam"

[[cluster]]
name = "lab"
endpoints = ["https://10.0.0.12:8006"]
fingerprint = "AB"

[thresholds]
disk = { high = 99 }
"#;
    expect![[r#"
        the configuration has 12 problems:
          jarvis.toml:3:10: server.listen: 0.0.0.0:80 can be reached from other machines, and passwords would travel in clear: give a certificate (tls_cert, tls_key), or listen on 127.0.0.1, or put a proxy with TLS in front and name its address: behind_proxy = ["10.0.0.5"]
          jarvis.toml:4:1: server.lissten: unknown key `lissten`: did you mean `listen`?
          jarvis.toml:7:12: tiers.critical: 1h is not from 2s to 5m
          jarvis.toml:9:1: cluster[0].token_secret_file: is missing: a file that holds the token's secret and nothing else
          jarvis.toml:11:14: cluster[0].endpoints[0]: must begin with https://: PVE speaks nothing else, and a token must not travel in the clear
          jarvis.toml:12:12: cluster[0].token_id: must be USER@REALM!TOKEN, like jarvis@pve!observe
          jarvis.toml:14:1: cluster[1].token_id: is missing: a cluster needs a name, endpoints, a token and a ca_file or fingerprint
          jarvis.toml:14:1: cluster[1].token_secret_file: is missing: a file that holds the token's secret and nothing else
          jarvis.toml:15:8: cluster[1].name: `lab` is already the name of cluster[0]
          jarvis.toml:16:14: cluster[1].endpoints[0]: is the same address as cluster[0].endpoints[1]
          jarvis.toml:17:15: cluster[1].fingerprint: must be a SHA-256 fingerprint: 32 pairs of hex digits with colons between them, as `pvenode cert info` shows it
          jarvis.toml:20:8: thresholds.disk: critical (95) must lie above high (99)"#]].assert_eq(&complaint("many", text, &[]));
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let folder = Folder::new();
    let at = |name: &str| folder.0.join(name);
    fs::write(at("latin1.toml"), b"# caf\xe9").unwrap();
    fs::write(at("large.toml"), " ".repeat(1 << 20 | 1)).unwrap();
    #[rustfmt::skip]
    let table = [
        ("none",              at("none.toml"),    expect!["none: DIR/none.toml: cannot be opened: No such file or directory (os error 2)"]),
        ("a folder",          at("."),            expect!["a folder: DIR/.: cannot be opened: it is no ordinary file"]),
        ("not UTF-8",         at("latin1.toml"),  expect!["not UTF-8: DIR/latin1.toml: is not UTF-8 text: byte 6 is none"]),
        ("a large one",       at("large.toml"),   expect!["a large one: DIR/large.toml: is larger than 1048576 bytes: this is no configuration"]),
    ];
    for (name, path, expected) in table {
        let error = Config::load(Some(&path), &|_| None).unwrap_err();
        expected.assert_eq(&folder.strip(&format!("{name}: {error}")));
    }
    let path = at("good.toml");
    fs::write(&path, MINIMAL.replace("PIN", PIN)).unwrap();
    let env = |name: &str| (name == "LAB_SECRET").then(|| SECRET.to_owned());
    assert_eq!(Config::load(Some(&path), &env).unwrap().clusters.len(), 1);
}

// ---- Secrets ----

#[test]
fn a_secret_shows_nowhere() {
    let folder = Folder::new();
    let file = folder.file("secret", SECRET, 0o644);
    let secret_line = "token_secret_env = \"LAB_SECRET\"";
    #[rustfmt::skip]
    let table = [
        ("in a variable",        secret_line.to_owned()),
        ("in a file",            format!("token_secret_file = \"{file}\"")),
        ("in the configuration", format!("token_secret = \"{SECRET}\"")),
    ];
    for (name, line) in table {
        let text = MINIMAL.replace(secret_line, &line);
        let config = load(&text, &[("JARVIS_PASSWORD", SECRET)]).unwrap();
        assert_eq!(config.clusters[0].token_secret.expose(), SECRET, "{name}");
        let shown = format!("{config:?}{config:#?}{}{:?}", describe(&config), config.warnings);
        assert!(!shown.contains(SECRET), "{name}: {shown}");
        // The same with something wrong on every line.
        let broken: Vec<String> = text.lines().map(|line| format!("{line} oops")).collect();
        for text in [
            broken.join("\n"),
            text.replace("lab", "l ab").replace("https", "http"),
            format!("x = 1\n{text}"),
        ] {
            complaint(name, &text, &[]);
        }
    }
}

#[test]
fn what_is_allowed_but_unwise_is_warned_about() {
    let folder = Folder::new();
    let open = folder.file("open", SECRET, 0o644);
    let secret_line = "token_secret_env = \"LAB_SECRET\"";
    let trust_line = "fingerprint = \"PIN\"";
    #[rustfmt::skip]
    let table = [
        ("an open secret file",  secret_line, format!("token_secret_file = \"{open}\""), expect!["an open secret file: DIR/open (cluster[0].token_secret_file) can be read by every user of this machine: chmod 600 DIR/open"]),
        ("a secret in the file", secret_line, format!("token_secret = \"{SECRET}\""),    expect!["a secret in the file: cluster[0].token_secret stands in the configuration file itself: put it into a file of its own (token_secret_file)"]),
        ("insecure",             trust_line,  "insecure = true".into(),                  expect!["insecure: cluster lab is insecure: whoever sits between here and the cluster can read its token. Give its ca_file (/etc/pve/pve-root-ca.pem on any of its nodes) or a fingerprint"]),
        ("insecure = false",     trust_line,  "insecure = false".into(),                 expect!["insecure = false: "]),
    ];
    for (name, line, replacement, expected) in table {
        let config = load(&MINIMAL.replace(line, &replacement), &[]).unwrap();
        expected.assert_eq(&folder.strip(&format!("{name}: {}", config.warnings.join(" / "))));
    }
}

#[test]
fn a_file_of_which_everything_is_wrong_is_told_in_part_and_printably() {
    let text: String = (0..60_000).map(|n| format!("k{n} = 1\n")).collect();
    let error = Config::from_text("jarvis.toml", &text, &|_| None).unwrap_err();
    assert_eq!(error.problems.len(), 51);
    assert_eq!(error.problems[50], "and 59951 more");
    let error = Config::from_text("jarvis.toml", "\"\\u001b[31mred\\n\" = 1\n", &|_| None).unwrap_err();
    assert!(!error.to_string().contains('\u{1b}'), "{error:?}");
}
