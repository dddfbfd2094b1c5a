//! A Socket.IO client over WebSocket, by hand: one that reads when it is told to and can vanish without a word.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

/// What has not come after that does not come.
const HEARD_WITHIN: Duration = Duration::from_secs(20);

pub(crate) struct Client {
    stream: WebSocketStream<TcpStream>,
    namespace: &'static str,
}

impl Client {
    /// One that was let in.
    pub(crate) async fn join(address: SocketAddr, namespace: &'static str, auth: &Value) -> Client {
        let mut client = Client::knock(address, namespace, auth).await;
        let welcome = client.packet().await;
        assert!(welcome.starts_with(&format!("40{namespace},")), "{welcome}");
        client
    }

    /// One that has asked to be let in.
    pub(crate) async fn knock(address: SocketAddr, namespace: &'static str, auth: &Value) -> Client {
        let stream = TcpStream::connect(address).await.unwrap();
        let url = format!("ws://{address}/socket.io/?EIO=4&transport=websocket");
        let (stream, _) = client_async(url, stream).await.unwrap();
        let mut client = Client { stream, namespace };
        assert!(client.packet().await.starts_with('0'), "the engine says hello");
        client.send(format!("40{namespace},{auth}")).await;
        client
    }

    async fn send(&mut self, packet: String) {
        self.stream.send(Message::text(packet)).await.unwrap();
    }

    pub(crate) async fn say(&mut self, event: &str, body: Value) {
        self.send(format!("42{},{}", self.namespace, serde_json::json!([event, body]))).await;
    }

    /// The next packet; pings are answered.
    pub(crate) async fn packet(&mut self) -> String {
        loop {
            let next = tokio::time::timeout(HEARD_WITHIN, self.stream.next()).await.expect("something came");
            match next.expect("the connection lives").expect("a frame") {
                Message::Text(text) if text.as_str() == "2" => self.send("3".into()).await,
                Message::Text(text) => return text.to_string(),
                other @ (Message::Binary(_)
                | Message::Ping(_)
                | Message::Pong(_)
                | Message::Close(_)
                | Message::Frame(_)) => panic!("{other:?}"),
            }
        }
    }

    /// The next message: its name and its body.
    pub(crate) async fn message(&mut self) -> (String, Value) {
        let packet = self.packet().await;
        let body = packet.strip_prefix(&format!("42{},", self.namespace));
        let body = body.unwrap_or_else(|| panic!("no message: {packet}"));
        let Value::Array(mut parts) = serde_json::from_str(body).unwrap() else { panic!("{packet}") };
        let value = parts.pop().unwrap();
        (parts.pop().unwrap().as_str().unwrap().to_owned(), value)
    }
}
