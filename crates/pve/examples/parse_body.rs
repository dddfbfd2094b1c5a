//! Prints what is understood of an answer of PVE: `cargo run -p pve --example parse_body FILE`.
//!
//! FILE is a recorded answer (`crates/pve/tests/answers/*.json`), which names its own path, or a raw body together
//! with the path it came from: `parse_body FILE --path /api2/json/cluster/resources`. Ends with 1 if something was
//! not understood.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command: its output is its purpose")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::process::ExitCode;

use common::{Answer, Report};
use serde::Deserialize;

const USAGE: &str =
    "usage: parse_body FILE [--path /api2/json/PATH] [--method POST] [--status 500] [--reason TEXT]";
/// As many as fit a screen; the count says how many there are.
const SHOWN_MAX: usize = 20;

struct Arguments {
    file: String,
    path: Option<String>,
    method: String,
    status: u16,
    reason: String,
}

impl Arguments {
    fn parse(mut given: impl Iterator<Item = String>) -> Result<Arguments, String> {
        let mut file = None;
        let mut read = Arguments {
            file: String::new(),
            path: None,
            method: "GET".into(),
            status: 200,
            reason: String::new(),
        };
        while let Some(argument) = given.next() {
            let mut value = || given.next().ok_or_else(|| format!("{argument} needs a value\n{USAGE}"));
            match argument.as_str() {
                "--path" => read.path = Some(value()?),
                "--method" => read.method = value()?.to_uppercase(),
                "--status" => {
                    let text = value()?;
                    read.status =
                        text.parse().map_err(|_| format!("`{text}` is not an HTTP status\n{USAGE}"))?;
                }
                "--reason" => read.reason = value()?,
                option if option.starts_with("--") => return Err(format!("`{option}` is unknown\n{USAGE}")),
                _ if file.is_some() => return Err(format!("one file at a time\n{USAGE}")),
                _ => file = Some(argument),
            }
        }
        read.file = file.ok_or_else(|| format!("no file was named\n{USAGE}"))?;
        Ok(read)
    }
}

#[derive(Deserialize)]
struct Recorded {
    request: Request,
    response: Response,
}

#[derive(Deserialize)]
struct Request {
    method: String,
    path: String,
}

#[derive(Deserialize)]
struct Response {
    status_line: String,
    raw_body: String,
}

fn main() -> ExitCode {
    if std::env::args().any(|argument| ["--help", "-h"].contains(&argument.as_str())) {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<ExitCode, String> {
    let arguments = Arguments::parse(std::env::args().skip(1))?;
    let file = &arguments.file;
    let bytes = std::fs::read(file).map_err(|error| format!("{file} cannot be read: {error}"))?;
    let recorded: Recorded;
    let answer = if let Some(path) = &arguments.path {
        let Arguments { method, status, reason, .. } = &arguments;
        Answer { method, path, status: *status, reason, body: &bytes }
    } else {
        recorded = serde_json::from_slice(&bytes).map_err(|error| {
            format!("{file} is not a recorded answer ({error}); for a raw body, say where it came from: --path /api2/json/..")
        })?;
        from_recording(&recorded).ok_or_else(|| {
            format!("{file} has a status line that cannot be read: `{}`", recorded.response.status_line)
        })?
    };
    println!(
        "{} {}: {} {}, {} bytes",
        answer.method,
        answer.path,
        answer.status,
        answer.reason,
        answer.body.len()
    );
    let Some(read) = common::read(&answer) else {
        return Err(format!(
            "{} {} is no call that is used here; see tests/common/mod.rs",
            answer.method, answer.path
        ));
    };
    Ok(match read {
        Ok(report) => print(&report),
        Err(error) => {
            println!("  {error}");
            // A refusal that is understood is understood.
            let understood = !matches!(error, pve::Error::Malformed { .. });
            if understood { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
    })
}

fn from_recording(recorded: &Recorded) -> Option<Answer<'_>> {
    let (_, rest) = recorded.response.status_line.split_once(' ')?;
    let (status, reason) = rest.split_once(' ').unwrap_or((rest, ""));
    Some(Answer {
        method: &recorded.request.method,
        path: &recorded.request.path,
        status: status.parse().ok()?,
        reason,
        body: recorded.response.raw_body.as_bytes(),
    })
}

fn print(report: &Report) -> ExitCode {
    println!("{}: {} rows", report.kind, report.total());
    print_counts(&report.rows);
    let unreadable = report.unreadable.iter().map(|row| {
        let subject = row.subject.as_deref().unwrap_or("nothing that names it");
        format!("row {} ({subject}): {}", row.index, row.why)
    });
    print_list("unreadable rows", report.unreadable.len(), unreadable);
    print_list("unknown values", report.unknown_words.len(), report.unknown_words.iter().map(times));
    print_list("unknown keys", report.unknown_keys.len(), report.unknown_keys.iter().map(times));
    let all =
        report.unreadable.is_empty() && report.unknown_words.is_empty() && report.unknown_keys.is_empty();
    if all { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn print_counts(counts: &BTreeMap<String, usize>) {
    for (kind, count) in counts {
        println!("  {count:>6}  {kind}");
    }
}

fn print_list(title: &str, count: usize, lines: impl Iterator<Item = impl Display>) {
    println!("{title}: {}", if count == 0 { "none".to_owned() } else { count.to_string() });
    for line in lines.take(SHOWN_MAX) {
        println!("  {line}");
    }
    if count > SHOWN_MAX {
        println!("  and {} more", count - SHOWN_MAX);
    }
}

fn times((what, count): (&String, &usize)) -> String {
    format!("{what} ({count} times)")
}
