//! The state machine of incidents, exhaustively: a model checker (stateright) tries every order of a crash, operators, the kill
//! switch, a lock, calls that work, fail or are lost, and deaths of Jarvis, on a cluster of one or two guests. In no state that can
//! be reached is a guardrail breached, and nothing that may be mended is left alone.
//!
//! Between two choices the world goes on until something is said, for two minutes at most. What happens, and how often, is bounded
//! by a budget; times count as they are from now, so that states that differ only in their date are one.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by its panic")]
#![allow(clippy::print_stdout, reason = "how much was searched is what the search is worth")]

#[path = "../../engine/tests/world/mod.rs"]
mod world;

use std::collections::BTreeSet;
use std::fmt;
use std::hash::{Hash, Hasher};

use engine::act::Outcome;
use engine::decide::{Autonomy, Controls, KillSwitch};
use engine::incident;
use engine::observe::{GuestId, GuestStatus, Inspection, Round, Subject, Task};
use engine::policy::Policy;
use engine::record::Order;
use engine::{Checkpoint, Command, Effect, Engine, Input};
use jiff::Timestamp;
use serde_json::Value;
use stateright::{Checker, Model, Property};
use world::{World, at};

/// What is asked of every state.
const NEVER: &str = "no guardrail is breached, nothing is left undone";
/// What is not mended so long after the last thing that befell anybody is left undone.
const DONE_WITHIN: i64 = 300;
/// How long the world goes on at most when nothing is said.
const PASS_MAX: i64 = 120;
/// What follows an operator's act within the seconds by which clocks may differ is taken for theirs, on purpose: an act takes longer here.
const ACT_TAKES: i64 = 6;
/// The actor ends a call by itself before the engine takes it for lost, ten minutes after it began.
const CALL_MAX: i64 = 600;

/// How often each thing may happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Budget {
    crashes: u8,
    stops: u8,
    starts: u8,
    switches: u8,
    locks: u8,
    orders: u8,
    deaths: u8,
    /// Ends of calls that do not work, or that nobody hears of.
    failures: u8,
    passes: u8,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Choice {
    Pass,
    Crash(GuestId),
    StopBy(GuestId),
    StartBy(GuestId),
    Switch,
    Lock(GuestId),
    Ends(End),
    Order(Order),
    /// Jarvis dies and is back; the call under way, if there is one, was made or not.
    Dies(bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Works,
    Fails,
    LostButMade,
    LostAndNotMade,
}

#[derive(Clone)]
struct Call {
    incident: incident::IncidentId,
    attempt: u32,
    guest: GuestId,
    node: String,
    begun: i64,
}

#[derive(Clone)]
struct State {
    engine: Engine,
    world: World,
    now: i64,
    asked: Vec<Inspection>,
    calls: Vec<Call>,
    controls: Controls,
    left: Budget,
    /// Guests that somebody stopped, and that nobody has started since.
    stopped_by: BTreeSet<GuestId>,
    /// The guest that somebody starts at this moment.
    starting: Option<GuestId>,
    /// Guests that a round has shown to run, and that have not stopped since.
    seen: BTreeSet<GuestId>,
    /// Those of them that crashed: one that lives for less than a round is known to nobody.
    crashed: BTreeSet<GuestId>,
    /// When each start was allowed.
    starts: Vec<(GuestId, i64)>,
    /// When something last befell anybody.
    event_at: i64,
    ordered: bool,
    /// What was said of what must be reached.
    mended: bool,
    escalated: bool,
    held: bool,
    wrong: Option<String>,
    lives: u64,
    /// All of that, with times from now.
    print: String,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s, {:?}, {:?}", self.now, self.left, self.wrong)
    }
}

impl PartialEq for State {
    fn eq(&self, other: &State) -> bool {
        self.print == other.print
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.print.hash(hasher);
    }
}

impl State {
    fn new(left: Budget) -> State {
        let controls =
            Controls { kill_switch: KillSwitch::Off, level: Autonomy::ActReport, ..Controls::default() };
        let mut state = State {
            engine: Engine::new("lab".parse().unwrap(), Policy::default(), 7),
            world: World::new(),
            now: 0,
            asked: Vec::new(),
            calls: Vec::new(),
            controls: controls.clone(),
            left,
            stopped_by: BTreeSet::new(),
            starting: None,
            seen: BTreeSet::new(),
            crashed: BTreeSet::new(),
            starts: Vec::new(),
            event_at: 0,
            ordered: false,
            mended: false,
            escalated: false,
            held: false,
            wrong: None,
            lives: 1,
            print: String::new(),
        };
        state.turn(Input::Commanded(Command::Controls(controls)));
        state.now = 5;
        state.round();
        state.sign();
        state
    }

    /// A turn of the engine; whether it said anything.
    fn turn(&mut self, input: Input) -> bool {
        let mut said = false;
        for effect in self.engine.step(at(self.now), input) {
            match effect {
                Effect::Record(entry) => {
                    let line = entry.to_string();
                    said |= !line.starts_with("heartbeat");
                    self.mended |= line.contains("mended by Jarvis");
                    self.escalated |= line.starts_with("escalated");
                    self.held |= line.starts_with("held") && line.contains("the kill switch");
                }
                Effect::Inspect(inspection) => self.asked.push(inspection),
                Effect::Notify(_) => {}
                Effect::Act(permit) => {
                    let (incident, subject, attempt) = permit.redeem();
                    let Subject::Guest(guest) = subject else { panic!("only guests crash here") };
                    let node = attempt.action.node().to_string();
                    self.judge(guest, &node);
                    self.starts.push((guest, self.now));
                    self.calls.push(Call { incident, attempt: attempt.number, guest, node, begun: self.now });
                }
            }
        }
        said
    }

    /// What no act may do.
    fn judge(&mut self, id: GuestId, node: &str) {
        let guest = &self.world.guests[&id];
        let recent = self.starts.iter().filter(|(of, when)| *of == id && self.now - when < 3600).count();
        #[rustfmt::skip]
        let breaches = [
            ("the kill switch is on",           self.controls.kill_switch != KillSwitch::Off),
            ("it runs",                         guest.status == GuestStatus::Running),
            ("somebody stopped it",             self.stopped_by.contains(&id)),
            ("it is locked",                    guest.lock.is_some()),
            ("somebody is starting it",         self.starting == Some(id)),
            ("it is being started already",     self.calls.iter().any(|call| call.guest == id)),
            ("another node is worked on",       self.calls.iter().any(|call| call.node != node)),
            ("there were three attempts",       recent >= 3 && !self.ordered),
        ];
        let found = breaches.iter().find(|(_, breached)| *breached);
        if let Some((what, _)) = found {
            self.wrong.get_or_insert_with(|| format!("{id} is started, and {what}"));
        }
    }

    /// Honest answers to all that is asked.
    fn answer(&mut self) -> bool {
        let mut said = false;
        while !self.asked.is_empty() {
            for inspection in std::mem::take(&mut self.asked) {
                let answer = self.world.answer(&inspection, self.now);
                said |= self.turn(Input::Inspected { inspection, answer });
            }
        }
        said
    }

    fn pass(&mut self) {
        let until = self.now + PASS_MAX;
        let mut said = self.answer();
        while !said && self.now < until {
            said |= self.second();
        }
        self.undone();
    }

    fn seconds(&mut self, count: i64) {
        for _ in 0..count {
            self.second();
        }
    }

    fn round(&mut self) -> bool {
        let runs = self.world.guests.iter().filter(|(_, guest)| guest.status == GuestStatus::Running);
        self.seen = runs.map(|(id, _)| *id).collect();
        self.turn(self.world.round(Round::Critical, self.now))
    }

    fn second(&mut self) -> bool {
        let mut said = false;
        self.now += 1;
        if (self.now - 5) % 12 == 0 {
            said |= self.round();
        }
        if self.engine.next_wake().is_some_and(|wake| wake <= at(self.now)) {
            said |= self.turn(Input::Tick);
        }
        said | self.answer()
    }

    /// What is not to be left alone.
    fn undone(&mut self) {
        if self.now - self.event_at < DONE_WITHIN
            || self.controls.kill_switch != KillSwitch::Off
            || self.ordered
        {
            return;
        }
        for (id, guest) in &self.world.guests {
            if !self.crashed.contains(id) || guest.lock.is_some() || !self.calls.is_empty() {
                continue;
            }
            let open = self.engine.open_incidents().find(|(slot, _)| slot.subject == Subject::Guest(*id));
            let idle = open.is_none_or(|(_, open)| matches!(open.state, incident::State::Open { .. }));
            if idle {
                self.wrong.get_or_insert_with(|| format!("{id} crashed, and nothing is done"));
            }
        }
    }

    fn task(&mut self, kind: &str, id: GuestId, user: &str) {
        self.world.tasks.push(Task {
            upid: format!("UPID:pve1:{kind}:{}:{}", id.vmid, self.now).into(),
            kind: kind.into(),
            id: id.vmid.to_string().into(),
            user: user.into(),
            started_at: at(self.now),
            ended_at: Some(at(self.now + 1)),
            status: Some("OK".into()),
        });
    }

    fn started(&mut self, id: GuestId, user: &str) {
        self.task("qmstart", id, user);
        self.world.start(&id.to_string(), self.now);
        self.stopped_by.remove(&id);
        self.crashed.remove(&id);
    }

    fn ends(&mut self, end: End) {
        let Call { incident, attempt, guest, .. } = self.calls.remove(0);
        let upid: Option<Box<str>> = Some(format!("UPID:pve1:qmstart:{}:{}", guest.vmid, self.now).into());
        let locked = self.world.guests[&guest].lock.is_some();
        let made = matches!(end, End::Works | End::LostButMade) && !locked;
        // One that somebody else started meanwhile runs already; PVE says so.
        if made && self.world.guests[&guest].status != GuestStatus::Running {
            self.started(guest, "jarvis@pve");
        }
        let outcome = match end {
            End::Works if made => Outcome::Done { upid, said: "OK".into() },
            End::Works | End::Fails => Outcome::Failed { upid, why: "start failed".into() },
            End::LostButMade | End::LostAndNotMade => Outcome::Unknown { why: "the answer was lost".into() },
        };
        self.now += 1;
        self.turn(Input::Acted { incident, attempt, outcome });
    }

    fn dies(&mut self, made: bool) {
        for call in std::mem::take(&mut self.calls) {
            let guest = &self.world.guests[&call.guest];
            if made && guest.lock.is_none() && guest.status != GuestStatus::Running {
                self.started(call.guest, "jarvis@pve");
            }
        }
        // As the store keeps it.
        let kept = serde_json::to_string(self.engine.checkpoint()).unwrap();
        let kept: Checkpoint = serde_json::from_str(&kept).unwrap();
        let name = self.engine.cluster().clone();
        self.lives += 1;
        self.now += 5;
        self.asked.clear();
        self.engine = Engine::restore(name, Policy::default(), self.lives, at(self.now), Some(kept), []);
        self.turn(Input::Commanded(Command::Controls(self.controls.clone())));
    }

    /// What makes it the same as another.
    fn sign(&mut self) {
        // By way of the text: a value has no room for the state of the ids.
        let moment = serde_json::to_string(&self.engine.moment()).unwrap();
        let moment = from_now(serde_json::from_str(&moment).unwrap(), self.now);
        let calls: Vec<_> = self.calls.iter().map(|call| (call.guest, call.attempt)).collect();
        let starts: Vec<_> = self.starts.iter().map(|(id, when)| (id, self.now - when)).collect();
        let guests: Vec<_> =
            self.world.guests.iter().map(|(id, guest)| (id, &guest.status, &guest.lock)).collect();
        let tasks: Vec<_> = self.world.tasks.iter().map(|task| (&task.kind, &task.id, &task.user)).collect();
        self.print = format!(
            "{moment} {calls:?} {starts:?} {guests:?} {tasks:?} {:?} {:?} {:?} {:?} {} {} {:?} {}",
            self.seen,
            self.crashed,
            self.left,
            self.controls.kill_switch,
            (self.now - self.event_at).min(DONE_WITHIN),
            (self.now - 5) % 12,
            self.wrong,
            self.ordered,
        );
    }
}

/// Instants as seconds before now; what only numbers things is left out.
fn from_now(value: Value, now: i64) -> Value {
    match value {
        Value::String(text) => match text.parse::<Timestamp>() {
            Ok(instant) => Value::from((instant.as_second() - at(now).as_second()).max(-4000)),
            Err(_) => Value::String(text),
        },
        Value::Array(items) => items.into_iter().map(|item| from_now(item, now)).collect(),
        Value::Object(fields) => {
            let told = fields.into_iter().filter(|(key, _)| !matches!(key.as_str(), "ids" | "uptime" | "id"));
            Value::Object(told.map(|(key, item)| (key, from_now(item, now))).collect())
        }
        other @ (Value::Null | Value::Bool(_) | Value::Number(_)) => other,
    }
}

struct Incidents {
    guests: Vec<GuestId>,
    budget: Budget,
    reached: Reached,
}

/// What some state at least must show, beside a guest that is mended: else the budget is too small to mean anything.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reached {
    Mended,
    Held,
    Escalated,
}

impl Model for Incidents {
    type State = State;
    type Action = Choice;

    fn init_states(&self) -> Vec<State> {
        vec![State::new(self.budget)]
    }

    fn actions(&self, state: &State, choices: &mut Vec<Choice>) {
        if state.wrong.is_some() {
            return;
        }
        let left = &state.left;
        for id in &self.guests {
            let guest = &state.world.guests[id];
            let runs = guest.status == GuestStatus::Running;
            choices.extend((runs && left.crashes > 0).then_some(Choice::Crash(*id)));
            choices.extend((left.stops > 0 && guest.lock.is_none()).then_some(Choice::StopBy(*id)));
            choices
                .extend((!runs && left.starts > 0 && guest.lock.is_none()).then_some(Choice::StartBy(*id)));
            choices.extend((left.locks > 0).then_some(Choice::Lock(*id)));
        }
        choices.extend((left.switches > 0).then_some(Choice::Switch));
        let open = state.engine.open_incidents().next().is_some();
        if open && left.orders > 0 {
            choices.extend([Choice::Order(Order::Approve), Choice::Order(Order::Dismiss)]);
        }
        if left.deaths > 0 {
            choices.push(Choice::Dies(false));
            choices.extend((!state.calls.is_empty()).then_some(Choice::Dies(true)));
        }
        if !state.calls.is_empty() {
            choices.push(Choice::Ends(End::Works));
            if left.failures > 0 {
                let bad = [End::Fails, End::LostButMade, End::LostAndNotMade];
                choices.extend(bad.map(Choice::Ends));
            }
        }
        let waits = state.calls.iter().all(|call| state.now + PASS_MAX - call.begun < CALL_MAX);
        choices.extend((waits && left.passes > 0).then_some(Choice::Pass));
    }

    fn next_state(&self, last: &State, choice: Choice) -> Option<State> {
        let mut state = last.clone();
        let left = &mut state.left;
        let event = !matches!(choice, Choice::Pass);
        match choice {
            Choice::Pass => {
                left.passes -= 1;
                state.pass();
            }
            Choice::Crash(id) => {
                left.crashes -= 1;
                state.world.guest(&id.to_string()).status = GuestStatus::Stopped;
                if state.seen.remove(&id) {
                    state.crashed.insert(id);
                }
            }
            Choice::StopBy(id) => {
                left.stops -= 1;
                state.world.guest(&id.to_string()).status = GuestStatus::Stopped;
                state.stopped_by.insert(id);
                state.crashed.remove(&id);
                state.task("qmstop", id, "alice@pve");
                state.seconds(ACT_TAKES);
            }
            Choice::StartBy(id) => {
                left.starts -= 1;
                state.starting = Some(id);
                state.task("qmstart", id, "alice@pve");
                if let Some(task) = state.world.tasks.last_mut() {
                    (task.ended_at, task.status) = (None, None);
                }
                state.seconds(ACT_TAKES / 2);
                state.world.tasks.pop();
                state.starting = None;
                if state.world.guests[&id].status != GuestStatus::Running {
                    state.started(id, "alice@pve");
                }
                state.seconds(ACT_TAKES / 2);
            }
            Choice::Switch => {
                left.switches -= 1;
                let on = state.controls.kill_switch == KillSwitch::On;
                state.controls.kill_switch = if on { KillSwitch::Off } else { KillSwitch::On };
                state.turn(Input::Commanded(Command::Controls(state.controls.clone())));
            }
            Choice::Lock(id) => {
                left.locks -= 1;
                let guest = state.world.guest(&id.to_string());
                guest.lock = if guest.lock.is_none() { Some("backup".into()) } else { None };
            }
            Choice::Order(order) => {
                left.orders -= 1;
                state.ordered = true;
                let incident = state.engine.open_incidents().next()?.1.id;
                state.turn(Input::Commanded(Command::Order { incident, by: "alice".into(), order }));
            }
            Choice::Ends(end) => {
                left.failures -= u8::from(end != End::Works);
                state.ends(end);
            }
            Choice::Dies(made) => {
                left.deaths -= 1;
                state.dies(made);
            }
        }
        if event {
            state.event_at = state.now;
        }
        state.sign();
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Incidents>> {
        let mut properties = vec![
            Property::<Incidents>::always(NEVER, |_, state| state.wrong.is_none()),
            Property::<Incidents>::sometimes("a guest is mended", |_, state| state.mended),
        ];
        properties.extend(match self.reached {
            Reached::Mended => None,
            Reached::Held => {
                Some(Property::<Incidents>::sometimes("the kill switch holds", |_, state| state.held))
            }
            Reached::Escalated => {
                Some(Property::<Incidents>::sometimes("people are called", |_, state| state.escalated))
            }
        });
        properties
    }
}

/// Every state that the budget reaches; prints how many there are.
fn check(name: &str, guests: &[&str], budget: Budget, reached: Reached) {
    let guests = guests.iter().map(|id| id.parse().unwrap()).collect();
    let checker = Incidents { guests, budget, reached }.checker().threads(2).spawn_bfs().join();
    println!("{name}: {} states, {} of them different", checker.state_count(), checker.unique_state_count());
    if let Some(path) = checker.discovery(NEVER) {
        let (last, choices) = (path.last_state().wrong.clone(), path.into_actions());
        panic!("{name}: {last:?} after {choices:#?}");
    }
    checker.assert_properties();
}

#[test]
fn in_no_state_is_a_guardrail_breached() {
    use Reached::{Escalated, Held, Mended};
    let large = std::env::var("MODEL").is_ok_and(|size| size == "large");
    let (vm, both) = (["qemu/101"], ["qemu/101", "qemu/102"]);
    let passes = if large { 8 } else { 5 };
    let one = Budget { crashes: 1, passes, ..Budget::default() };
    check("deaths", &vm, Budget { deaths: 2, failures: 2, ..one }, Mended);
    check("operators", &vm, Budget { stops: 1, starts: 1, failures: 1, ..one }, Mended);
    check("kill switch and lock", &vm, Budget { switches: 2, locks: 2, failures: 1, ..one }, Held);
    check("orders", &vm, Budget { orders: 2, failures: 2, stops: 1, ..one }, Mended);
    check("attempts", &vm, Budget { crashes: 3, failures: 4, passes: passes + 4, ..one }, Escalated);
    check("two nodes", &both, Budget { crashes: 2, failures: 1, deaths: 1, ..one }, Mended);
    if large {
        let all =
            Budget { switches: 1, locks: 1, stops: 1, starts: 1, orders: 1, deaths: 1, failures: 1, ..one };
        check("everything once", &vm, Budget { passes: 6, ..all }, Held);
    }
}
