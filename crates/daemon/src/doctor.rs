//! Doctor: whether everything is set up so that Jarvis can watch and act, and the commands that mend what is not. Reads only.
//!
//! What a cluster is asked is in `observe::doctor`; here it is printed, and the store is looked at.

use std::fmt::{self, Write};
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::bail;
use jiff::Timestamp;

use crate::clock::Clock;
use crate::config::{self, Config};
use crate::daemon::Settings;
use crate::key;
use crate::observe::doctor::{Finding, Mark, examine};
use crate::ops::print;
use crate::record::{self, Looked};

const MIB: u64 = 1024 * 1024;
/// Less room than this is soon gone: the write-ahead log alone may take 64 MiB.
const ROOM_LEAST: u64 = 200 * MIB;
/// What the database comes to in a month of a large cluster.
const STORE_GROWS: u64 = 2_048 * MIB;

/// Looks at everything and prints it.
///
/// # Errors
/// Something is missing.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let mut told = Told::default();
    told.section("store", of_store(&config.store, config.clusters.len()).await);
    let (level, standby) = (config.autonomy_level, config.standby);
    let Settings { clusters, machine, .. } = Settings::from_config(config)?;
    let machine = Arc::new(machine);
    for cluster in clusters {
        let patient = cluster.patient(&Clock::wall(), &machine, level, standby)?;
        let found = examine(&patient, Timestamp::now).await;
        told.section(&format!("cluster {}", patient.name), found);
    }
    print(&told.to_string())?;
    match told.missing {
        0 => Ok(()),
        1 => bail!("one thing is missing; it is marked above"),
        n => bail!("{n} things are missing; they are marked above"),
    }
}

/// All that was found.
#[derive(Default)]
struct Told {
    text: String,
    missing: usize,
    /// Whether there are commands, and whether some of them give rights.
    mends: bool,
    grants: bool,
}

impl Told {
    fn section(&mut self, title: &str, found: Vec<Finding>) {
        let width = found.iter().map(|finding| finding.what.chars().count()).max().unwrap_or(0);
        // Writing to a string cannot fail.
        writeln!(self.text, "{title}").unwrap_or_default();
        for Finding { mark, what, words, mend, refused: _ } in found {
            let sign = match mark {
                Mark::Well => "ok",
                Mark::Note => "note",
                Mark::Missing => "MISSING",
            };
            self.missing += usize::from(mark == Mark::Missing);
            self.mends |= !mend.is_empty();
            for (line, words) in words.iter().enumerate() {
                let (sign, what) = if line == 0 { (sign, &*what) } else { ("", "") };
                writeln!(self.text, "  {sign:<7}  {what:<width$}  {words}").unwrap_or_default();
            }
            for command in mend {
                self.grants |= command.starts_with("pveum acl");
                writeln!(self.text, "      {command}").unwrap_or_default();
            }
        }
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        if self.mends {
            writeln!(
                f,
                "the indented lines are commands for root: chmod here, the others on a node of the cluster"
            )?;
        }
        if self.grants {
            writeln!(
                f,
                "an entry on a deeper path (/vms, /nodes) replaces what is inherited: name there every role that was given on /"
            )?;
        }
        Ok(())
    }
}

async fn of_store(store: &config::Store, clusters: usize) -> Vec<Finding> {
    let mut found = Vec::new();
    // By the one path of the file, as the daemon has it: what lies beside it lies beside that one.
    let path = fs::canonicalize(&store.path).unwrap_or_else(|_| store.path.clone());
    let shown = path.display();
    let looked = match fs::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            found.push(Finding::new(Mark::Well, "database", format!("{shown} is made at the first start")));
            None
        }
        Err(error) => {
            found.push(Finding::new(
                Mark::Missing,
                "database",
                format!("{shown} cannot be looked at: {error}"),
            ));
            None
        }
        Ok(about) => match record::look(&path).await {
            Ok(looked) => {
                found.push(database(&path, &about, looked));
                Some(looked)
            }
            Err(error) => {
                found.push(Finding::new(
                    Mark::Missing,
                    "database",
                    format!("{shown} cannot be read: {error}"),
                ));
                None
            }
        },
    };
    let used = looked.is_some_and(|looked| looked.journal > 0);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    found.push(beside(
        "key",
        &folder.join(key::NAME),
        used,
        "put back the one of the same backup: the journal was signed with it",
    ));
    let mut head = path.as_os_str().to_owned();
    head.push(".head");
    found.push(beside(
        "journal's head",
        &PathBuf::from(head),
        used,
        "was it left out of a backup? without it a cut journal does not show",
    ));
    found.push(room(folder, store, clusters));
    found
}

fn database(path: &Path, about: &fs::Metadata, looked: Looked) -> Finding {
    let shown = path.display();
    let mut finding = match looked {
        Looked { newer: true, schema, .. } => {
            let schema = schema.unwrap_or_default();
            Finding::new(
                Mark::Missing,
                "database",
                format!("{shown} is of a newer jarvis (schema {schema}): start that one"),
            )
        }
        Looked { schema: None, .. } => {
            let words =
                format!("{shown} is of the original, or empty; it is brought up to date at the first start");
            Finding::new(Mark::Well, "database", words)
        }
        Looked { schema: Some(schema), journal, .. } => Finding::new(
            Mark::Well,
            "database",
            format!("{shown} can be read: schema {schema}, journal at row {journal}"),
        ),
    };
    finding.words.push(match holder(about.ino()) {
        Some(process) => format!("in use by process {process}"),
        None => "no daemon has it open".to_owned(),
    });
    if about.permissions().mode() & 0o077 != 0 {
        finding.words.push("others may read it".into());
        finding.mark = if finding.mark == Mark::Well { Mark::Note } else { finding.mark };
        finding = finding.mended_by(format!("chmod 600 '{shown}'"));
    }
    finding
}

/// Who holds the lock on a file, by the kernel's list. To try the lock would keep out a daemon that starts at that moment.
fn holder(inode: u64) -> Option<u32> {
    let locks = fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| {
        // `1: FLOCK  ADVISORY  WRITE 4711 08:01:131 0 EOF`
        let mut words = line.split_whitespace().skip(1);
        let (kind, process) = (words.next()?, words.nth(2)?);
        let of: u64 = words.next()?.rsplit(':').next()?.parse().ok()?;
        (kind == "FLOCK" && of == inode).then(|| process.parse().ok()).flatten()
    })
}

/// A secret file beside the database.
fn beside(what: &str, path: &Path, used: bool, lost: &str) -> Finding {
    let shown = path.display();
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && !used => {
            Finding::new(Mark::Well, what, format!("{shown} is made at the first start"))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Finding::new(Mark::Missing, what, format!("{shown} is not there; {lost}"))
        }
        Err(error) => Finding::new(Mark::Missing, what, format!("{shown} cannot be looked at: {error}")),
        Ok(about) if !about.is_file() => Finding::new(
            Mark::Missing,
            what,
            format!("{shown} is no ordinary file, and is not followed to another"),
        ),
        Ok(about) => {
            let mode = about.permissions().mode() & 0o777;
            let private = mode & 0o077 == 0;
            let words = format!(
                "{shown} has mode {mode:04o}{}",
                if private { "" } else { ": others may have read it" }
            );
            let finding = Finding::new(if private { Mark::Well } else { Mark::Missing }, what, words);
            if private { finding } else { finding.mended_by(format!("chmod 600 '{shown}'")) }
        }
    }
}

/// Whether the disk has room for what is kept.
fn room(folder: &Path, store: &config::Store, clusters: usize) -> Finding {
    let mut there = folder;
    while !there.exists() {
        match there.parent() {
            Some(above) if !above.as_os_str().is_empty() => there = above,
            Some(_) | None => there = Path::new("."),
        }
    }
    let room = match rustix::fs::statvfs(there) {
        Ok(about) => about.f_bavail.saturating_mul(about.f_frsize),
        Err(error) => {
            return Finding::new(Mark::Note, "room", format!("of {} is not known: {error}", there.display()));
        }
    };
    let tapes = if store.tape_days > 0 { u64::from(store.tape_mib) * MIB * clusters as u64 } else { 0 };
    let wanted = STORE_GROWS.saturating_add(tapes);
    let words = format!("{} MiB free at {}", room / MIB, there.display());
    match room {
        0..ROOM_LEAST => {
            Finding::new(Mark::Missing, "room", format!("{words}: what cannot be stored is not done"))
        }
        _ if room < wanted => Finding::new(
            Mark::Note,
            "room",
            format!("{words}; database and tapes may come to {} MiB", wanted / MIB),
        ),
        _ => Finding::new(Mark::Well, "room", words),
    }
}
