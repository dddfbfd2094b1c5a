//! Pretends to be a Proxmox VE cluster, for tests and demos.
//!
//! | file | does |
//! |---|---|
//! | [`cluster`] | nodes, guests, storages and tasks on a virtual clock: time is an argument |
//! | [`script`] | the scenario language: what the cluster is, and what happens to it when |
//! | [`run`] | engine + cluster -> log, without waiting for anything |
//! | `http` | the same cluster behind PVE's HTTP API (feature `http`), on the real clock |
//!
//! It behaves as Proxmox VE 9.2 was seen to behave on the wire, its oddities included. It knows the engine's
//! types and nothing of the API client or the daemon, so that neither can be right merely by agreeing with
//! itself.

pub mod cluster;
mod rng;
pub mod run;
pub mod script;

#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "http")]
mod json;

pub use rng::Rng;
