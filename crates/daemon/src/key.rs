//! Key: the 256 random bits beside the database, with which logins and the journal's ends are signed.
//!
//! One key for all of it, because it is kept, backed up and lost together with the one database. Who signs mixes in
//! what it signs, so that no signature can stand for another.

use std::path::Path;

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::secret_file::SecretFile;

/// The file's name, in the folder of the database.
pub(crate) const NAME: &str = "jarvis.key";

/// The key in `folder`, made on first start.
///
/// # Errors
/// A file that cannot be read, written or understood.
pub(crate) fn read_or_make(folder: &Path) -> anyhow::Result<[u8; 32]> {
    let file = SecretFile::new(folder.join(NAME));
    if let Some(text) = file.read()? {
        return parsed(&file, &text);
    }
    let key = random::<32>()?;
    file.write(&BASE64.encode(key))?;
    Ok(key)
}

/// The key in `folder`, where there is one. Makes and changes nothing.
///
/// # Errors
/// A file that cannot be read or understood.
pub(crate) fn read(folder: &Path) -> anyhow::Result<Option<[u8; 32]>> {
    let file = SecretFile::new(folder.join(NAME));
    file.look()?.map(|text| parsed(&file, &text)).transpose()
}

fn parsed(file: &SecretFile, text: &str) -> anyhow::Result<[u8; 32]> {
    let bytes = BASE64.decode(text.trim()).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    bytes.context("not 32 bytes in base64").with_context(|| {
        format!("{file} does not hold a key; remove it, and a new one is made (every login ends, and the journal notes that it was signed with another)")
    })
}

/// HMAC-SHA-256.
pub(crate) fn mac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    // The fixed-size constructor: a key of 32 bytes cannot be refused.
    let mut block = hmac::digest::Key::<Hmac<Sha256>>::default();
    block[..key.len()].copy_from_slice(key);
    let mut mac = Hmac::<Sha256>::new(&block);
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

/// Random bits of the system.
pub(crate) fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|error| anyhow::anyhow!("the system gives no random bits: {error}"))?;
    Ok(bytes)
}
