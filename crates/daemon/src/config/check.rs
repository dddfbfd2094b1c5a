//! From the settings as typed, and the environment over them, to the settings as used.
//!
//! Every check says what is allowed and goes on with the next one, so that one run names everything.

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::SignedDuration;

use super::secret::{self, Secret};
use super::tree::{At, Place, Problems, Spot};
use super::typed::{self, Typed};
use super::{Config, Live, Reach, Server, Setting, Store, Tiers, Tls, cluster, marks, runbook, tell};
use crate::report::auth::PASSWORD_MIN;
use crate::report::{TlsFiles, Useless, check_tls};

/// Where the daemon listens when nobody says otherwise.
const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4000);
/// The original's place.
const STORE_PATH: &str = "data/jarvis.db";
/// The original's age, in days.
const RETENTION_DAYS: i64 = 30;
/// A week, to try another policy on.
const TAPE_DAYS: i64 = 7;
/// Enough for a week of a hundred guests, and a day of a thousand (docs/BENCH.md).
const TAPE_MIB: i64 = 512;
/// Recommend: nothing is touched before somebody has said yes.
const AUTONOMY_LEVEL: i64 = 2;
/// Most items in one list.
pub(super) const LIST_MAX: usize = 1_000;

/// What every check has at hand.
pub(super) struct Checker<'a, 'p> {
    pub(super) problems: &'a mut Problems<'p>,
    pub(super) env: &'a dyn Fn(&str) -> Option<String>,
    pub(super) warnings: Vec<String>,
    pub(super) settings: Vec<Setting>,
}

/// `None` where something essential is missing; why is among the problems then.
pub(super) fn check(
    typed: Typed,
    env: &dyn Fn(&str) -> Option<String>,
    problems: &mut Problems<'_>,
) -> Option<Config> {
    let mut checker = Checker { problems, env, warnings: Vec::new(), settings: Vec::new() };
    let public_url = typed.server.public_url.clone();
    let server = checker.server(typed.server);
    let store = checker.store(typed.store);
    let autonomy_level = checker.autonomy(typed.autonomy.level.as_ref());
    let standby = checker.standby(typed.autonomy.standby.as_ref());
    let tiers = checker.tiers(&typed.tiers);
    let mut clusters = cluster::clusters(&mut checker, typed.clusters);
    marks::apply(&mut checker, &mut clusters, &typed.thresholds, &typed.thresholds_for);
    runbook::apply(&mut checker, &mut clusters, &typed.runbooks);
    let told = tell::told(&mut checker, public_url.as_ref(), typed.mail.as_ref(), &typed.webhooks);
    let Checker { warnings, settings, .. } = checker;
    let (server, store) = (server?, store?);
    Some(Config { server, store, autonomy_level, standby, tiers, clusters, told, warnings, settings })
}

/// What finds the daemon from its own machine. Clusters and secrets are not looked at: whoever asks may have no right to
/// read them.
pub(super) fn reach(
    typed: Typed,
    env: &dyn Fn(&str) -> Option<String>,
    problems: &mut Problems<'_>,
) -> Option<Reach> {
    let mut checker = Checker { problems, env, warnings: Vec::new(), settings: Vec::new() };
    let listen = checker.listen(typed.server.listen.as_ref(), secured(&typed.server));
    let tls_cert = typed.server.tls_cert.map(|cert| cert.value.into());
    let store = checker.store(typed.store);
    let autonomy_level = checker.autonomy(typed.autonomy.level.as_ref());
    Some(Reach { listen: listen?, tls_cert, store: store?.path, autonomy_level })
}

/// Whether what travels is sealed, by us or by a proxy.
fn secured(server: &typed::Server) -> bool {
    server.tls_cert.is_some() || server.behind_proxy.as_ref().is_some_and(|proxies| !proxies.value.is_empty())
}

impl Checker<'_, '_> {
    /// A variable that is set to nothing is not set: that is what `PORT=` in an env file means.
    pub(super) fn env(&self, name: &str) -> Option<String> {
        (self.env)(name).filter(|value| !value.trim().is_empty())
    }

    pub(super) fn bad(&mut self, place: &Place, words: impl Display) {
        self.problems.add(place, words);
    }

    /// A problem, and no value.
    pub(super) fn refuse<T>(&mut self, place: &Place, words: impl Display) -> Option<T> {
        self.bad(place, words);
        None
    }

    /// A setting as it is used. `None` for a spot: nobody said it.
    pub(super) fn set(&mut self, key: impl Into<String>, value: impl Display, spot: Option<Spot>) {
        let source = spot.map_or_else(|| "default".to_owned(), |spot| self.problems.source(spot));
        self.settings.push(Setting { key: key.into(), value: value.to_string(), source });
    }

    fn server(&mut self, typed: typed::Server) -> Option<Server> {
        let listen = self.listen(typed.listen.as_ref(), secured(&typed));
        let allowed_origins = self.list(typed.allowed_origins.as_ref(), "server.allowed_origins", |text| {
            origin(text)
                .ok_or("must be an origin like https://jarvis.example:8443: scheme, host and port, no path")
        });
        let behind_proxy = self.list(typed.behind_proxy.as_ref(), "server.behind_proxy", |text| {
            text.parse::<IpAddr>().map_err(|_| "must be an IP address like 10.0.0.5")
        });
        let tls = self.tls(typed.tls_cert.as_ref(), typed.tls_key.as_ref());
        if let Some(listen) = listen.filter(|listen| !listen.ip().is_loopback() && typed.tls_cert.is_none()) {
            self.warnings.push(format!(
                "{listen} speaks no TLS: it answers this machine and the proxies in behind_proxy alone, and refuses everybody \
                 else; what a proxy sends to it travels in clear"
            ));
        }
        let password = self.password(typed.password_file.as_ref());
        Some(Server { listen: listen?, allowed_origins, behind_proxy, tls, password })
    }

    fn listen(&mut self, typed: Option<&At<String>>, secured: bool) -> Option<SocketAddr> {
        let mut place = Place { key: "server.listen".into(), spot: Spot::Nowhere };
        let mut listen = LISTEN;
        let mut spot = None;
        if let Some(At { value, place: at }) = typed {
            place = at.clone();
            spot = Some(at.spot);
            let Ok(address) = value.parse() else {
                return self.refuse(at, "must be an address and a port, like 127.0.0.1:4000 or [::1]:4000");
            };
            listen = address;
        }
        if let Some(port) = self.env("PORT") {
            place = Place::environment("server.listen", "PORT");
            spot = Some(place.spot);
            let Ok(port) = port.trim().parse() else {
                return self.refuse(&place, "must be a port: a whole number from 0 to 65535");
            };
            listen.set_port(port);
        }
        self.set("server.listen", listen, spot);
        if !listen.ip().is_loopback() && !secured {
            let words = format!(
                "{listen} can be reached from other machines, and passwords would travel in clear: give a certificate \
                 (tls_cert, tls_key), or listen on 127.0.0.1, or put a proxy with TLS in front and name its address: \
                 behind_proxy = [\"10.0.0.5\"]"
            );
            return self.refuse(&place, words);
        }
        Some(listen)
    }

    /// Both files or none, and a certificate with its own key.
    fn tls(&mut self, cert: Option<&At<String>>, key: Option<&At<String>>) -> Option<Tls> {
        let (cert, key) = match (cert, key) {
            (Some(cert), Some(key)) => (cert, key),
            (None, None) => {
                self.set("server.tls_cert", "none: no TLS", None);
                return None;
            }
            (Some(cert), None) => return self.refuse(&cert.place, "needs its private key: set tls_key too"),
            (None, Some(key)) => return self.refuse(&key.place, "needs its certificate: set tls_cert too"),
        };
        let mut readable = true;
        for (file, name) in [(cert, "server.tls_cert"), (key, "server.tls_key")] {
            self.set(name, &file.value, Some(file.place.spot));
            match secret::readable(Path::new(&file.value)) {
                Ok(by_all) if by_all && file.place.key == key.place.key => {
                    let path = &file.value;
                    self.warnings.push(format!(
                        "{path} ({name}) can be read by every user of this machine: chmod 600 {path}"
                    ));
                }
                Ok(_) => {}
                Err(words) => {
                    readable = false;
                    self.bad(&file.place, words);
                }
            }
        }
        let files = TlsFiles { cert: PathBuf::from(&cert.value), key: PathBuf::from(&key.value) };
        if readable {
            match check_tls(&files) {
                Ok(()) => {}
                Err(Useless::Cert(words)) => self.bad(&cert.place, words),
                Err(Useless::Key(words)) => self.bad(&key.place, words),
            }
        }
        Some(Tls { cert: files.cert, key: files.key })
    }

    fn password(&mut self, file: Option<&At<String>>) -> Option<Secret> {
        let password = self.given_password(file)?;
        let least = PASSWORD_MIN;
        if password.expose().len() < least {
            self.warnings.push(format!(
                "the configured password has fewer than {least} bytes, so it is soon guessed: set a longer one"
            ));
        }
        Some(password)
    }

    fn given_password(&mut self, file: Option<&At<String>>) -> Option<Secret> {
        if let Some(password) = self.env("JARVIS_PASSWORD") {
            self.set("server.password", "(hidden)", Some(Spot::Environment("JARVIS_PASSWORD")));
            return Some(Secret::new(password));
        }
        let Some(file) = file else {
            self.set("server.password", "none: the log shows a link with which to set one", None);
            return None;
        };
        self.secret_file(file, "server.password_file")
    }

    /// A secret from a file, with a warning where the file is open to everybody.
    pub(super) fn secret_file(&mut self, file: &At<String>, key: &str) -> Option<Secret> {
        match secret::from_file(Path::new(&file.value)) {
            Ok(read) => {
                self.set(key, &file.value, Some(file.place.spot));
                if read.readable_by_all {
                    let path = &file.value;
                    self.warnings.push(format!(
                        "{path} ({key}) can be read by every user of this machine: chmod 600 {path}"
                    ));
                }
                Some(read.secret)
            }
            Err(words) => self.refuse(&file.place, words),
        }
    }

    fn store(&mut self, typed: typed::Store) -> Option<Store> {
        let mut path = At {
            value: STORE_PATH.to_owned(),
            place: Place { key: "store.path".into(), spot: Spot::Nowhere },
        };
        let mut spot = None;
        if let Some(typed) = typed.path {
            path = typed;
            spot = Some(path.place.spot);
        }
        if let Some(value) = self.env("DB_PATH") {
            path = At { value, place: Place::environment("store.path", "DB_PATH") };
            spot = Some(path.place.spot);
        }
        self.set("store.path", &path.value, spot);
        let retention_days =
            self.whole(typed.retention_days.as_ref(), "store.retention_days", 1..=3_650, RETENTION_DAYS);
        let tape_days = self.whole(typed.tape_days.as_ref(), "store.tape_days", 0..=365, TAPE_DAYS);
        // Two pieces at least: one that is written and one that is whole.
        let tape_mib = self.whole(typed.tape_mib.as_ref(), "store.tape_mib", 16..=1_048_576, TAPE_MIB);
        if path.value.contains("://") {
            return self.refuse(
                &path.place,
                "must be the path of a file: a database server is not supported by this version",
            );
        }
        if path.value.trim().is_empty() || path.value.ends_with('/') {
            return self.refuse(&path.place, "must be the path of a file, like data/jarvis.db");
        }
        Some(Store {
            path: PathBuf::from(path.value),
            retention_days: u32::try_from(retention_days).ok()?,
            tape_days: u32::try_from(tape_days).ok()?,
            tape_mib: u32::try_from(tape_mib).ok()?,
        })
    }

    fn autonomy(&mut self, typed: Option<&At<i64>>) -> u8 {
        let level = self.whole(typed, "autonomy.level", 0..=4, AUTONOMY_LEVEL);
        u8::try_from(level).unwrap_or_default()
    }

    fn standby(&mut self, typed: Option<&At<bool>>) -> bool {
        let standby = typed.is_some_and(|typed| typed.value);
        self.set("autonomy.standby", standby, typed.map(|typed| typed.place.spot));
        standby
    }

    fn tiers(&mut self, typed: &typed::Tiers) -> Tiers {
        let live = match &typed.live {
            Some(At { value, place }) if value == "off" => {
                self.set("tiers.live", "off", Some(place.spot));
                Live::Off
            }
            // Faster than this a node would spend more of a core on being watched than the seconds are worth.
            typed => Live::Every(self.tier(typed.as_ref(), "tiers.live", secs(1)..=secs(30), secs(2))),
        };
        Tiers {
            live,
            // Below 2 s PVE's own statistics, which it renews every 10 s, are only read again.
            critical: self.tier(typed.critical.as_ref(), "tiers.critical", secs(2)..=secs(300), secs(12)),
            important: self.tier(
                typed.important.as_ref(),
                "tiers.important",
                secs(5)..=secs(3_600),
                secs(32),
            ),
            routine: self.tier(
                typed.routine.as_ref(),
                "tiers.routine",
                secs(30)..=secs(6 * 3_600),
                secs(300),
            ),
            background: self.tier(
                typed.background.as_ref(),
                "tiers.background",
                secs(60)..=secs(24 * 3_600),
                secs(1_800),
            ),
        }
    }

    /// How often: within its bounds, or the default with a problem.
    fn tier(
        &mut self,
        typed: Option<&At<String>>,
        key: &str,
        allowed: std::ops::RangeInclusive<SignedDuration>,
        default: SignedDuration,
    ) -> Duration {
        let mut every = default;
        if let Some(typed) = typed {
            let bounds = format!("from {:#} to {:#}", allowed.start(), allowed.end());
            match typed.value.parse::<SignedDuration>() {
                Ok(value) if allowed.contains(&value) => every = value,
                Ok(value) => self.bad(&typed.place, format_args!("{value:#} is not {bounds}")),
                Err(_) => {
                    let off = if key == "tiers.live" { ", or off" } else { "" };
                    self.bad(
                        &typed.place,
                        format_args!("must be a time like \"12s\" or \"5m\", {bounds}{off}"),
                    );
                }
            }
        }
        self.set(key, format_args!("{every:#}"), typed.map(|typed| typed.place.spot));
        every.unsigned_abs()
    }

    pub(super) fn whole(
        &mut self,
        typed: Option<&At<i64>>,
        key: &str,
        allowed: std::ops::RangeInclusive<i64>,
        default: i64,
    ) -> i64 {
        let mut number = default;
        if let Some(At { value, place }) = typed {
            if allowed.contains(value) {
                number = *value;
            } else {
                let words =
                    format!("{value} is not a whole number from {} to {}", allowed.start(), allowed.end());
                self.bad(place, words);
            }
        }
        self.set(key, number, typed.map(|typed| typed.place.spot));
        number
    }

    /// A list of which every item is judged; those that pass.
    pub(super) fn list<T: Display, W: Display>(
        &mut self,
        typed: Option<&At<Vec<At<String>>>>,
        key: &str,
        judge: impl Fn(&str) -> Result<T, W>,
    ) -> Vec<T> {
        let Some(At { value: items, place }) = typed else {
            self.set(key, "[]", None);
            return Vec::new();
        };
        if items.len() > LIST_MAX {
            self.bad(place, format_args!("holds {} items; at most {LIST_MAX} are allowed", items.len()));
        }
        let mut passed = Vec::new();
        for item in items {
            match judge(&item.value) {
                Ok(value) => passed.push(value),
                Err(words) => self.bad(&item.place, words),
            }
        }
        let shown: Vec<String> = passed.iter().map(ToString::to_string).collect();
        self.set(key, format_args!("[{}]", shown.join(", ")), Some(place.spot));
        passed
    }
}

/// `https://host` or `https://host:port`, as browsers send it: in lower case, without a slash at the end.
fn origin(text: &str) -> Option<String> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | ':' | '[' | ']');
    (!rest.is_empty() && rest.chars().all(plain)).then(|| text.to_ascii_lowercase())
}

const fn secs(seconds: i64) -> SignedDuration {
    SignedDuration::from_secs(seconds)
}
