//! `magic_packet_to`: where the packets go that wake a node, and what is no such place.

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
