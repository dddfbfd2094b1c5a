//! Tls: the certificate that the listener shows, read anew when its files change.
//!
//! Certificates are renewed by other programs, mostly at night. So the files are looked at each minute; a pair that is
//! broken, or half written, leaves the old one in use and is told once; files that cannot be read are told each time.
//! It asks no client for a certificate.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::{Context, ensure};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::supervise::Stop;

/// How often the files are looked at.
pub(super) const LOOKED_AT_EVERY: Duration = Duration::from_secs(60);
/// Largest file, in bytes. A chain has some 10 KB.
const FILE_MAX: u64 = 1024 * 1024;

/// Where the certificate and its key lie, both as PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, and those that lead to its root.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// The pair in use.
pub(super) struct Tls {
    files: TlsFiles,
    used: RwLock<Arc<ServerConfig>>,
}

/// Which of the two files is of no use, and why.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Useless {
    /// The certificate's.
    #[error("server.tls_cert: {0}")]
    Cert(String),
    /// The key's; also where it is another certificate's.
    #[error("server.tls_key: {0}")]
    Key(String),
}

/// Whether the files can be used as they are now.
///
/// # Errors
/// See [`Useless`].
pub(crate) fn check(files: &TlsFiles) -> Result<(), Useless> {
    let cert = read_file(&files.cert).map_err(|error| Useless::Cert(format!("{error:#}")))?;
    let key = read_file(&files.key).map_err(|error| Useless::Key(format!("{error:#}")))?;
    config(files, &cert, &key).map(drop)
}

/// What the files held, to know them again.
type Seen = [u8; 32];

impl Tls {
    /// Reads the files, and what they held.
    ///
    /// # Errors
    /// A file that cannot be read or holds something else, or a key that is another certificate's.
    pub(super) fn load(files: TlsFiles) -> anyhow::Result<(Tls, Seen)> {
        let (config, seen) = read(&files)?;
        Ok((Tls { files, used: RwLock::new(Arc::new(config?)) }, seen))
    }

    /// The handshake; the caller bounds its time.
    ///
    /// # Errors
    /// The other end speaks no TLS that we would.
    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let config = self.used.read().unwrap_or_else(PoisonError::into_inner).clone();
        TlsAcceptor::from(config).accept(stream).await
    }

    /// Looks at the files until the stop.
    pub(super) async fn keep(self: Arc<Tls>, mut seen: Seen, every: Duration, mut stop: Stop) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(every) => {}
                () = stop.asked() => return,
            }
            let tls = self.clone();
            let looked = tokio::task::spawn_blocking(move || tls.look(seen)).await;
            seen = looked.unwrap_or(seen);
        }
    }

    /// Takes what is new in the files, and says what is wrong with it; says it once.
    fn look(&self, before: Seen) -> Seen {
        let (config, seen) = match read(&self.files) {
            Ok(read) => read,
            Err(error) => {
                // Each minute until somebody comes: a file that is gone is no small thing.
                tracing::warn!("the certificate was not looked at, and the old one stays in use: {error:#}");
                return before;
            }
        };
        if seen == before {
            return seen;
        }
        match config {
            Ok(config) => {
                *self.used.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
                tracing::info!("a new certificate is in use: {}", self.files.cert.display());
            }
            Err(error) => {
                tracing::error!("the new certificate is of no use, and the old one stays in use: {error:#}");
            }
        }
        seen
    }
}

/// What the files hold, and what it makes.
fn read(files: &TlsFiles) -> anyhow::Result<(anyhow::Result<ServerConfig>, Seen)> {
    let cert = read_file(&files.cert).context("server.tls_cert")?;
    let key = read_file(&files.key).context("server.tls_key")?;
    let mut seen = Sha256::new();
    seen.update((cert.len() as u64).to_be_bytes());
    seen.update(&cert);
    seen.update(&key);
    Ok((config(files, &cert, &key).map_err(anyhow::Error::from), seen.finalize().into()))
}

fn read_file(path: &Path) -> anyhow::Result<Vec<u8>> {
    let shown = path.display();
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(FILE_MAX + 1).read_to_end(&mut bytes))
        .with_context(|| format!("{shown} cannot be read"))?;
    ensure!(bytes.len() as u64 <= FILE_MAX, "{shown} is larger than {FILE_MAX} bytes");
    Ok(bytes)
}

/// TLS 1.3 and 1.2, HTTP/1.1 alone.
fn config(files: &TlsFiles, cert: &[u8], key: &[u8]) -> Result<ServerConfig, Useless> {
    let shown = files.cert.display();
    let bad = |words: String| Useless::Cert(format!("{shown} {words}"));
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(cert).collect();
    let chain = chain.map_err(|error| bad(format!("is no PEM: {error}")))?;
    if chain.is_empty() {
        return Err(bad("holds no certificate: it must be PEM".into()));
    }
    // Without the cause: it would speak of what is in the file.
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| {
        let words = "holds no private key: it must be PEM, and not encrypted";
        Useless::Key(format!("{} {words}", files.key.display()))
    })?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| bad(format!("cannot be used: {error}")))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| {
            if matches!(error, rustls::Error::InconsistentKeys(_)) {
                // Of a chain in a wrong order, or the key of before it was renewed.
                return Useless::Key(format!(
                    "{} is not the key of {shown}: the certificate that was made with it must come first in that file",
                    files.key.display()
                ));
            }
            if let rustls::Error::InvalidCertificate(error) = error {
                return bad(format!("holds a certificate that is of no use: {error}"));
            }
            Useless::Key(format!("{} cannot be used: {error}", files.key.display()))
        })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What another program does at night: it may be looked at in the middle of it.
    #[test]
    fn a_broken_pair_leaves_the_old_one_in_use() {
        let folder = std::env::temp_dir().join(format!("jarvis-tls-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&folder).unwrap();
        let files = TlsFiles { cert: folder.join("cert.pem"), key: folder.join("key.pem") };
        let make = || rcgen::generate_simple_self_signed(["jarvis.lan".to_owned()]).unwrap();
        let (one, two) = (make(), make());
        std::fs::write(&files.cert, one.cert.pem()).unwrap();
        std::fs::write(&files.key, one.signing_key.serialize_pem()).unwrap();
        let (tls, mut seen) = Tls::load(files.clone()).unwrap();
        let used = || Arc::as_ptr(&tls.used.read().unwrap());
        let first = used();
        let steps: [(&str, &Path, Option<String>, bool); 6] = [
            ("nothing new", &files.cert, Some(one.cert.pem()), true),
            ("the certificate without its key", &files.cert, Some(two.cert.pem()), true),
            ("half a certificate", &files.cert, Some(two.cert.pem()[..100].to_owned()), true),
            ("no certificate", &files.cert, None, true),
            ("the new key", &files.key, Some(two.signing_key.serialize_pem()), true),
            ("the new pair", &files.cert, Some(two.cert.pem()), false),
        ];
        for (name, file, text, kept) in steps {
            match text {
                Some(text) => std::fs::write(file, text).unwrap(),
                None => std::fs::remove_file(file).unwrap(),
            }
            seen = tls.look(seen);
            assert_eq!(used() == first, kept, "{name}");
        }
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn each_way_in_which_a_pair_is_of_no_use() {
        let folder = std::env::temp_dir().join(format!("jarvis-tls-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&folder).unwrap();
        let make = || rcgen::generate_simple_self_signed(["jarvis.lan".to_owned()]).unwrap();
        let (one, other) = (make(), make());
        let (cert, key) = (one.cert.pem(), one.signing_key.serialize_pem());
        let table: [(&str, Option<&str>, &str, Option<&str>); 7] = [
            ("a pair", Some(&cert), &key, None),
            ("both in one file", Some(&format!("{key}{cert}")), &format!("{cert}{key}"), None),
            ("no file", None, &key, Some("cannot be read")),
            ("an empty certificate", Some(""), &key, Some("holds no certificate")),
            ("a certificate cut off", Some(&cert[..100]), &key, Some("is no PEM")),
            ("a key that is none", Some(&cert), "secret", Some("holds no private key")),
            (
                "another certificate's key",
                Some(&cert),
                &other.signing_key.serialize_pem(),
                Some("is not the key of"),
            ),
        ];
        for (name, cert, key, expected) in table {
            let files = TlsFiles { cert: folder.join("cert.pem"), key: folder.join("key.pem") };
            drop(std::fs::remove_file(&files.cert));
            if let Some(cert) = cert {
                std::fs::write(&files.cert, cert).unwrap();
            }
            std::fs::write(&files.key, key).unwrap();
            let loaded = Tls::load(files).err().map(|error| format!("{error:#}"));
            let fits = match (&loaded, expected) {
                (None, None) => true,
                (Some(words), Some(part)) => words.contains(part) && !words.contains("secret"),
                (None, Some(_)) | (Some(_), None) => false,
            };
            assert!(fits, "{name}: {loaded:?}");
        }
        std::fs::remove_dir_all(folder).unwrap();
    }
}
