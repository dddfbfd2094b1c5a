//! Reads the scenario language. Every error names what is wrong, what is allowed, and the nearest word.

use engine::about::BadAbout;
use engine::decide::Autonomy;
use engine::observe::{NodeName, Subject};
use engine::record::Order;
use jiff::SignedDuration;

use super::specs::{guest_spec, is_storage_command, node_spec, storage_command, storage_spec};
use super::words::{guest, interval, nearest, node, number, percent, time};
use super::{BadScript, Command, Jarvis, LINES_MAX, Script, Step, Tiers};
use crate::cluster::{Actor, Api, BackupMode, Daemon, Death, NodeSpec, Rights, SERVICE_WORDS, Verb};

/// What may stand at the beginning of a line beside a command, and its form.
pub const STATEMENTS: &[(&str, &str)] = &[
    ("at", "at M:SS COMMAND"),
    ("autonomy", "autonomy 0..4"),
    ("cluster", "cluster NAME"),
    ("endpoints", "endpoints NODE NODE..."),
    ("every", "every live|critical|important|routine|background TIME, or: every live off"),
    ("first", "first M:SS"),
    (
        "guest",
        "guest KIND/ID NAME on NODE [running|paused|stopped] [onboot] [template] [broken] [deaf] [order=N] [up=N] \
         [tags=A,B] [ha=STATE] [lock=WORD] [pool=NAME] [volume=STORAGE] [cores=N] [memory=SIZE] \
         [disk=SIZE]",
    ),
    ("node", "node NAME [cores=N] [memory=SIZE] [disk=SIZE] [mac=ADDRESS]"),
    ("nodes", "nodes NAME NAME..."),
    ("protect", "protect SUBJECT SUBJECT..."),
    ("rights", "rights all|auditor"),
    ("seed", "seed NUMBER"),
];

/// How long a backup of one guest takes if nothing is said.
const BACKUP_TAKES: SignedDuration = SignedDuration::from_secs(90);

/// Every command and its form.
pub const COMMANDS: &[(&str, &str)] = &[
    ("allow", "allow 0..4"),
    ("announce", "announce SUBJECT|tag:NAME|pool:NAME|name:NAME for TIME"),
    ("api", "api [NODE] unreachable|refused|reset|hang|slow=MS|denied|blind|empty|garbage|truncated|back"),
    ("approve", "approve SUBJECT by USER"),
    ("backup", "backup KIND/ID KIND/ID... [mode=snapshot|suspend|stop] [takes=S] [by USER]"),
    ("break", "break KIND/ID"),
    ("cpu", "cpu node/NODE N%"),
    ("crash", "crash KIND/ID [killed|segfault|oom|init]"),
    ("create", "create KIND/ID NAME on NODE [as for guest] [by USER]"),
    ("daemon", "daemon NODE pveproxy|pvedaemon|pmxcfs|hang down|up"),
    ("destroy", "destroy KIND/ID [by USER]"),
    ("dismiss", "dismiss SUBJECT by USER"),
    ("disk", "disk node/NODE N%"),
    ("end", "end"),
    ("evict", "evict NODE"),
    ("ha", "ha KIND/ID STATE|none"),
    ("hang", "hang KIND/ID"),
    ("kill-node", "kill-node NODE"),
    ("kill-switch", "kill-switch on|off"),
    ("lock", "lock KIND/ID WORD"),
    ("maintenance", "maintenance NODE on|off"),
    ("memory", "memory node/NODE N%"),
    ("mend", "mend KIND/ID"),
    ("migrate", "migrate KIND/ID to NODE [by USER]"),
    ("pause", "pause KIND/ID [by USER]"),
    ("poweroff", "poweroff KIND/ID"),
    ("quorum", "quorum lost|back"),
    ("reboot", "reboot KIND/ID [by USER]"),
    ("reboot-inside", "reboot-inside KIND/ID"),
    ("reboot-node", "reboot-node NODE"),
    ("reset-node", "reset-node NODE"),
    ("resume", "resume KIND/ID [by USER]"),
    ("rollback", "rollback KIND/ID [by USER]"),
    ("service", "service NODE NAME active|failed|inactive|activating|disabled, or active|inactive by USER"),
    ("shutdown", "shutdown KIND/ID [force] [timeout=S] [by USER]"),
    ("shutdown-node", "shutdown-node NODE"),
    ("side", "side N NODE NODE..."),
    ("start", "start KIND/ID [by USER]"),
    ("start-node", "start-node NODE"),
    ("state", "state KIND/ID WORD"),
    ("stats", "stats NODE stalled|back"),
    ("standby", "standby on|off"),
    ("stop", "stop KIND/ID [by USER]"),
    ("storage", "storage NAME [shared|local] [SIZE] [used N%] [on NODE] [offline|online]"),
    ("suspend", "suspend KIND/ID [by USER]"),
    ("temperature", "temperature NODE SENSOR DEGREES"),
    ("template", "template KIND/ID"),
    ("unhang", "unhang KIND/ID"),
    ("unlock", "unlock KIND/ID"),
];

pub(super) type Said<T> = Result<T, String>;

pub(super) fn script(text: &str) -> Result<Script, BadScript> {
    let mut script = Script {
        cluster: "lab".parse().map_err(|_| bad(0, "the default name is no name"))?,
        seed: 1,
        nodes: Vec::new(),
        guests: Vec::new(),
        storages: Vec::new(),
        tiers: Tiers::default(),
        endpoints: Vec::new(),
        rights: Rights::All,
        steps: Vec::new(),
        autonomy: Autonomy::ActReport,
        protect: Vec::new(),
        length: SignedDuration::ZERO,
    };
    if text.lines().count() > LINES_MAX {
        return Err(bad(LINES_MAX, format!("too long: {LINES_MAX} lines at most")));
    }
    let mut ends = false;
    for (at, line) in text.lines().enumerate() {
        let words = words(line);
        if let Some((first, rest)) = words.split_first() {
            ends |= statement(&mut script, at + 1, first, rest).map_err(|what| bad(at + 1, what))?;
        }
    }
    let lines = text.lines().count().max(1);
    if script.nodes.is_empty() {
        return Err(bad(lines, "a cluster needs a node: `nodes pve1 pve2 pve3`"));
    }
    if !ends {
        return Err(bad(lines, "no end: `at 9:00 end`"));
    }
    script.steps.sort_by_key(|step| step.at); // Stable: one instant keeps the order of its lines.
    Ok(script)
}

fn bad(line: usize, what: impl Into<String>) -> BadScript {
    BadScript { line, what: what.into() }
}

fn words(line: &str) -> Vec<&str> {
    line.split('#').next().unwrap_or_default().split_whitespace().collect()
}

/// Gives whether it was the end.
fn statement(script: &mut Script, line: usize, first: &str, rest: &[&str]) -> Said<bool> {
    match first {
        "cluster" => script.cluster = one(rest, "cluster")?.parse().map_err(|e| format!("{e}"))?,
        "seed" => script.seed = number(one(rest, "seed")?)?,
        "first" => script.tiers.first = time(one(rest, "first")?)?,
        "every" => every(&mut script.tiers, rest)?,
        "autonomy" => script.autonomy = autonomy(one(rest, "autonomy")?)?,
        "protect" => {
            for about in rest {
                script.protect.push(about.parse().map_err(|e| format!("{e}"))?);
            }
        }
        "endpoints" => script.endpoints = nodes(rest, "endpoints")?,
        "rights" => script.rights = rights(one(rest, "rights")?)?,
        "nodes" => {
            for name in rest {
                script.nodes.push(NodeSpec::new(node(name)?));
            }
        }
        "node" => script.nodes.push(node_spec(rest)?),
        "guest" => script.guests.push((line, guest_spec(rest, "guest")?.0)),
        "storage" if !is_storage_command(rest) => script.storages.push((line, storage_spec(rest)?)),
        "at" => {
            let (when, rest) = rest.split_first().ok_or_else(|| form("at"))?;
            let at = time(when)?;
            if rest == ["end"] {
                script.length = at;
                return Ok(true);
            }
            script.steps.push(Step { at: Some(at), line, command: command(rest)? });
        }
        _ => {
            let all: Vec<&str> = std::iter::once(first).chain(rest.iter().copied()).collect();
            script.steps.push(Step { at: None, line, command: command(&all)? });
        }
    }
    Ok(false)
}

pub(super) fn command_line(line: &str) -> Said<Command> {
    command(&words(line))
}

pub(super) fn timed_command(line: &str) -> Said<(SignedDuration, Command)> {
    let words = words(line);
    match words.split_first() {
        Some((&"at", rest)) => {
            let (when, rest) = rest.split_first().ok_or_else(|| form("at"))?;
            Ok((time(when)?, command(rest)?))
        }
        Some(_) | None => Ok((SignedDuration::ZERO, command(&words)?)),
    }
}

fn command(words: &[&str]) -> Said<Command> {
    let (first, rest) = words.split_first().ok_or("a command is missing")?;
    Ok(match *first {
        "crash" => match rest {
            [id] => Command::Crash(guest(id)?, Death::Killed),
            [id, how] => Command::Crash(guest(id)?, death(how)?),
            _ => return Err(form(first)),
        },
        "kill-switch" => match rest {
            ["on"] => Command::Jarvis(Jarvis::KillSwitch(true)),
            ["off"] => Command::Jarvis(Jarvis::KillSwitch(false)),
            _ => return Err(form(first)),
        },
        "standby" => match rest {
            ["on"] => Command::Jarvis(Jarvis::Standby(true)),
            ["off"] => Command::Jarvis(Jarvis::Standby(false)),
            _ => return Err(form(first)),
        },
        "template" => Command::Template(guest(one(rest, first)?)?),
        "allow" => Command::Jarvis(Jarvis::Level(autonomy(one(rest, first)?)?)),
        "announce" => match rest {
            [about, "for", lasts] => Command::Jarvis(Jarvis::Announce(
                about.parse().map_err(|e: BadAbout| e.to_string())?,
                interval(lasts)?,
            )),
            _ => return Err(form(first)),
        },
        "approve" => order(rest, first, Order::Approve)?,
        "dismiss" => order(rest, first, Order::Dismiss)?,
        "hang" => Command::Hang(guest(one(rest, first)?)?, true),
        "unhang" => Command::Hang(guest(one(rest, first)?)?, false),
        "reboot-inside" => Command::RebootInside(guest(one(rest, first)?)?),
        "backup" => backup(rest)?,
        "suspend" => ask(rest, first, Verb::Suspend)?,
        "rollback" => ask(rest, first, Verb::Rollback)?,
        "daemon" => match rest {
            [name, what, "down"] => Command::Daemon(node(name)?, daemon(what)?, true),
            [name, what, "up"] => Command::Daemon(node(name)?, daemon(what)?, false),
            _ => return Err(form(first)),
        },
        "side" => match rest {
            [side, names @ ..] => Command::Side(number(side)?, nodes(names, first)?),
            [] => return Err(form(first)),
        },
        "service" => match rest {
            [name, service, word] if SERVICE_WORDS.contains(word) => {
                Command::Service(node(name)?, (*service).into(), (*word).into())
            }
            [name, service, word @ ("active" | "inactive"), "by", _] => {
                let (_, by) = by(rest, first)?;
                Command::ServiceBy(node(name)?, (*service).into(), (*word).into(), by)
            }
            _ => return Err(form(first)),
        },
        "temperature" => match rest {
            [name, sensor, degrees] => Command::Temperature(node(name)?, (*sensor).into(), number(degrees)?),
            _ => return Err(form(first)),
        },
        "maintenance" => match rest {
            [name, "on"] => Command::Maintenance(node(name)?, true),
            [name, "off"] => Command::Maintenance(node(name)?, false),
            _ => return Err(form(first)),
        },
        "reset-node" => Command::ResetNode(node(one(rest, first)?)?),
        "evict" => Command::Evict(node(one(rest, first)?)?),
        "poweroff" => Command::PowerOff(guest(one(rest, first)?)?),
        "start" => ask(rest, first, Verb::Start)?,
        "stop" => ask(rest, first, Verb::Stop)?,
        "reboot" => ask(rest, first, Verb::Reboot)?,
        "pause" => ask(rest, first, Verb::Pause)?,
        "resume" => ask(rest, first, Verb::Resume)?,
        "shutdown" => shutdown(rest)?,
        "migrate" => migrate(rest)?,
        "create" => {
            let (spec, by) = guest_spec(rest, "create")?;
            Command::Create { spec, by }
        }
        "destroy" => {
            let (rest, by) = by(rest, first)?;
            Command::Destroy { guest: guest(one(rest, first)?)?, by }
        }
        "lock" => match rest {
            [id, word] => Command::Lock(guest(id)?, Some((*word).into())),
            _ => return Err(form(first)),
        },
        "unlock" => Command::Lock(guest(one(rest, first)?)?, None),
        "state" => match rest {
            [id, word] => Command::State(guest(id)?, (*word).into()),
            _ => return Err(form(first)),
        },
        "break" => Command::Broken(guest(one(rest, first)?)?, true),
        "mend" => Command::Broken(guest(one(rest, first)?)?, false),
        "ha" => match rest {
            [id, "none"] => Command::Ha(guest(id)?, None),
            [id, state] => Command::Ha(guest(id)?, Some((*state).into())),
            _ => return Err(form(first)),
        },
        "kill-node" => Command::KillNode(node(one(rest, first)?)?),
        "start-node" => Command::StartNode(node(one(rest, first)?)?),
        "shutdown-node" => Command::ShutdownNode(node(one(rest, first)?)?, false),
        "reboot-node" => Command::ShutdownNode(node(one(rest, first)?)?, true),
        "disk" => level(rest, first).map(|(node, part)| Command::Disk(node, part))?,
        "memory" => level(rest, first).map(|(node, part)| Command::Memory(node, part))?,
        "cpu" => level(rest, first).map(|(node, part)| Command::Cpu(node, part))?,
        "storage" => storage_command(rest)?,
        "quorum" => match rest {
            ["lost"] => Command::Quorum(false),
            ["back"] => Command::Quorum(true),
            _ => return Err(form(first)),
        },
        "stats" => match rest {
            [name, "stalled"] => Command::Stalled(node(name)?, true),
            [name, "back"] => Command::Stalled(node(name)?, false),
            _ => return Err(form(first)),
        },
        "api" => match rest {
            [word] => Command::Api(None, api(word)?),
            [name, word] => Command::Api(Some(node(name)?), api(word)?),
            _ => return Err(form(first)),
        },
        "end" => return Err("`end` needs a time: `at 9:00 end`".into()),
        other => return Err(unknown(other)),
    })
}

fn order(rest: &[&str], name: &str, order: Order) -> Said<Command> {
    match rest {
        [about, "by", user] => {
            let about = about.parse().map_err(|e| format!("{e}"))?;
            Ok(Command::Jarvis(Jarvis::Order(about, (*user).into(), order)))
        }
        _ => Err(form(name)),
    }
}

fn autonomy(word: &str) -> Said<Autonomy> {
    let level = word.parse::<usize>().ok().and_then(|level| Autonomy::ALL.get(level).copied());
    level.ok_or_else(|| format!("`{word}` is no level: 0 to 4"))
}

fn unknown(word: &str) -> String {
    let all = STATEMENTS.iter().chain(COMMANDS).map(|(name, _)| *name);
    match nearest(word, all.clone()) {
        Some(near) if near == word => {
            format!("`{word}` describes the cluster at the beginning of a scenario; nothing can happen by it")
        }
        Some(near) => {
            format!("`{word}` is no command; did you mean `{near}`? It is written `{}`", usage(near))
        }
        None => format!("`{word}` is no command; there are {}", all.collect::<Vec<_>>().join(", ")),
    }
}

fn usage(name: &str) -> &'static str {
    STATEMENTS.iter().chain(COMMANDS).find(|(known, _)| *known == name).map_or("", |(_, usage)| usage)
}

pub(super) fn form(name: &str) -> String {
    format!("it is written `{}`", usage(name))
}

fn one<'a>(rest: &[&'a str], name: &str) -> Said<&'a str> {
    match rest {
        [word] => Ok(word),
        _ => Err(form(name)),
    }
}

fn every(tiers: &mut Tiers, rest: &[&str]) -> Said<()> {
    let [tier, text] = rest else { return Err(form("every")) };
    if [*tier, *text] == ["live", "off"] {
        tiers.live = SignedDuration::ZERO;
        return Ok(());
    }
    let slot = match *tier {
        "live" => &mut tiers.live,
        "critical" => &mut tiers.critical,
        "important" => &mut tiers.important,
        "routine" => &mut tiers.routine,
        "background" => &mut tiers.background,
        _ => return Err(form("every")),
    };
    *slot = interval(text)?;
    Ok(())
}

fn level(rest: &[&str], name: &str) -> Said<(NodeName, f64)> {
    let [subject, share] = rest else { return Err(form(name)) };
    match subject.parse() {
        Ok(Subject::Node(node)) => Ok((node, percent(share)?)),
        Ok(_) | Err(_) => Err(format!("`{subject}`? {}", form(name))),
    }
}

/// Takes `by USER` off the end; without it PVE's own shell did it.
pub(super) fn by<'a, 'b>(rest: &'a [&'b str], name: &str) -> Said<(&'a [&'b str], Actor)> {
    match rest {
        [rest @ .., "by", user] if user.contains('@') => Ok((rest, Actor::parse(user))),
        [.., "by", user] => Err(format!("`{user}` is no user: write alice@pve or op@pve!token")),
        [.., "by"] => Err(form(name)),
        rest => Ok((rest, Actor::root())),
    }
}

fn ask(rest: &[&str], name: &str, verb: Verb) -> Said<Command> {
    let (rest, by) = by(rest, name)?;
    Ok(Command::Ask { verb, guest: guest(one(rest, name)?)?, by })
}

fn shutdown(rest: &[&str]) -> Said<Command> {
    let (rest, by) = by(rest, "shutdown")?;
    let (id, options) = rest.split_first().ok_or_else(|| form("shutdown"))?;
    let (mut timeout, mut force) = (60, false);
    for option in options {
        match (*option, option.split_once('=')) {
            ("force", _) => force = true,
            (_, Some(("timeout", value))) => timeout = number(value)?,
            (_, _) => return Err(form("shutdown")),
        }
    }
    Ok(Command::Ask { verb: Verb::Shutdown { timeout, force }, guest: guest(id)?, by })
}

fn migrate(rest: &[&str]) -> Said<Command> {
    let (rest, by) = by(rest, "migrate")?;
    match rest {
        [id, "to", to] => Ok(Command::Ask { verb: Verb::Migrate { to: node(to)? }, guest: guest(id)?, by }),
        _ => Err(form("migrate")),
    }
}

fn nodes(rest: &[&str], name: &str) -> Said<Vec<NodeName>> {
    if rest.is_empty() { Err(form(name)) } else { rest.iter().map(|name| node(name)).collect() }
}

fn death(word: &str) -> Said<Death> {
    Ok(match word {
        "killed" => Death::Killed,
        "segfault" => Death::Segfault,
        "oom" => Death::OutOfMemory,
        "init" => Death::Init,
        other => return Err(format!("`{other}`? {}", form("crash"))),
    })
}

fn daemon(word: &str) -> Said<Daemon> {
    Ok(match word {
        "pveproxy" => Daemon::Proxy,
        "pvedaemon" => Daemon::Pvedaemon,
        "pmxcfs" => Daemon::ClusterFs,
        "hang" => Daemon::Hung,
        other => return Err(format!("`{other}`? {}", form("daemon"))),
    })
}

fn rights(word: &str) -> Said<Rights> {
    match word {
        "all" => Ok(Rights::All),
        "auditor" => Ok(Rights::Auditor),
        other => Err(format!("`{other}`? {}", form("rights"))),
    }
}

fn backup(rest: &[&str]) -> Said<Command> {
    let (rest, by) = by(rest, "backup")?;
    let (mut guests, mut mode, mut takes) = (Vec::new(), BackupMode::Snapshot, BACKUP_TAKES);
    for word in rest {
        match word.split_once('=') {
            Some(("mode", "snapshot")) => mode = BackupMode::Snapshot,
            Some(("mode", "suspend")) => mode = BackupMode::Suspend,
            Some(("mode", "stop")) => mode = BackupMode::Stop,
            Some(("takes", seconds)) => takes = SignedDuration::from_secs(number::<u16>(seconds)?.into()),
            Some(_) => return Err(format!("`{word}`? {}", form("backup"))),
            None => guests.push(guest(word)?),
        }
    }
    if guests.is_empty() { Err(form("backup")) } else { Ok(Command::Backup { guests, mode, takes, by }) }
}

fn api(word: &str) -> Said<Api> {
    Ok(match word {
        "back" => Api::Up,
        "unreachable" => Api::Unreachable,
        "refused" => Api::Refused,
        "reset" => Api::Reset,
        "hang" => Api::Hang,
        "denied" => Api::Denied,
        "blind" => Api::Blind,
        "empty" => Api::Empty,
        "garbage" => Api::Garbage,
        "truncated" => Api::Truncated,
        other => match other.strip_prefix("slow=") {
            Some(millis) => Api::Slow(number(millis)?),
            None => return Err(format!("`{other}`? {}", form("api"))),
        },
    })
}

#[cfg(test)]
mod tests;
