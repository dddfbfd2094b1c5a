//! Serves made-up rows and one event every 200 ms (`--every-ms`), without any cluster: what the socket clients are tested against.
//!
//! `serve_events --folder DIR [--listen ADDRESS] [--origin ORIGIN] [--guests COUNT] [--also CLUSTER]`. Prints one line with its
//! address once it listens. The password is `jarvis-example`. Ends on SIGTERM or SIGINT.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use daemon::record::{NewEvent, Source, Store};
use daemon::report::auth::{Auth, Password};
use daemon::report::live::Live;
use daemon::report::page::{GuestMarks, GuestRow, NodeRow, Page, Quorum, StorageRow};
use daemon::report::{Server, ServerOptions};
use engine::observe::{ClusterName, GuestId, GuestKind, GuestStatus, NodeName, Presence};
use engine::report::{EventKind, Severity};
use jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};

const PASSWORD: &str = "jarvis-example";
/// The rows are published anew at every so many events.
const ROWS_EVERY: u64 = 5;

#[derive(Parser)]
struct Options {
    /// Where database and key lie.
    #[arg(long)]
    folder: PathBuf,
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Another origin that may connect.
    #[arg(long)]
    origin: Vec<String>,
    #[arg(long, default_value_t = 4)]
    guests: u32,
    /// Milliseconds from one event to the next.
    #[arg(long, default_value_t = 200)]
    every_ms: u64,
    /// A second cluster, which shows nothing and has each second event.
    #[arg(long)]
    also: Option<ClusterName>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let cluster: ClusterName = "example".parse()?;
    let store = Store::open(&options.folder.join("jarvis.db")).await?;
    let auth = Arc::new(Auth::open(&options.folder, store.clone(), Some(Password::new(PASSWORD))).await?);
    let also = options.also;
    let names = [Some(cluster.clone()), also.clone()].into_iter().flatten();
    let live = Arc::new(Live::new(names, Duration::from_secs(12), Instant::now()));
    let page = Arc::new(Page::new());
    publish(&page, options.guests, 0)?;
    live.saw(&cluster, Instant::now());
    let mut pages = vec![(cluster.clone(), page.clone())];
    pages.extend(also.clone().map(|name| (name, Arc::new(Page::new()))));
    let server = Server::start(ServerOptions {
        listen: options.listen,
        allowed_origins: options.origin,
        names: Vec::new(),
        public_url: None,
        behind_proxy: Vec::new(),
        tls: None,
        store: store.clone(),
        auth,
        live: live.clone(),
        pages,
        autonomy_ceiling: 2,
        hands: Vec::new(),
    })
    .await?;
    writeln!(std::io::stdout(), "listening on http://{}", server.local_addr())?;

    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut tick = tokio::time::interval(Duration::from_millis(options.every_ms));
    for number in 1_u64.. {
        tokio::select! {
            _ = tick.tick() => {}
            _ = terminated.recv() => break,
            _ = interrupted.recv() => break,
        }
        let of = also.as_ref().filter(|_| number % 2 == 0);
        let title = format!("VM web{number} (101) crashed");
        let title = of.map_or(title, |name| format!("{name} {number} crashed"));
        let (at, message) =
            (Timestamp::now(), format!("event {number} at {}", Timestamp::now().as_microsecond()));
        let event = NewEvent::plain(at, EventKind::Alert, Severity::Error, Source::Monitor, &title, &message);
        let event = NewEvent { cluster: Some(of.unwrap_or(&cluster).to_string()), ..event };
        store.save_event(event).await?;
        if number % ROWS_EVERY == 0 {
            publish(&page, options.guests, number)?;
            live.saw(&cluster, Instant::now());
        }
    }
    server.shutdown().await;
    store.close().await;
    Ok(())
}

/// Rows in which the uptime tells one publication from the next.
fn publish(page: &Page, guests: u32, uptime: u64) -> anyhow::Result<()> {
    let now = Timestamp::now();
    let node: NodeName = "pve1".parse()?;
    page.publish_nodes(
        vec![NodeRow {
            node: node.clone(),
            host: "10.0.0.11".into(),
            status: Presence::Online,
            cpu: 0.25,
            maxcpu: 8.0,
            mem: 4 << 30,
            maxmem: 16 << 30,
            disk: 10 << 30,
            maxdisk: 100 << 30,
            uptime,
            temperatures: BTreeMap::new(),
            ha: None,
        }],
        now,
    );
    let guest = |n| GuestRow {
        id: GuestId { kind: if n % 2 == 0 { GuestKind::Qemu } else { GuestKind::Lxc }, vmid: 100 + n },
        name: Some(format!("guest-{n}-äöü").into()),
        status: GuestStatus::Running,
        node: node.clone(),
        cpu: 0.5,
        maxcpu: 2.0,
        mem: 1 << 30,
        maxmem: 2 << 30,
        disk: 0,
        maxdisk: 32 << 30,
        netin: 1,
        netout: 2,
        uptime,
        marks: GuestMarks::default(),
    };
    page.publish_guests((0..guests).map(guest).collect(), now);
    page.publish_storage(
        vec![StorageRow {
            storage: "local".parse()?,
            node,
            r#type: "dir".into(),
            active: true,
            total: 100,
            used: 40,
            avail: 60,
            content: "iso,backup".into(),
            shared: false,
        }],
        now,
    );
    page.publish_quorum(Quorum { quorate: true, nodes: 1, expected: 1 }, now);
    Ok(())
}
