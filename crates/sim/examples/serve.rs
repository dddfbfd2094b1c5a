//! Serves a simulated cluster until it is told to stop (SIGTERM, SIGINT, or the end of a pipe on its standard input).
//!
//! ```text
//! serve [--listen ADDR] [--control ADDR] [--exporter ADDR] [--token ID=SECRET[:RIGHTS]]... [--speed N] [--seed N]
//!       [--delay-401 MS] [--ca-file PATH] (--scenario FILE | --recorded DIR | --nodes N --guests M)
//! ```
//!
//! RIGHTS are `none`, `auditor`, `observer` (auditor with the logs), `user`, `full`, and more: see `sim::http::Rights`.
//! The first line that it prints is one JSON object: endpoints, fingerprints, the CA's file and PEM, the address of
//! the control interface, and the address of each node's sensors (`--exporter`).
#![allow(clippy::print_stdout, reason = "its one line of output is how a test learns the ports")]

use std::os::unix::fs::FileTypeExt as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use sim::http::{Options, Server};
use sim::script::Script;
use tokio::signal::unix::{SignalKind, signal};

#[derive(Default)]
struct Args {
    listen: Option<String>,
    control: Option<String>,
    exporter: Option<String>,
    tokens: Vec<String>,
    speed: Option<f64>,
    seed: u64,
    delay_401: Option<u64>,
    ca_file: Option<PathBuf>,
    scenario: Option<PathBuf>,
    recorded: Option<PathBuf>,
    nodes: Option<usize>,
    guests: usize,
}

fn parse() -> anyhow::Result<Args> {
    let mut args = Args { seed: 1, ..Args::default() };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().with_context(|| format!("{word} needs a value"))?;
        match word.as_str() {
            "--listen" => args.listen = Some(value),
            "--control" => args.control = Some(value),
            "--exporter" => args.exporter = Some(value),
            "--token" => args.tokens.push(value),
            "--speed" => args.speed = Some(value.parse()?),
            "--seed" => args.seed = value.parse()?,
            "--delay-401" => args.delay_401 = Some(value.parse()?),
            "--ca-file" => args.ca_file = Some(value.into()),
            "--scenario" => args.scenario = Some(value.into()),
            "--recorded" => args.recorded = Some(value.into()),
            "--nodes" => args.nodes = Some(value.parse()?),
            "--guests" => args.guests = value.parse()?,
            other => bail!("{other} is no option of this example; see its first lines"),
        }
    }
    Ok(args)
}

fn options(args: &Args) -> anyhow::Result<Options> {
    let mut options = match (&args.scenario, &args.recorded, args.nodes) {
        (Some(path), None, None) => {
            let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
            Options::script(&Script::parse(&text)?)?
        }
        (None, Some(folder), None) => Options::recorded(folder)?,
        (None, None, nodes) => Options::generated(nodes.unwrap_or(3), args.guests, args.seed)?,
        _ => bail!("one of --scenario, --recorded and --nodes"),
    };
    if let Some(listen) = &args.listen {
        options.listen = listen.parse().context("--listen")?;
    }
    options.control = args.control.as_ref().map(|text| text.parse().context("--control")).transpose()?;
    options.exporter = args.exporter.as_ref().map(|text| text.parse().context("--exporter")).transpose()?;
    options.tokens = args.tokens.iter().map(|text| Ok(text.parse()?)).collect::<anyhow::Result<_>>()?;
    options.speed = args.speed.unwrap_or(1.0);
    options.seed = args.seed;
    if let Some(millis) = args.delay_401 {
        options.delay_401 = Duration::from_millis(millis);
    }
    Ok(options)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = parse()?;
    let server = Server::start(options(&args)?)?;
    if let Some(path) = &args.ca_file {
        std::fs::write(path, server.ca_pem()).with_context(|| path.display().to_string())?;
    }
    let told = serde_json::json!({
        "endpoints": server.endpoints(),
        "fingerprints": server.fingerprints(),
        "ca_file": args.ca_file,
        "ca_pem": server.ca_pem(),
        "exporters": server.exporters().iter().map(|(node, at)| (node.to_string(), format!("http://{at}/metrics")))
            .collect::<std::collections::BTreeMap<_, _>>(),
        "control": server.control_addr().map(|address| format!("http://{address}")),
    });
    println!("{told}");
    wait_for_the_end().await?;
    server.shutdown().await;
    Ok(())
}

async fn wait_for_the_end() -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (ended, end) = tokio::sync::oneshot::channel();
    // Only of a pipe: what a shell puts in the background reads an end at once that nobody meant.
    if std::fs::metadata("/dev/stdin").is_ok_and(|input| input.file_type().is_fifo()) {
        std::thread::spawn(move || {
            let read = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            ended.send(read.is_ok()).unwrap_or_default();
        });
    } else {
        std::mem::forget(ended);
    }
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        _ = end => {}
    }
    Ok(())
}
