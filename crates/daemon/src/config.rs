//! Config: the settings, as typed ([`typed`]) and as used ([`Config`]), and every way in which they can be wrong.
//!
//! The only place that reads the environment, through one function, so that a test can hand in another one. A
//! setting has a reader or is refused: keys that only a later version understands are named as such.

mod check;
mod cluster;
mod describe;
mod marks;
mod runbook;
mod secret;
mod tell;
mod temperature;
mod tree;
mod typed;

use std::fmt;
use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use engine::observe::{ClusterName, Subject};
use engine::policy::Policy;
use engine::report::Severity;
use toml::de::DeTable;

use tree::Problems;

pub use describe::describe;
pub use secret::Secret;

/// Where the configuration is looked for when nobody says where it is.
const DEFAULT_FILE: &str = "jarvis.toml";
/// Largest configuration, in bytes: a hundred clusters with all their lists.
const FILE_MAX: u64 = 1024 * 1024;

/// The settings as used: checked and complete.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[server]`
    pub server: Server,
    /// `[store]`
    pub store: Store,
    /// `autonomy.level`, 0 to 4: where a fresh store starts, and a ceiling.
    pub autonomy_level: u8,
    /// `autonomy.standby`: this Jarvis only watches.
    pub standby: bool,
    /// `[tiers]`
    pub tiers: Tiers,
    /// At least one; the first one is what the old calls speak of.
    pub clusters: Vec<Cluster>,
    /// Who is told by mail and webhook.
    pub told: Told,
    /// What is allowed but should be known, each a sentence for the log.
    pub warnings: Vec<String>,
    /// Every setting with its source, in the order of the file.
    settings: Vec<Setting>,
}

/// What a command needs to find the daemon of its machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The certificate that it shows, where it speaks TLS itself.
    pub tls_cert: Option<PathBuf>,
    /// Its store; its key lies beside it.
    pub store: PathBuf,
    /// The highest level that an operator may set.
    pub autonomy_level: u8,
}

/// How the daemon is reached.
#[derive(Clone, Debug)]
pub struct Server {
    /// Where it listens. Beyond loopback only with `tls` or `behind_proxy`.
    pub listen: SocketAddr,
    /// Other origins that may call the API and the sockets: `https://host` or `https://host:port`.
    pub allowed_origins: Vec<String>,
    /// Proxies whose word about the caller's address is believed.
    pub behind_proxy: Vec<IpAddr>,
    /// The certificate that it shows, where it speaks TLS itself.
    pub tls: Option<Tls>,
    /// The admin's password, where one is given.
    pub password: Option<Secret>,
}

/// The listener's certificate and its key, both PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The certificate, and those that lead to its root.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Who is told by mail and webhook.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// `server.public_url`, without a slash at the end: where links lead.
    pub public_url: Option<String>,
    /// `[mail]`
    pub mail: Option<Mail>,
    /// `[[webhook]]`
    pub webhooks: Vec<Webhook>,
}

/// A mail server, and to whom it is to bring mails.
#[derive(Clone, Debug)]
pub struct Mail {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How what travels is sealed.
    pub tls: MailTls,
    /// `Jarvis <jarvis@example.org>`
    pub from: String,
    /// At least one address, each once.
    pub to: Vec<String>,
    /// Who logs in, and with which password.
    pub login: Option<(String, Secret)>,
    /// The authority that vouches for the server; `None`: those of this machine.
    pub ca_pem: Option<Vec<u8>>,
    /// The least severity that is told of in reports.
    pub least: Severity,
}

/// How mails are sealed on their way to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailTls {
    /// The connection begins in clear and is sealed before anything is said.
    Starttls,
    /// It is sealed from the start.
    Implicit,
    /// Not at all.
    None,
}

/// An address that is called.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// Unique among them.
    pub name: String,
    /// Where; whoever knows it may be all that the other side asks for.
    pub url: Secret,
    /// With what calls are signed.
    pub secret: Secret,
    /// The authority that vouches for it; `None`: those of this machine.
    pub ca_pem: Option<Vec<u8>>,
    /// The least severity that is told of in reports.
    pub least: Severity,
}

/// Where and how long things are kept.
#[derive(Clone, Debug)]
pub struct Store {
    /// The database file.
    pub path: PathBuf,
    /// Age at which events, actions and snapshots are taken away.
    pub retention_days: u32,
    /// Age at which a tape is taken away; zero: none is kept.
    pub tape_days: u32,
    /// What the tape of one cluster may take, in MiB.
    pub tape_mib: u32,
}

/// How often the cluster is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiers {
    /// The alarm.
    pub live: Live,
    /// State changes.
    pub critical: Duration,
    /// Thresholds.
    pub important: Duration,
    /// Heartbeat.
    pub routine: Duration,
    /// Storage capacity, retention.
    pub background: Duration,
}

/// Whether there is a live tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Live {
    /// `live = "off"`
    Off,
    /// How often.
    Every(Duration),
}

/// One watched cluster.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Unique among them.
    pub name: ClusterName,
    /// At least one, each once, in the order in which they are tried.
    pub endpoints: Vec<Endpoint>,
    /// `user@realm!token`
    pub token_id: String,
    /// The token's secret.
    pub token_secret: Secret,
    /// A second token's id and secret, for acts only.
    pub act_token: Option<(String, Secret)>,
    /// What the engine goes by: marks and what is ignored.
    pub policy: Policy,
    /// Alert, never act.
    pub protect: Vec<Selector>,
    /// Where Jarvis itself runs.
    pub own: Option<Subject>,
    /// Where the packets go that wake its nodes when no node can be asked to send them.
    pub magic_packet_to: SocketAddr,
    /// Where its nodes' sensors are read, if anywhere.
    pub temperature: Option<Temperature>,
}

/// Where the sensors of a cluster's nodes are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Temperature {
    /// From node_exporter.
    NodeExporter {
        /// `http://{node}:9100/metrics`: `{node}` becomes the node's name; without it there is a single node.
        url: String,
    },
    /// From the nodes' own files, with the system's ssh.
    Ssh {
        /// Whom to log in as.
        user: String,
        /// A private key that only we may read, from the root.
        key_file: PathBuf,
    },
}

/// One address of a cluster's API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// A name or an address; an IPv6 address without brackets.
    pub host: String,
    /// 8006 unless given.
    pub port: u16,
    /// How its certificate is judged.
    pub trust: Trust,
}

impl Endpoint {
    /// `https://HOST:PORT`, without a slash at the end.
    pub fn url(&self) -> String {
        let Endpoint { host, port, .. } = self;
        if host.contains(':') { format!("https://[{host}]:{port}") } else { format!("https://{host}:{port}") }
    }
}

/// How an endpoint's certificate is judged.
#[derive(Clone, PartialEq, Eq)]
pub enum Trust {
    /// By the authorities of this machine.
    System,
    /// By the cluster's own authority.
    Authority {
        /// Where it was read from.
        file: PathBuf,
        /// PEM, with at least one certificate.
        pem: Vec<u8>,
    },
    /// It is this one: SHA-256 of its DER form.
    Fingerprint([u8; 32]),
    /// Not at all.
    Nobody,
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trust::System => f.write_str("System"),
            Trust::Authority { file, .. } => write!(f, "Authority({})", file.display()),
            Trust::Fingerprint(bytes) => write!(f, "Fingerprint({})", hex(bytes)),
            Trust::Nobody => f.write_str("Nobody"),
        }
    }
}

/// What a list of subjects may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// `qemu/101`, `node/pve1`, `storage/nfs`
    Subject(Subject),
    /// `tag:lab`
    Tag(Box<str>),
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Selector::Subject(subject) => subject.fmt(f),
            Selector::Tag(tag) => write!(f, "tag:{tag}"),
        }
    }
}

/// A setting for `check-config`: never a secret's value.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Setting {
    key: String,
    value: String,
    /// `default`, `jarvis.toml:12:3`, `environment PORT`
    source: String,
}

/// All that is wrong with a configuration, each with its place. Never a secret's value.
#[derive(Debug, thiserror::Error)]
pub struct ConfigError {
    /// At least one sentence: `jarvis.toml:12:3: tiers.critical: ...`.
    pub problems: Vec<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.problems[..] {
            [problem] => f.write_str(problem),
            problems => {
                write!(f, "the configuration has {} problems:", problems.len())?;
                problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}

impl Config {
    /// From a file (`jarvis.toml` in the working directory when none is named) and this process's environment.
    /// Relative paths in it start at the working directory.
    pub fn from_process(path: Option<&Path>) -> Result<Config, ConfigError> {
        // One that is not there is named in full: it is missed in the folder in which this process was started.
        let missed = path.filter(|path| !path.exists()).map(|path| absolute(path.to_owned()));
        let mut config = Config::load(missed.as_deref().or(path), &|name| std::env::var(name).ok())?;
        config.store.path = absolute(config.store.path);
        Ok(config)
    }

    /// From a file and an environment.
    pub fn load(path: Option<&Path>, env: &dyn Fn(&str) -> Option<String>) -> Result<Config, ConfigError> {
        let file = path.unwrap_or(Path::new(DEFAULT_FILE));
        let one = |problem| ConfigError { problems: vec![problem] };
        let text = read_file(file).map_err(|words| {
            let hint = if path.is_none() { "; name another one with --config FILE" } else { "" };
            one(format!("{}: {words}{hint}", file.display()))
        })?;
        Config::from_text(&file.display().to_string(), &text, env)
    }

    /// From a text; `file` is what its problems call it.
    pub fn from_text(
        file: &str,
        text: &str,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Config, ConfigError> {
        let mut problems = Problems::new(file, text);
        let (document, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            // What a broken document seems to say is not judged: half of it would be consequences.
            errors.iter().for_each(|error| problems.add_syntax(error));
            return Err(ConfigError { problems: problems.into_lines() });
        }
        let typed = typed::read(&document, &mut problems);
        let config = check::check(typed, env, &mut problems);
        match config.filter(|_| problems.is_empty()) {
            Some(config) => Ok(config),
            None => Err(ConfigError { problems: problems.into_lines() }),
        }
    }
}

/// Where the daemon with this configuration is found, by a command of the same machine and its environment.
///
/// # Errors
/// The file cannot be read, or what is needed of it is wrong.
pub fn reach(file: &Path) -> Result<Reach, ConfigError> {
    let found = reach_with(file, &|name| std::env::var(name).ok())?;
    Ok(Reach { store: absolute(found.store), tls_cert: found.tls_cert.map(absolute), ..found })
}

/// As whoever reads a message can find it: which folder this process was started in is not in the message.
fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

/// As [`reach`], with another environment.
///
/// # Errors
/// As [`reach`].
pub fn reach_with(file: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Reach, ConfigError> {
    let name = file.display().to_string();
    let text = read_file(file).map_err(|words| ConfigError {
        problems: vec![format!(
            "{}: {words}; name another one with --config FILE, or a daemon with --url",
            absolute(file.to_owned()).display()
        )],
    })?;
    let mut problems = Problems::new(&name, &text);
    let (document, errors) = DeTable::parse_recoverable(&text);
    errors.iter().for_each(|error| problems.add_syntax(error));
    let typed = typed::read(&document, &mut problems);
    let reach = check::reach(typed, env, &mut problems);
    match reach.filter(|_| problems.is_empty()) {
        Some(reach) => Ok(reach),
        None => Err(ConfigError { problems: problems.into_lines() }),
    }
}

/// The token that the environment holds for a command, in JARVIS_TOKEN.
pub fn token_from_environment() -> Option<Secret> {
    let token = std::env::var("JARVIS_TOKEN").ok()?;
    Some(token.trim()).filter(|token| !token.is_empty()).map(Secret::new)
}

/// A file that holds a token and nothing else.
///
/// # Errors
/// What is wrong with it, for people.
pub fn token_from_file(file: &Path) -> Result<Secret, String> {
    secret::from_file(file).map(|read| read.secret)
}

/// Where a process of a test is to die ([`crate::kill_point`]); never anywhere in a release build.
pub fn kill_point() -> Option<String> {
    cfg!(debug_assertions).then(|| std::env::var("JARVIS_KILL_AT").ok()).flatten()
}

/// For whom `sudo` was called, if it was.
pub fn sudo_user() -> Option<String> {
    std::env::var("SUDO_USER").ok().filter(|user| !user.is_empty())
}

fn read_file(file: &Path) -> Result<String, String> {
    let opened = secret::ordinary(file).map_err(|error| format!("cannot be opened: {error}"))?;
    let mut bytes = Vec::new();
    opened.take(FILE_MAX + 1).read_to_end(&mut bytes).map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(format!("is larger than {FILE_MAX} bytes: this is no configuration"));
    }
    String::from_utf8(bytes)
        .map_err(|error| format!("is not UTF-8 text: byte {} is none", error.utf8_error().valid_up_to() + 1))
}

/// `AB:CD:...`, as PVE shows it.
fn hex(bytes: &[u8]) -> String {
    let pairs: Vec<String> = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    pairs.join(":")
}
