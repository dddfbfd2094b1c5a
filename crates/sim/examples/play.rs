//! Plays a scenario and prints its log: `play FILE`.
#![allow(clippy::print_stdout, reason = "the log is its output")]

use anyhow::Context as _;
use sim::script::Script;

fn main() -> anyhow::Result<()> {
    let path = std::env::args().nth(1).context("which scenario? give its scenario.txt")?;
    let text = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    let report = sim::run::run(&Script::parse(&text)?)?;
    print!("{}", report.log);
    for line in &report.repeated {
        println!("asked for again: {line}");
    }
    Ok(())
}
