//! The kernel's own files of a node (`/sys/class/hwmon`, `/sys/class/thermal`), read with the system's ssh.
//!
//! The system's, because a host key, a jump host and a cipher are then a matter of its configuration, which whoever
//! runs it knows. One command, always the same, so that a key can be restricted to it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use engine::observe::{Blindness, Cause};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};

use super::{Sensor, Zones, blind, one_line, zones};

/// Prints `path:line` of every file; the shell over there fills in the paths. One that cannot be read is passed over.
const COMMAND: &str = "grep -sH . /sys/class/hwmon/hwmon*/name /sys/class/hwmon/hwmon*/temp*_label \
                       /sys/class/hwmon/hwmon*/temp*_input /sys/class/thermal/thermal_zone*/type \
                       /sys/class/thermal/thermal_zone*/temp";
/// Where programs are looked for.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Longest wait for the whole of it: a login on a busy node takes seconds, and some of these sensors are slow.
const WITHIN: Duration = Duration::from_secs(10);
/// Largest output, in bytes: a thousand sensors with their labels.
const OUTPUT_MAX: u64 = 256 * 1024;
/// How much of what ssh complains of is read; its first line is told.
const COMPLAINT_MAX: u64 = 4 * 1024;
/// How much of that line, in characters.
const LINE_MAX: usize = 400;
/// ssh's own failures; everything else is the command's.
const SSH_FAILED: i32 = 255;

/// Logs in and reads.
#[derive(Clone, Debug)]
pub(super) struct Ssh {
    pub(super) user: String,
    pub(super) key_file: PathBuf,
    /// The program.
    pub(super) ssh: PathBuf,
}

impl Ssh {
    pub(super) fn new(user: String, key_file: PathBuf) -> Ssh {
        Ssh { user, key_file, ssh: "ssh".into() }
    }

    pub(super) async fn read(&self, host: &str) -> Result<Zones, Blindness> {
        let mut child = self.start(host)?;
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(blind(Cause::Unreachable, "ssh was started without its output"));
        };
        let within = tokio::time::timeout(WITHIN, async {
            tokio::try_join!(up_to(stdout, OUTPUT_MAX), up_to(stderr, COMPLAINT_MAX), child.wait())
        });
        let (output, complaint, status) = match within.await {
            Ok(Ok(done)) => done,
            Ok(Err(error)) => {
                end(&mut child).await;
                return Err(blind(Cause::Unreachable, format!("ssh cannot be listened to: {error}")));
            }
            Err(_) => {
                end(&mut child).await;
                let words = format!("ssh has not finished after {} s", WITHIN.as_secs());
                return Err(blind(Cause::Unreachable, words));
            }
        };
        if output.len() as u64 >= OUTPUT_MAX {
            let words = format!("the node answers with more than {OUTPUT_MAX} bytes");
            return Err(blind(Cause::Malformed, words));
        }
        let output = String::from_utf8_lossy(&output);
        let sensors = listing(&output);
        match status.code() {
            Some(SSH_FAILED) => Err(failed(&String::from_utf8_lossy(&complaint))),
            // grep says 1 when there was nothing to print, and 2 when a file could not be read besides others.
            Some(0..=2) if !sensors.is_empty() || output.trim().is_empty() => Ok(zones(sensors)),
            _ => {
                let words = first_line(&String::from_utf8_lossy(&complaint));
                Err(blind(
                    Cause::Malformed,
                    format!("the node does not list its sensors ({status}): {words}"),
                ))
            }
        }
    }

    fn start(&self, host: &str) -> Result<Child, Blindness> {
        let options = [
            "BatchMode=yes",
            "ConnectTimeout=5",
            "IdentitiesOnly=yes",
            // A connection that is kept for others would outlive this one, and hold its output open.
            "ControlMaster=no",
            "ClearAllForwardings=yes",
            "LogLevel=ERROR",
        ];
        let mut command = Command::new(&self.ssh);
        for option in options {
            command.args(["-o", option]);
        }
        let key_file = OsString::from(&self.key_file);
        command.args(["-T", "-x", "-a", "-i"]).arg(key_file).arg("--");
        // The user is checked by the configuration, the host by its caller: neither holds what ssh or a shell reads.
        command.arg(format!("{}@{host}", self.user)).arg(COMMAND);
        // Our environment holds secrets that are none of ssh's business.
        command.env_clear().env("PATH", PATH);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command.spawn().map_err(|error| blind(Cause::Unreachable, format!("ssh cannot be started: {error}")))
    }
}

/// Everything up to a limit; beyond it the pipe is closed, and whoever writes on ends by that.
async fn up_to(pipe: impl AsyncRead + Unpin, limit: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    pipe.take(limit).read_to_end(&mut bytes).await?;
    Ok(bytes)
}

/// Ends the child and waits until it is gone, so that none is left behind.
async fn end(child: &mut Child) {
    if let Err(error) = child.kill().await {
        tracing::warn!("an ssh that takes too long cannot be ended: {error}");
    }
}

fn failed(complaint: &str) -> Blindness {
    let cause = if complaint.contains("Host key verification failed") {
        Cause::Untrusted
    } else if complaint.contains("Permission denied") {
        Cause::Refused
    } else {
        Cause::Unreachable
    };
    blind(cause, format!("ssh does not get in: {}", first_line(complaint)))
}

fn first_line(text: &str) -> Box<str> {
    one_line(text.lines().find(|line| !line.trim().is_empty()).unwrap_or("it does not say why"), LINE_MAX)
}

/// The sensors in what [`COMMAND`] prints.
pub(super) fn listing(text: &str) -> Vec<Sensor> {
    let mut files: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    for line in text.lines() {
        let read = line.strip_prefix("/sys/class/").and_then(|line| line.split_once(':'));
        if let Some((path, content)) = read
            && let Some((folder, file)) = path.rsplit_once('/')
        {
            // Of a file of several lines the first one counts.
            files.entry((folder, file)).or_insert(content.trim());
        }
    }
    let celsius = |text: &str| text.parse::<i64>().ok().map(|thousandths| thousandths as f64 / 1000.0);
    let mut sensors = Vec::new();
    for ((folder, file), content) in &files {
        let Some((_, device)) = folder.rsplit_once('/') else { continue };
        if let Some(zone) = device.strip_prefix("thermal_zone")
            && *file == "temp"
            && let Some(celsius) = celsius(content)
        {
            let kind = files.get(&(*folder, "type")).copied().unwrap_or(device);
            let numbered = format!("{kind} {zone}");
            sensors.push(Sensor { names: [kind.into(), numbered.clone(), numbered], celsius });
        } else if let Some(sensor) = file.strip_suffix("_input")
            && let Some(celsius) = celsius(content)
        {
            let chip = files.get(&(*folder, "name")).copied().unwrap_or(device);
            let label = format!("{sensor}_label");
            let label = files.get(&(*folder, label.as_str())).copied().unwrap_or(sensor);
            let names =
                [format!("{chip} {label}"), format!("{device} {label}"), format!("{device} {sensor}")];
            sensors.push(Sensor { names, celsius });
        }
    }
    sensors
}
