//! Thinks: from what was seen to what is to be told and what is to be done.
//!
//! The words, in the order of the flow; `docs/` and the daemon use the same ones.
//!
//! | word | owns |
//! |---|---|
//! | [`observe`] | what a round of polling saw, and what it could not see |
//! | [`detect`] | every check: what changed, what is over its mark, why a guest stopped |
//! | [`incident`] | what is open; the only place where that changes |
//! | [`decide`] | what is to be done now: the runbooks, the guardrails, the permit |
//! | [`act`] | what can be done at all, as data |
//! | [`verify`] | whether it helped |
//! | [`about`], [`window`] | what operators announce: about what, and when |
//! | [`policy`] | the settings as used: parsed, checked, complete |
//! | [`record`] | what is written down, in words |
//! | [`report`] | what people and programs are told |
//! | [`engine`] | the one door: `step(now, input) -> effects` |
//!
//! Nothing here reads a clock, a socket, a file or the environment: time, ids and settings are arguments
//! (`clippy.toml` beside this crate forbids the rest). What must be asked of the world leaves as an
//! [`engine::Effect`]; the answer comes back as an [`engine::Input`].

mod as_list;

pub mod about;
pub mod act;
pub mod decide;
pub mod detect;
pub mod engine;
pub mod incident;
pub mod observe;
pub mod policy;
pub mod record;
pub mod report;
pub mod verify;
pub mod window;

pub use engine::{Checkpoint, Command, Effect, Engine, Input, Moment, Next, Prospect};
