//! What every test of the configuration begins with: the least that is complete, and files that go with the test.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use daemon::config::{Config, ConfigError};

/// Appears in every configuration, and nowhere in what is said about it.
pub(crate) const SECRET: &str = "3f0c7d2e-0d3b-4a51-9c8e-2b1f6a7d9e10";

pub(crate) const PIN: &str =
    "00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:ff";

/// As ssh-keygen begins one; what follows is nobody's.
pub(crate) const PRIVATE_KEY: &str =
    "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjE\n-----END OPENSSH PRIVATE KEY-----\n";

/// The least that is complete; each test adds to it, or breaks a line of it.
pub(crate) const MINIMAL: &str = r#"[[cluster]]
name = "lab"
endpoints = ["https://10.0.0.11:8006"]
token_id = "jarvis@pve!observe"
token_secret_env = "LAB_SECRET"
fingerprint = "PIN"
"#;

/// Names and values of the environment.
pub(crate) type Variables<'a> = &'a [(&'a str, &'a str)];

pub(crate) fn load(text: &str, env: Variables) -> Result<Config, ConfigError> {
    let env = |name: &str| {
        let given = env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        given.or_else(|| (name == "LAB_SECRET").then(|| SECRET.to_owned()))
    };
    Config::from_text("jarvis.toml", &text.replace("PIN", PIN), &env)
}

/// What is said of a bad configuration; the secret is never part of it.
#[track_caller]
pub(crate) fn complaint(name: &str, text: &str, env: Variables) -> String {
    let error = match load(text, env) {
        Ok(_) => panic!("{name}: nothing is wrong with it"),
        Err(error) => error,
    };
    let shown = format!("{error}");
    assert!(
        !shown.contains(SECRET) && !format!("{error:?}").contains(SECRET),
        "{name} shows a secret: {shown}"
    );
    shown
}

/// A folder that goes with the test.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Folder {
        let folder = std::env::temp_dir().join(format!("jarvis-config-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&folder).unwrap();
        Folder(folder)
    }

    pub(crate) fn file(&self, name: &str, content: &str, mode: u32) -> String {
        let path = self.0.join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path.display().to_string()
    }

    /// The words without this folder's name.
    pub(crate) fn strip(&self, words: &str) -> String {
        words.replace(&self.0.display().to_string(), "DIR")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap_or_default();
    }
}
