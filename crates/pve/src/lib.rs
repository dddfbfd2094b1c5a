//! Speaks to Proxmox VE's API: token, TLS, limits, and JSON as PVE really sends it.
//!
//! Knows nothing of incidents, keeps no state between calls but open connections, and chooses nothing: it asks
//! one endpoint what it is told to ask. Which endpoint to ask, when, and what an answer means is the caller's.
//!
//! ```text
//! client   Client: one endpoint, one token, the limits; sends one request at a time per seat
//! api      one function per endpoint of PVE that is used
//! answer   status, reason and body -> a typed answer or an Error; pure
//! types    JSON as PVE really sends it; a row that cannot be read is kept beside the others
//! error    what went wrong, by what the caller does next
//! upid     task ids and how a task ended
//! tls      whom to trust
//! token    who we are; the secret never shows
//! ids      names that may stand in a path
//! ```

pub mod answer;
mod api;
mod client;
mod error;
mod ids;
mod lenient;
mod tls;
mod token;
pub mod types;
mod upid;

pub use api::{JournalQuery, TaskQuery, TaskSource, Timeframe};
pub use client::{BuildError, Client, Endpoint, EndpointError, Limits};
pub use error::{Asked, Error, Obstacle, Refusal, Step};
pub use ids::{GuestId, GuestKind, InvalidId, NodeName};
pub use tls::{Fingerprint, FingerprintError, Trust};
pub use token::{Secret, Token, TokenError};
pub use upid::{ExitStatus, Upid, UpidError};
