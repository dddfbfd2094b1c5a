//! Secrets: held so that they do not slip out, and read from the places where they may lie.

use std::fmt;
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Longest secret, in bytes. PVE's are UUIDs; a pass phrase is a sentence.
const SECRET_MAX: u64 = 1_024;

/// A text that is shown nowhere: `Debug` hides it, and it has no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    /// As it is.
    pub fn new(secret: impl Into<Box<str>>) -> Secret {
        Secret(secret.into())
    }

    /// For the one place that sends or compares it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// A file's one line.
pub(super) struct FromFile {
    pub(super) secret: Secret,
    /// Whether any user of this machine may read it.
    pub(super) readable_by_all: bool,
}

/// Opens a file of which reading ends: a pipe or a device may keep whoever reads it for ever.
pub(super) fn ordinary(path: &Path) -> std::io::Result<fs::File> {
    if fs::metadata(path)?.is_file() {
        return fs::File::open(path);
    }
    Err(std::io::Error::other("it is no ordinary file"))
}

/// Whether a file can be opened, and whether any user of this machine may read it.
pub(super) fn readable(path: &Path) -> Result<bool, String> {
    let shown = shown(path);
    let about = ordinary(path).and_then(|file| file.metadata());
    let about = about.map_err(|error| format!("{shown} cannot be opened: {error}"))?;
    Ok(about.permissions().mode() & 0o004 != 0)
}

/// The words of an error never hold any of the file's content.
pub(super) fn from_file(path: &Path) -> Result<FromFile, String> {
    let shown = shown(path);
    let file = ordinary(path).map_err(|error| format!("{shown} cannot be opened: {error}"))?;
    let mode =
        file.metadata().map_err(|error| format!("{shown} cannot be read: {error}"))?.permissions().mode();
    let mut text = String::new();
    if let Err(error) = file.take(SECRET_MAX + 1).read_to_string(&mut text) {
        return Err(format!("{shown} cannot be read: {error}"));
    }
    if text.len() as u64 > SECRET_MAX {
        return Err(format!(
            "{shown} holds more than {SECRET_MAX} bytes: it must hold the secret and nothing else"
        ));
    }
    let secret = text.trim();
    if secret.is_empty() {
        return Err(format!("{shown} is empty: it must hold the secret"));
    }
    if secret.lines().count() > 1 {
        return Err(format!("{shown} holds several lines: it must hold the secret and nothing else"));
    }
    Ok(FromFile { secret: Secret::new(secret), readable_by_all: mode & 0o004 != 0 })
}

/// A path for people. One that looks like a token's secret is probably just that, put where its file's name belongs.
fn shown(path: &Path) -> String {
    let text = path.to_string_lossy();
    if looks_secret(&text) {
        "a file (its name looks like the secret itself and is not shown)".into()
    } else {
        format!("`{text}`")
    }
}

/// PVE's token secrets are UUIDs.
pub(super) fn looks_secret(text: &str) -> bool {
    let hex = text.chars().filter(char::is_ascii_hexdigit).count();
    hex >= 32 && text.chars().all(|c| c.is_ascii_hexdigit() || c == '-')
}
