//! Does: the same words as the engine, now with a clock, sockets and a file.
//!
//! | word | here |
//! |---|---|
//! | `observe` | polling tiers over one shared observation, translated into the engine's snapshots |
//! | [`record`] | the SQLite store |
//! | [`report`] | REST, Socket.IO and the page's arrays |
//! | [`tell`] | mail and webhooks, from the outbox |
//! | [`act`] | does one thing to a cluster, once, and says how it ended |
//! | [`run`] | the loop; nothing else may call the engine's `step` |
//! | [`daemon`] | all of it put together: start and clean stop |
//! | [`cli`] | the commands that ask the daemon, or its store while it is down |
//! | [`doctor`] | whether everything is set up so that it can work, and what mends it |
//! | [`demo`], [`ops`] | the other commands of the binary |
//! | `words` | words of others, made fit to be shown |
//! | `key`, `secret_file` | the key beside the database, with which logins and the journal are signed |
//! | [`machine`] | the machine that this runs on
//! | [`open_files`] | as many as the sockets need |
//! | [`core_dump`] | the memory, which holds secrets, is not written anywhere
//! | [`config`] | the settings, and the only place that reads the environment |
//!
//! Detecting and deciding exist only in the engine, because nothing in them touches the world.

pub mod act;
pub mod cli;
pub mod clock;
pub mod config;
pub mod core_dump;
pub mod daemon;
pub mod demo;
pub mod doctor;
mod key;
pub mod kill_point;
pub mod machine;
mod observe;
pub mod open_files;
pub mod operate;
pub mod ops;
pub mod record;
pub mod report;
pub mod run;
mod secret_file;
pub mod supervise;
pub mod tape;
pub mod tell;
mod words;
pub mod zone;

pub use observe::{Observer, Source as TemperatureSource, Tiers};
