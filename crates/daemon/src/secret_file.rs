//! Secret files: small, readable by their owner only, replaced as a whole or not at all.

use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;

use anyhow::Context;

/// A secret has some hundred bytes; a larger file is something else.
const SIZE_MAX: u64 = 4096;

/// A file with mode 0600.
#[derive(Clone, Debug)]
pub(crate) struct SecretFile(PathBuf);

impl SecretFile {
    pub(crate) fn new(path: PathBuf) -> SecretFile {
        SecretFile(path)
    }

    /// The file's text, or `None` if there is no file. One that others may read is closed to them, with a warning.
    ///
    /// # Errors
    /// It is there and cannot be read, or is no text of a sensible size.
    pub(crate) fn read(&self) -> anyhow::Result<Option<String>> {
        let file = match fs::File::open(&self.0) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("{self} cannot be read")),
        };
        let about = file.metadata().with_context(|| format!("{self} cannot be read"))?;
        if about.permissions().mode() & 0o077 != 0 {
            tracing::warn!("{self} was readable by others; it is closed to them, but may be known");
            file.set_permissions(fs::Permissions::from_mode(0o600))
                .with_context(|| format!("{self} is readable by others and cannot be closed to them"))?;
        }
        let mut text = String::new();
        file.take(SIZE_MAX).read_to_string(&mut text).with_context(|| format!("{self} cannot be read"))?;
        Ok(Some(text))
    }

    /// Replaces the file: after a power cut it holds the old text or the new one.
    ///
    /// # Errors
    /// The folder is not there or not writable, or the disk is full; the old file is then untouched.
    pub(crate) fn write(&self, text: &str) -> anyhow::Result<()> {
        self.replace(text).with_context(|| format!("{self} cannot be written"))
    }

    /// Removes the file; one that is not there is removed.
    ///
    /// # Errors
    /// The folder is not writable.
    pub(crate) fn remove(&self) -> anyhow::Result<()> {
        match fs::remove_file(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("{self} cannot be removed"))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn replace(&self, text: &str) -> io::Result<()> {
        let mut name = self.0.clone().into_os_string();
        name.push(".new");
        let new = PathBuf::from(name);
        // One left by a crash might be open to others; ours is made afresh.
        match fs::remove_file(&new) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        writeln!(file, "{text}")?;
        file.sync_all()?;
        fs::rename(&new, &self.0)?;
        let folder = self.0.parent().filter(|folder| !folder.as_os_str().is_empty());
        fs::File::open(folder.unwrap_or(std::path::Path::new(".")))?.sync_all()
    }
}

impl fmt::Display for SecretFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}
