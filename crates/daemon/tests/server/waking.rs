//! The hands that wake a node: whom they ask, and when they send a packet themselves.

use std::net::UdpSocket;

use daemon::act::{Act, Begun};

use super::tools::{cluster, hands};

#[tokio::test]
async fn a_packet_of_our_own_is_sent_only_where_nobody_could_be_asked() {
    let mac = Some("AA:BB:CC:DD:EE:03");
    let gone: &[&str] = &["api pve1 refused", "api pve2 refused"];
    let half: &[&str] = &["api pve1 refused"];
    let (well, no, cut): (&[&str], &[&str], &[&str]) = (&[], &["fault 500"], &["fault reset"]);
    #[rustfmt::skip]
    let table = [
        ("a node sends it",           "full",    well,          mac,  "done",    false),
        ("the second node sends it",  "full",    half,          mac,  "done",    false),
        ("nobody is there",           "full",    gone,          mac,  "done",    true),
        ("nobody, and no address",    "full",    gone,          None, "failed",  false),
        ("PVE does not let us",       "auditor", well,          mac,  "failed",  false),
        ("another refusal",           "full",    no,            mac, "failed",  false),
        ("the answer was lost",       "full",    cut,           mac, "unknown", false),
    ];
    for (name, rights, levers, mac, expected, heard) in table {
        let cluster = cluster(rights, 1.0);
        for lever in levers {
            cluster.apply(lever).unwrap();
        }
        let network = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        network.set_nonblocking(true).unwrap();
        let hands = hands(&cluster).with_magic_packet_to(network.local_addr().unwrap());
        let mac = mac.map(|mac| mac.parse().unwrap());
        let Begun::Over(outcome) = hands.begin(&Act::Wake { node: "pve3".parse().unwrap(), mac }).await
        else {
            panic!("{name}: a packet makes no task");
        };
        assert_eq!(outcome.word(), expected, "{name}: {outcome}");
        // On loopback a packet is there when it was sent.
        let mut packet = [0; 200];
        let length = network.recv(&mut packet).ok();
        assert_eq!(length, heard.then_some(102), "{name}: {outcome}");
        if heard {
            assert_eq!(packet[..6], [0xff; 6], "{name}");
            assert_eq!(packet[6..102], [0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0x03].repeat(16), "{name}");
        }
        cluster.shutdown().await;
    }
}
