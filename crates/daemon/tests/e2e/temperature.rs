//! Sensors from a node_exporter to the page: what is configured is asked for every node, and shown as the page reads it.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// A node_exporter that stands for every node: the node's name is the path. Who was asked for is kept.
async fn exporter() -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&asked);
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut question = vec![0; 4096];
            let length = socket.read(&mut question).await.unwrap();
            let question = String::from_utf8_lossy(&question[..length]).into_owned();
            keep.lock().unwrap().push(question.split(' ').nth(1).unwrap().to_owned());
            let metrics = "node_hwmon_chip_names{chip=\"platform_coretemp_0\",chip_name=\"coretemp\"} 1\n\
                           node_hwmon_sensor_label{chip=\"platform_coretemp_0\",label=\"Package id 0\",sensor=\"temp1\"} 1\n\
                           node_hwmon_temp_celsius{chip=\"platform_coretemp_0\",sensor=\"temp1\"} 61.5\n";
            let length = metrics.len();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{metrics}");
            socket.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (port, asked)
}

/// The next messages of `/cluster`, by long polling, as the page begins.
async fn polled(jarvis: &Jarvis, session: &str) -> String {
    let asked = jarvis.client.get(format!("{}/socket.io/?EIO=4&transport=polling{session}", jarvis.url));
    asked.send().await.unwrap().text().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_node_exporter_reads_is_on_the_page() {
    let (folder, cluster) = (Folder::new("temperature"), cluster());
    let (port, asked) = exporter().await;
    let config = config(&folder, &cluster, cluster.ca_pem());
    let text = std::fs::read_to_string(&config).unwrap();
    let source = format!(
        "temperature = {{ source = \"node_exporter\", url = \"http://127.0.0.1:{port}/{{node}}\" }}\n"
    );
    std::fs::write(&config, text + &source).unwrap();
    let jarvis = Jarvis::run(&folder, &config).await;

    let opened = polled(&jarvis, "").await;
    let opened: Value = serde_json::from_str(opened.strip_prefix('0').unwrap()).unwrap();
    let session = format!("&sid={}", opened["sid"].as_str().unwrap());
    let connect = format!("40/cluster,{}", json!({ "token": jarvis.token }));
    let url = format!("{}/socket.io/?EIO=4&transport=polling{session}", jarvis.url);
    jarvis.client.post(&url).body(connect).send().await.unwrap();

    let read = json!({ "coretemp Package id 0": 61.5 });
    let (mut temperature, mut nodes) = (Value::Null, Value::Null);
    let until = Instant::now() + Duration::from_secs(90);
    while temperature.is_null() || nodes[0]["temperatures"] != read {
        assert!(
            Instant::now() < until,
            "{temperature} {nodes} {:?}:\n{}",
            asked.lock().unwrap(),
            jarvis.text()
        );
        for packet in polled(&jarvis, &session).await.split('\u{1e}') {
            if packet == "2" {
                jarvis.client.post(&url).body("3").send().await.unwrap();
            }
            let Some(message) = packet.strip_prefix("42/cluster,") else { continue };
            let message: Value = serde_json::from_str(message).unwrap();
            match message[0].as_str().unwrap() {
                "temperature" => temperature = message[1].clone(),
                "nodes" => nodes = message[1].clone(),
                _ => {}
            }
        }
    }
    assert_eq!(temperature, json!([{ "node": "pve1", "zones": read }, { "node": "pve2", "zones": read }]));
    let each: Vec<&Value> = nodes.as_array().unwrap().iter().map(|node| &node["temperatures"]).collect();
    assert_eq!(each, [&read, &read]);
    let mut asked = asked.lock().unwrap().clone();
    asked.sort();
    asked.dedup();
    assert_eq!(asked, ["/pve1", "/pve2"], "every node, and nothing else");
}
