//! `[[cluster]]`: names that are too much alike, the second token, and where the packets go that wake a node.

use daemon::config::describe;

use super::help::*;

#[test]
fn where_packets_go_is_an_address_with_or_without_a_port() {
    #[rustfmt::skip]
    let table = [
        ("left out",             "",                                            Some("255.255.255.255:9")),
        ("an address",           "magic_packet_to = \"192.168.1.255\"",         Some("192.168.1.255:9")),
        ("with a port",          "magic_packet_to = \"192.168.1.255:7\"",       Some("192.168.1.255:7")),
        ("of the other family",  "magic_packet_to = \"[ff02::1]:9\"",           Some("[ff02::1]:9")),
        ("without its port",     "magic_packet_to = \"ff02::1\"",               Some("[ff02::1]:9")),
        ("a name",               "magic_packet_to = \"lan\"",                   None),
        ("no port",              "magic_packet_to = \"192.168.1.255:0\"",       None),
        ("nowhere",              "magic_packet_to = \"0.0.0.0\"",               None),
        ("a network",            "magic_packet_to = \"192.168.1.0/24\"",        None),
    ];
    for (name, line, expected) in table {
        let text = format!("{MINIMAL}{line}\n");
        match expected {
            Some(expected) => {
                let config = load(&text, &[]).unwrap_or_else(|error| panic!("{name}: {error}"));
                assert_eq!(config.clusters[0].magic_packet_to.to_string(), expected, "{name}");
            }
            None => assert_eq!(
                complaint(name, &text, &[]),
                "jarvis.toml:7:19: cluster[0].magic_packet_to: must be where packets for the nodes' network go: its broadcast \
                 address, like 192.168.1.255 or 192.168.1.255:9",
                "{name}"
            ),
        }
    }
}

#[test]
fn a_second_token_is_for_acts_only() {
    let text = format!(
        "[[cluster]]\nname = \"lab\"\nendpoints = [\"https://a\"]\ntoken_id = \"j@pve!observe\"\n\
         token_secret_env = \"LAB_SECRET\"\nact_token_id = \"j@pve!act\"\nact_token_secret = \"{SECRET}\"\n"
    );
    let config = load(&text, &[("LAB_SECRET", "observes")]).unwrap();
    let cluster = &config.clusters[0];
    assert_eq!((cluster.token_id.as_str(), cluster.token_secret.expose()), ("j@pve!observe", "observes"));
    let (id, secret) = cluster.act_token.as_ref().unwrap();
    assert_eq!((id.as_str(), secret.expose()), ("j@pve!act", SECRET));
    let shown = describe(&config);
    assert!(shown.contains("cluster[0].act_token_secret") && !shown.contains(SECRET), "{shown}");
    assert!(shown.contains("cluster[0].act_token_secret stands in the configuration file itself"), "{shown}");
}

#[test]
fn clusters_are_told_apart_by_their_names() {
    #[rustfmt::skip]
    let table = [
        ("two names",        "edge", ""),
        ("one begins so",    "lab2", ""),
        ("the same",         "lab",  "jarvis.toml:8:8: cluster[1].name: `lab` is already the name of cluster[0]"),
        ("but for its case", "LAB",  "jarvis.toml:8:8: cluster[1].name: `LAB` is already the name of cluster[0], which is written `lab`: names must differ in more than their case"),
        ("one letter of it", "laB",  "jarvis.toml:8:8: cluster[1].name: `laB` is already the name of cluster[0], which is written `lab`: names must differ in more than their case"),
    ];
    for (name, second, expected) in table {
        let other = MINIMAL.replace("\"lab\"", &format!("{second:?}")).replace(".11", ".12");
        let text = format!("{MINIMAL}{other}");
        match expected {
            "" => assert!(load(&text, &[]).is_ok(), "{name}: {}", complaint(name, &text, &[])),
            expected => assert_eq!(complaint(name, &text, &[]), expected, "{name}"),
        }
    }
}
