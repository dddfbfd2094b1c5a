//! Reads the scenario language. Every error names what is wrong, what is allowed, and the nearest word.

use std::collections::BTreeSet;

use engine::observe::{GuestId, NodeName, Subject};
use jiff::SignedDuration;

use super::{BadScript, Command, LENGTH_MAX, LINES_MAX, Script, Step, Tiers};
use crate::cluster::{Actor, Api, GIB, GuestSpec, MIB, NodeSpec, StorageSpec, Verb};

/// What may stand at the beginning of a line beside a command, and its form.
pub const STATEMENTS: &[(&str, &str)] = &[
    ("at", "at M:SS COMMAND"),
    ("cluster", "cluster NAME"),
    ("every", "every critical|important|routine|background TIME"),
    ("first", "first M:SS"),
    (
        "guest",
        "guest KIND/ID NAME on NODE [running|paused|stopped] [onboot] [template] [broken] [deaf] [order=N] \
         [tags=A,B] [ha=STATE] [lock=WORD] [pool=NAME] [cores=N] [memory=SIZE] [disk=SIZE]",
    ),
    ("node", "node NAME [cores=N] [memory=SIZE] [disk=SIZE]"),
    ("nodes", "nodes NAME NAME..."),
    ("seed", "seed NUMBER"),
];

/// Every command and its form.
pub const COMMANDS: &[(&str, &str)] = &[
    ("api", "api [NODE] unreachable|refused|reset|hang|slow=MS|denied|blind|empty|garbage|truncated|back"),
    ("break", "break KIND/ID"),
    ("cpu", "cpu node/NODE N%"),
    ("crash", "crash KIND/ID"),
    ("create", "create KIND/ID NAME on NODE [as for guest] [by USER]"),
    ("destroy", "destroy KIND/ID [by USER]"),
    ("disk", "disk node/NODE N%"),
    ("end", "end"),
    ("ha", "ha KIND/ID STATE|none"),
    ("kill-node", "kill-node NODE"),
    ("lock", "lock KIND/ID WORD"),
    ("memory", "memory node/NODE N%"),
    ("mend", "mend KIND/ID"),
    ("migrate", "migrate KIND/ID to NODE [by USER]"),
    ("pause", "pause KIND/ID [by USER]"),
    ("poweroff", "poweroff KIND/ID"),
    ("quorum", "quorum lost|back"),
    ("reboot", "reboot KIND/ID [by USER]"),
    ("reboot-node", "reboot-node NODE"),
    ("resume", "resume KIND/ID [by USER]"),
    ("shutdown", "shutdown KIND/ID [force] [timeout=S] [by USER]"),
    ("shutdown-node", "shutdown-node NODE"),
    ("start", "start KIND/ID [by USER]"),
    ("start-node", "start-node NODE"),
    ("state", "state KIND/ID WORD"),
    ("stats", "stats NODE stalled|back"),
    ("stop", "stop KIND/ID [by USER]"),
    ("storage", "storage NAME [shared|local] [SIZE] [used N%] [on NODE] [offline|online]"),
    ("unlock", "unlock KIND/ID"),
];

type Said<T> = Result<T, String>;

pub(super) fn script(text: &str) -> Result<Script, BadScript> {
    let mut script = Script {
        cluster: "lab".parse().map_err(|_| bad(0, "the default name is no name"))?,
        seed: 1,
        nodes: Vec::new(),
        guests: Vec::new(),
        storages: Vec::new(),
        tiers: Tiers::default(),
        steps: Vec::new(),
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
        "crash" => Command::Crash(guest(one(rest, first)?)?),
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

fn unknown(word: &str) -> String {
    let all = STATEMENTS.iter().chain(COMMANDS).map(|(name, _)| *name);
    match nearest(word, all.clone()) {
        Some(near) => {
            format!("`{word}` is no command; did you mean `{near}`? It is written `{}`", usage(near))
        }
        None => format!("`{word}` is no command; there are {}", all.collect::<Vec<_>>().join(", ")),
    }
}

/// The nearest of some words, when it is near enough to have been meant.
pub(super) fn nearest<'a>(word: &str, all: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    all.map(|name| (strsim::damerau_levenshtein(word, name), name))
        .min()
        .filter(|(distance, name)| *distance <= name.len().div_ceil(3))
        .map(|(_, name)| name)
}

fn usage(name: &str) -> &'static str {
    STATEMENTS.iter().chain(COMMANDS).find(|(known, _)| *known == name).map_or("", |(_, usage)| usage)
}

fn form(name: &str) -> String {
    format!("it is written `{}`", usage(name))
}

fn one<'a>(rest: &[&'a str], name: &str) -> Said<&'a str> {
    match rest {
        [word] => Ok(word),
        _ => Err(form(name)),
    }
}

fn guest(text: &str) -> Said<GuestId> {
    text.parse().map_err(|e: engine::observe::BadId| e.to_string())
}

fn node(text: &str) -> Said<NodeName> {
    text.strip_prefix("node/").unwrap_or(text).parse().map_err(|e: engine::observe::BadId| e.to_string())
}

fn number<N: std::str::FromStr>(text: &str) -> Said<N> {
    text.parse().map_err(|_| format!("`{text}` is no number"))
}

/// `m:ss` or `h:mm:ss`.
fn time(text: &str) -> Said<SignedDuration> {
    let wrong = || format!("`{text}` is no time: write m:ss or h:mm:ss, as 1:05 or 2:00:00");
    let parts: Vec<&str> = text.split(':').collect();
    let (head, tail) = parts.split_first().ok_or_else(wrong)?;
    if !(1..=2).contains(&tail.len()) || head.is_empty() || head.len() > 6 {
        return Err(wrong());
    }
    let mut seconds: i64 = head.parse().map_err(|_| wrong())?;
    for part in tail {
        let value: i64 = part.parse().map_err(|_| wrong())?;
        if part.len() != 2 || !(0..60).contains(&value) {
            return Err(wrong());
        }
        seconds = seconds * 60 + value;
    }
    let time = SignedDuration::from_secs(seconds);
    let fits = (SignedDuration::ZERO..=LENGTH_MAX).contains(&time);
    if fits { Ok(time) } else { Err(format!("`{text}` is too long: 31 days at most")) }
}

/// `12s`, `5m`, `2h` or a time.
fn interval(text: &str) -> Said<SignedDuration> {
    let wrong = || format!("`{text}` is no interval: write 12s, 5m or 1h");
    let (digits, unit) = text.split_at(text.len().saturating_sub(1));
    let factor = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(wrong()),
    };
    let count: u32 = digits.parse().map_err(|_| wrong())?;
    let interval = SignedDuration::from_secs(i64::from(count) * factor);
    if interval.is_zero() || interval > LENGTH_MAX { Err(wrong()) } else { Ok(interval) }
}

/// `97%` as a fraction.
fn percent(text: &str) -> Said<f64> {
    let wrong = || format!("`{text}` is no share: write 97% or 97.5%");
    let value: f64 = text.strip_suffix('%').ok_or_else(wrong)?.parse().map_err(|_| wrong())?;
    if (0.0..=100.0).contains(&value) { Ok(value / 100.0) } else { Err(wrong()) }
}

/// `512MiB`, `64GiB`, `2TiB` in bytes.
fn size(text: &str) -> Said<u64> {
    let wrong = || format!("`{text}` is no size: write 512MiB, 64GiB or 2TiB");
    let units = [("MiB", MIB), ("GiB", GIB), ("TiB", GIB * 1024)];
    let (digits, unit) =
        units.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit))).ok_or_else(wrong)?;
    digits.parse::<u64>().ok().and_then(|count| count.checked_mul(unit)).filter(|n| *n > 0).ok_or_else(wrong)
}

fn is_size(text: &str) -> bool {
    size(text).is_ok()
}

fn every(tiers: &mut Tiers, rest: &[&str]) -> Said<()> {
    let [tier, text] = rest else { return Err(form("every")) };
    let slot = match *tier {
        "critical" => &mut tiers.critical,
        "important" => &mut tiers.important,
        "routine" => &mut tiers.routine,
        "background" => &mut tiers.background,
        _ => return Err(form("every")),
    };
    *slot = interval(text)?;
    Ok(())
}

fn node_spec(rest: &[&str]) -> Said<NodeSpec> {
    let (name, options) = rest.split_first().ok_or_else(|| form("node"))?;
    let mut spec = NodeSpec::new(node(name)?);
    for option in options {
        match option.split_once('=') {
            Some(("cores", value)) => spec.cores = number(value)?,
            Some(("memory", value)) => spec.memory = size(value)?,
            Some(("disk", value)) => spec.disk = size(value)?,
            Some(_) | None => return Err(format!("`{option}`? {}", form("node"))),
        }
    }
    Ok(spec)
}

fn guest_spec(rest: &[&str], statement: &str) -> Said<(GuestSpec, Actor)> {
    let (rest, by) = by(rest, statement)?;
    let (id, name, place, options) = match rest {
        [id, "on", place, options @ ..] => (id, None, place, options),
        [id, name, "on", place, options @ ..] => (id, Some(name), place, options),
        _ => return Err(form(statement)),
    };
    let id = guest(id)?;
    let name = name.map_or_else(|| format!("{}{}", id.kind.title(), id.vmid), |name| (*name).to_string());
    let mut spec = GuestSpec::new(id, name, node(place)?);
    for option in options {
        match (*option, option.split_once('=')) {
            ("running", _) => spec.running = true,
            ("paused", _) => (spec.running, spec.paused) = (true, true),
            ("stopped", _) => spec.running = false,
            ("onboot", _) => spec.onboot = true,
            ("template", _) => spec.template = true,
            ("broken", _) => spec.broken = true,
            ("deaf", _) => spec.deaf = true,
            (_, Some(("order", value))) => spec.order = Some(number(value)?),
            (_, Some(("tags", value))) => spec.tags = value.split(',').map(str::to_owned).collect(),
            (_, Some(("ha", value))) => spec.ha = Some(value.into()),
            (_, Some(("lock", value))) => spec.lock = Some(value.into()),
            (_, Some(("pool", value))) => spec.pool = Some(value.into()),
            (_, Some(("cores", value))) => spec.cores = number(value)?,
            (_, Some(("memory", value))) => spec.memory = size(value)?,
            (_, Some(("disk", value))) => spec.disk = size(value)?,
            (other, _) => return Err(format!("`{other}`? {}", form(statement))),
        }
    }
    Ok((spec, by))
}

fn is_storage_command(rest: &[&str]) -> bool {
    let declares = |word: &&str| matches!(*word, "shared" | "local") || is_size(word);
    !rest.iter().skip(1).any(declares)
}

fn storage_spec(rest: &[&str]) -> Said<StorageSpec> {
    let (name, options) = rest.split_first().ok_or_else(|| form("storage"))?;
    let mut shared = false;
    let (mut total, mut used, mut nodes) = (100 * GIB, 0.0, BTreeSet::new());
    let mut left = options.iter();
    while let Some(option) = left.next() {
        match *option {
            "shared" => shared = true,
            "local" => shared = false,
            "used" => used = percent(left.next().ok_or_else(|| form("storage"))?)?,
            "on" => {
                for name in left.by_ref() {
                    nodes.insert(node(name)?);
                }
            }
            word if is_size(word) => total = size(word)?,
            other => return Err(format!("`{other}`? {}", form("storage"))),
        }
    }
    let name = name.parse().map_err(|e: engine::observe::BadId| e.to_string())?;
    let nodes = (!nodes.is_empty()).then_some(nodes);
    let used = crate::cluster::part_of(total, used);
    Ok(StorageSpec { total, used, nodes, ..StorageSpec::new(name, shared) })
}

fn storage_command(rest: &[&str]) -> Said<Command> {
    let (name, rest) = rest.split_first().ok_or_else(|| form("storage"))?;
    let name = name.parse().map_err(|e: engine::observe::BadId| e.to_string())?;
    let (place, rest) = match rest {
        ["on", place, rest @ ..] => (Some(node(place)?), rest),
        [rest @ .., "on", place] => (Some(node(place)?), rest),
        rest => (None, rest),
    };
    match rest {
        ["used", share] => Ok(Command::StorageUsed(name, place, percent(share)?)),
        ["offline"] => Ok(Command::StorageActive(name, place, false)),
        ["online"] => Ok(Command::StorageActive(name, place, true)),
        _ => Err(form("storage")),
    }
}

fn level(rest: &[&str], name: &str) -> Said<(NodeName, f64)> {
    let [subject, share] = rest else { return Err(form(name)) };
    match subject.parse() {
        Ok(Subject::Node(node)) => Ok((node, percent(share)?)),
        Ok(_) | Err(_) => Err(format!("`{subject}`? {}", form(name))),
    }
}

/// Takes `by USER` off the end; without it PVE's own shell did it.
fn by<'a, 'b>(rest: &'a [&'b str], name: &str) -> Said<(&'a [&'b str], Actor)> {
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
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_line_and_what_is_allowed() {
        let good = "nodes pve1\nguest qemu/101 on pve1\n";
        #[rustfmt::skip]
        let table = [
            ("a misspelt command", "at 1:00 crsh qemu/101", "line 3: `crsh` is no command; did you mean `crash`? It is written `crash KIND/ID`"),
            ("a bad time", "at 60 crash qemu/101", "line 3: `60` is no time: write m:ss or h:mm:ss, as 1:05 or 2:00:00"),
            ("61 seconds", "at 1:61 crash qemu/101", "line 3: `1:61` is no time: write m:ss or h:mm:ss, as 1:05 or 2:00:00"),
            ("a bad guest", "at 1:00 crash vm/101", "line 3: `vm/101` is no guest: write `qemu/ID` or `lxc/ID` with an ID from 100 to 999999999"),
            ("a missing word", "at 1:00 migrate qemu/101 pve2", "line 3: it is written `migrate KIND/ID to NODE [by USER]`"),
            ("a user without a realm", "at 1:00 stop qemu/101 by alice", "line 3: `alice` is no user: write alice@pve or op@pve!token"),
            ("a share above the whole", "disk node/pve1 120%", "line 3: `120%` is no share: write 97% or 97.5%"),
            ("an unknown option", "guest qemu/102 on pve1 runing", "line 3: `runing`? it is written `guest KIND/ID NAME on NODE [running|paused|stopped] [onboot] [template] [broken] [deaf] [order=N] [tags=A,B] [ha=STATE] [lock=WORD] [pool=NAME] [cores=N] [memory=SIZE] [disk=SIZE]`"),
            ("an end without a time", "end", "line 3: `end` needs a time: `at 9:00 end`"),
            ("no end", "", "line 2: no end: `at 9:00 end`"),
        ];
        for (name, line, expected) in table {
            let error = Script::parse(&format!("{good}{line}")).map(drop).unwrap_err();
            assert_eq!(error.to_string(), expected, "{name}");
        }
    }

    #[test]
    fn every_form_is_read() {
        let text = "
            cluster lab # a comment
            seed 7
            first 0:05
            every critical 12s
            node pve1 cores=8 memory=64GiB disk=500GiB
            nodes pve2 pve3
            guest qemu/101 web01 on pve1 running onboot tags=a,b ha=started lock=backup order=2
            guest lxc/200 on pve2 paused memory=512MiB cores=2 disk=2TiB pool=prod
            guest qemu/900 tmpl on pve1 template
            storage nfs shared 1000GiB used 40%
            storage local local 100GiB on pve1 pve2
            storage nfs used 50%
            api slow=200
            at 1:10 crash qemu/101
            at 0:30 shutdown lxc/200 force timeout=5 by op@pve!t1
            at 1:00:00 storage nfs on pve2 offline
            at 1:00:00 create qemu/130 new on pve2 running by alice@pve
            at 2:00:00 end";
        let script = Script::parse(text).unwrap();
        assert_eq!(
            (script.seed, script.nodes.len(), script.guests.len(), script.storages.len()),
            (7, 3, 3, 2)
        );
        let times: Vec<_> = script.steps.iter().map(|s| s.at.map(|at| at.as_secs())).collect();
        assert_eq!(times, [None, None, Some(30), Some(70), Some(3600), Some(3600)], "in the order of time");
        assert_eq!(script.length.as_hours(), 2);
        assert!(script.build(jiff::Timestamp::UNIX_EPOCH).is_ok());
    }

    #[test]
    fn named_scenarios_are_read_and_others_are_named() {
        for (name, script) in super::super::NAMED {
            Script::parse(script).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        let error = super::super::named("dmo").unwrap_err();
        assert!(
            error.starts_with("there is no scenario `dmo`; did you mean `demo`? There are demo, "),
            "{error}"
        );
    }

    #[test]
    fn a_script_that_names_what_is_not_there_says_so() {
        let error = Script::parse("nodes pve1\nguest qemu/101 on pve9\nat 1:00 end")
            .unwrap()
            .build(jiff::Timestamp::UNIX_EPOCH)
            .map(drop)
            .unwrap_err();
        assert_eq!(error.to_string(), "line 2: there is no node `pve9`");
    }
}
