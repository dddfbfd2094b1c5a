//! Holds many Socket.IO clients at `/events`, of which some never read, and says what the others got and how late.
//!
//! `socket_load --server ADDRESS --token TOKEN [--clients 1000] [--silent 100] [--seconds 30] [--rate 20]`. Each event
//! must have a `seq` and a `message` that ends in ` at MICROSECONDS` of Unix time. Prints one line of JSON; ends with
//! 1 where a client lost an event or got one twice. It knows nothing of who serves: Node's socket.io is measured alike.

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use clap::Parser;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

/// What has not come so long after the last event was due is lost.
const LATE: Duration = Duration::from_secs(15);
/// What the kernel takes for a client that never reads: little, so that the server feels it soon.
const SILENT_BUFFER: u32 = 4096;

#[derive(Parser)]
struct Options {
    #[arg(long)]
    server: SocketAddr,
    #[arg(long)]
    token: String,
    #[arg(long, default_value_t = 1000)]
    clients: usize,
    /// Of them, those that never read.
    #[arg(long, default_value_t = 100)]
    silent: usize,
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Events that the server sends each second.
    #[arg(long, default_value_t = 20)]
    rate: u64,
}

type Stream = WebSocketStream<TcpStream>;

/// What all clients share.
struct Shared {
    /// The newest number that anybody got: what is measured begins after it, when everybody is there.
    newest: AtomicU64,
    /// First and last number that is measured, once it is known.
    window: watch::Receiver<Option<(u64, u64)>>,
}

/// What one client got of what is measured.
#[derive(Default)]
struct Got {
    lost: u64,
    doubled: u64,
    late_us: Vec<u32>,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    ensure!(options.silent < options.clients, "somebody has to read");
    let (window, known) = watch::channel(None);
    let shared = Arc::new(Shared { newest: 0.into(), window: known });
    let mut silent = Vec::new();
    for _ in 0..options.silent {
        silent.push(join(&options, Some(SILENT_BUFFER)).await?);
    }
    let mut readers = JoinSet::new();
    let readers_max = options.clients - options.silent;
    for _ in 0..readers_max {
        // One after the other: it is the events that are measured, not the greeting.
        let stream = join(&options, None).await?;
        readers.spawn(read(stream, shared.clone()));
    }
    // One second in which the crowd settles.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let first = shared.newest.load(Ordering::Relaxed) + options.rate;
    let last = first + options.rate * options.seconds - 1;
    window.send_replace(Some((first, last)));
    let end = Duration::from_secs(options.seconds + 2) + LATE;
    let (mut lost, mut doubled, mut late_us) = (0, 0, Vec::new());
    let all = async {
        while let Some(got) = readers.join_next().await {
            let got = got??;
            lost += got.lost;
            doubled += got.doubled;
            late_us.extend(got.late_us);
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(end, all).await.context("some clients never got the last event")??;
    late_us.sort_unstable();
    let part = |of: f64| {
        let index = ((late_us.len() as f64 * of) as usize).min(late_us.len().saturating_sub(1));
        late_us.get(index).map_or(0.0, |us| f64::from(*us) / 1000.0)
    };
    let told = json!({
        "readers": readers_max, "silent": silent.len(), "events": last - first + 1, "deliveries": late_us.len(),
        "lost": lost, "doubled": doubled, "p50_ms": part(0.5), "p99_ms": part(0.99), "max_ms": part(1.0),
    });
    writeln!(std::io::stdout(), "{told}")?;
    Ok(if lost + doubled == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A client that was let in.
async fn join(options: &Options, buffer: Option<u32>) -> anyhow::Result<Stream> {
    let socket = TcpSocket::new_v4()?;
    if let Some(buffer) = buffer {
        socket.set_recv_buffer_size(buffer)?;
    }
    let stream = socket.connect(options.server).await?;
    stream.set_nodelay(true)?;
    let url = format!("ws://{}/socket.io/?EIO=4&transport=websocket", options.server);
    let (mut stream, _) = client_async(url, stream).await?;
    text(&mut stream).await?;
    let hello = format!("40/events,{}", json!({"token": options.token, "clusters": "all"}));
    stream.send(Message::text(hello)).await?;
    let welcome = text(&mut stream).await?;
    ensure!(welcome.starts_with("40/events,"), "not let in: {welcome}");
    Ok(stream)
}

/// The next packet; pings are answered.
async fn text(stream: &mut Stream) -> anyhow::Result<String> {
    loop {
        match stream.next().await.context("the server closed the connection")?? {
            Message::Text(text) if text.as_str() == "2" => stream.send(Message::text("3")).await?,
            Message::Text(text) => return Ok(text.to_string()),
            Message::Binary(_)
            | Message::Ping(_)
            | Message::Pong(_)
            | Message::Close(_)
            | Message::Frame(_) => {}
        }
    }
}

async fn read(mut stream: Stream, shared: Arc<Shared>) -> anyhow::Result<Got> {
    let mut got = Got::default();
    // The number that is next of what is measured.
    let mut next = None;
    loop {
        let packet = text(&mut stream).await?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros();
        let Some(body) = packet.strip_prefix("42/events,") else { continue };
        let Ok(Value::Array(message)) = serde_json::from_str(body) else { continue };
        let Some(event) = message.get(1) else { continue };
        let seq = event["seq"].as_u64().context("an event without a number")?;
        shared.newest.fetch_max(seq, Ordering::Relaxed);
        let Some((first, last)) = *shared.window.borrow() else { continue };
        if seq < first {
            continue;
        }
        let due = next.unwrap_or(first);
        if seq < due {
            got.doubled += 1;
            continue;
        }
        got.lost += seq.min(last + 1) - due;
        next = Some(seq + 1);
        if seq <= last {
            let sent =
                event["message"].as_str().and_then(|words| words.rsplit(" at ").next()?.parse::<u128>().ok());
            let late = now.saturating_sub(sent.context("an event without its time")?);
            got.late_us.push(u32::try_from(late).unwrap_or(u32::MAX));
        }
        if seq >= last {
            return Ok(got);
        }
    }
}
