//! Operate: what an operator says about an incident, on its way to the engine that it belongs to, and its answer.
//!
//! Who may say it was asked before. Nothing is decided here: an approval passes every guardrail but the level, and the
//! engine asks them.

use engine::Prospect;
use engine::incident::IncidentId;
use engine::record::Order;
use tokio::sync::{mpsc, oneshot};

/// Orders that may wait for one engine: people type slowly.
pub const ORDERS_MAX: usize = 64;

/// Something that an operator said.
#[derive(Debug)]
pub struct Ordered {
    /// About which incident.
    pub incident: IncidentId,
    /// Who, as the journal names them.
    pub by: Box<str>,
    /// What.
    pub order: Order,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Taken>,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is in the journal, and holds; what comes next, where the incident is still open.
    Recorded(Option<Box<Prospect>>),
    /// The incident is not open, or not any more.
    NotOpen,
    /// It holds until the next start, and the store did not take it.
    NotRecorded,
}

/// Where an engine's orders are handed in.
pub type Desk = mpsc::Sender<Ordered>;
