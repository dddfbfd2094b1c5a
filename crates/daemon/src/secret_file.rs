//! Secret files: small, readable by their owner only, replaced as a whole or not at all.
//!
//! A symbolic link is never followed: whoever may write to the folder could point it at a file of ours that is not meant, and
//! the command line is at times called by root. Nor is the mode of somebody else's file touched.

use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::kill_point;

/// A secret has some hundred bytes; a larger file is something else.
const SIZE_MAX: u64 = 4096;

/// A file with mode 0600.
#[derive(Clone, Debug)]
pub(crate) struct SecretFile(PathBuf);

impl SecretFile {
    pub(crate) fn new(path: PathBuf) -> SecretFile {
        SecretFile(path)
    }

    /// The file's text, or `None` if there is no file. One of ours that others may read is closed to them, with a warning.
    ///
    /// # Errors
    /// It is there and cannot be read, or is a link, or is no text of a sensible size.
    pub(crate) fn read(&self) -> anyhow::Result<Option<String>> {
        self.text(|file, about| {
            if about.permissions().mode() & 0o077 == 0 {
                return Ok(());
            }
            if about.uid() != rustix::process::geteuid().as_raw() {
                tracing::warn!(
                    "{self} is readable by others and belongs to another user (number {})",
                    about.uid()
                );
                return Ok(());
            }
            tracing::warn!("{self} was readable by others; it is closed to them, but may be known");
            file.set_permissions(fs::Permissions::from_mode(0o600))
                .with_context(|| format!("{self} is readable by others and cannot be closed to them"))
        })
    }

    /// As [`SecretFile::read`], and leaves the file as it is.
    ///
    /// # Errors
    /// As [`SecretFile::read`].
    pub(crate) fn look(&self) -> anyhow::Result<Option<String>> {
        self.text(|_, _| Ok(()))
    }

    fn text(
        &self,
        judge: impl FnOnce(&fs::File, &fs::Metadata) -> anyhow::Result<()>,
    ) -> anyhow::Result<Option<String>> {
        let unreadable = || format!("{self} cannot be read");
        let file = match open_itself(&self.0, fs::OpenOptions::new().read(true)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(unreadable),
        };
        judge(&file, &file.metadata().with_context(unreadable)?)?;
        let mut text = String::new();
        file.take(SIZE_MAX).read_to_string(&mut text).with_context(unreadable)?;
        Ok(Some(text))
    }

    /// Whether there is one, whatever is in it.
    pub(crate) fn is_there(&self) -> bool {
        fs::symlink_metadata(&self.0).is_ok()
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
        kill_point::at("file.written");
        fs::rename(&new, &self.0)?;
        let folder = self.0.parent().filter(|folder| !folder.as_os_str().is_empty());
        fs::File::open(folder.unwrap_or(std::path::Path::new(".")))?.sync_all()
    }
}

/// Opens a file that is there, and nothing that it points to.
///
/// # Errors
/// There is none, it cannot be opened, or it is something else.
pub(crate) fn open_itself(path: &Path, options: &fs::OpenOptions) -> io::Result<fs::File> {
    let about = fs::symlink_metadata(path)?;
    if about.is_symlink() {
        return Err(io::Error::other(
            "it is a symbolic link, which is not followed: put the file itself there",
        ));
    }
    if !about.is_file() {
        return Err(io::Error::other("it is no ordinary file"));
    }
    let file = options.open(path)?;
    let opened = file.metadata()?;
    // Between the two somebody may have put a link there.
    if (opened.dev(), opened.ino()) != (about.dev(), about.ino()) {
        return Err(io::Error::other("it was replaced while it was opened"));
    }
    Ok(file)
}

impl fmt::Display for SecretFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_not_followed_and_who_only_looks_changes_nothing() {
        let folder = std::env::temp_dir().join(format!("jarvis-secret-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&folder).unwrap();
        let (target, link, own) = (folder.join("target"), folder.join("link"), folder.join("own"));
        for path in [&target, &own] {
            fs::write(path, "secret").unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
        }
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let linked = SecretFile::new(link.clone());
        for read in [linked.read(), linked.look()] {
            let error = format!("{:#}", read.unwrap_err());
            assert!(error.contains("symbolic link") && !error.contains("secret\n"), "{error}");
        }
        assert_eq!(mode(&target), 0o644, "what it points to is left alone");
        let file = SecretFile::new(own.clone());
        assert_eq!((file.look().unwrap().as_deref(), mode(&own)), (Some("secret"), 0o644));
        assert_eq!((file.read().unwrap().as_deref(), mode(&own)), (Some("secret"), 0o600));
        linked.write("ours").unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "secret", "the link is replaced, not followed");
        assert_eq!(linked.look().unwrap().as_deref(), Some("ours\n"));
        assert!(SecretFile::new(folder.join("none")).look().unwrap().is_none());
        assert!(SecretFile::new(folder.clone()).look().is_err(), "a folder");
        fs::remove_dir_all(folder).unwrap();
    }
}
