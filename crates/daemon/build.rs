//! Build: takes the page into the binary as it lies in `web/dist`, where it was built (`scripts/web.sh`).
//!
//! Without it the daemon compiles all the same, and serves a page that says how to build the real one. The folder itself
//! is under git's control, because cargo runs a build script at every build whose watched path is not there.

#![allow(clippy::print_stdout, reason = "this is how a build script speaks to cargo")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let dist = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../web/dist").canonicalize()?;
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={}", dist.display());
    let mut files = Vec::new();
    collect(&dist, &mut files)?;
    files.sort();
    let mut table = String::from("&[\n");
    for file in &files {
        let name = file.strip_prefix(&dist).map_err(io::Error::other)?.to_string_lossy().into_owned();
        if name.starts_with('.') || name.ends_with(".gz") {
            continue;
        }
        let packed = PathBuf::from(format!("{}.gz", file.display()));
        let gzip = match packed.exists() {
            true => format!("Some(include_bytes!({packed:?}))"),
            false => "None".to_owned(),
        };
        writeln!(
            table,
            "    File {{ path: {:?}, plain: include_bytes!({file:?}), gzip: {gzip} }},",
            format!("/{name}")
        )
        .map_err(io::Error::other)?;
    }
    table.push_str("]\n");
    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo names no OUT_DIR"))?;
    fs::write(Path::new(&out).join("site.rs"), table)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => collect(&entry.path(), files)?,
            false => files.push(entry.path()),
        }
    }
    Ok(())
}
