//! Tell: people are told by mail and by webhook, from the outbox.
//!
//! | file | what it does |
//! |---|---|
//! | [`plan`] | what is sent next, and when: pure |
//! | [`letter`] | one message in the words of each way: pure |
//! | `mail`, `webhook` | how it is sent |
//! | [`command`] | `jarvis notify-test` |
//!
//! What is told, and to whom, was decided when it was recorded (`record/outbox.rs`). Here it is sent, at least once and
//! with the same identity at each try, and what became of it is recorded. Each channel has a loop of its own.

pub mod command;
pub mod letter;
mod mail;
pub mod plan;
mod webhook;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use tokio::sync::broadcast::error::RecvError;
use uuid::Uuid;

use crate::clock::Clock;
use crate::config;
use crate::kill_point;
use crate::record::{ChannelKind, ChannelRow, NewChannel, Store, StoreError, Tried};
use crate::supervise::{self, Stop};
use letter::{Kind, Letter};
use mail::Mailer;
use plan::{Held, Next, Of, Pace};
use webhook::Hook;

pub(crate) use mail::address as mail_address;
pub(crate) use webhook::key as webhook_key;

/// How long the store is left alone after it failed.
const STORE_AGAIN: Duration = Duration::from_secs(2);
/// An answer that waits for an event at least looks again after this: the store may have been written to by another hand.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// It was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// What the other side said to it.
    pub said: String,
}

/// It was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsent {
    /// Why, for people.
    pub words: String,
    /// What that says about it, and about what else waits.
    pub why: Why,
}

/// What it means that a letter was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Not now.
    Failed(Of),
    /// This one never will be.
    Refused,
}

impl Unsent {
    /// Nothing is taken over this channel.
    fn failed(words: String) -> Unsent {
        Unsent { words, why: Why::Failed(Of::Channel) }
    }

    /// This letter is not, for now.
    fn not_this(words: String) -> Unsent {
        Unsent { words, why: Why::Failed(Of::Message) }
    }

    fn refused(words: String) -> Unsent {
        Unsent { words, why: Why::Refused }
    }
}

impl Unsent {
    /// What is to be recorded of it. A call is not given up for a refusal: what refuses it may be mended, and somebody is to
    /// come. That it was refused is said once.
    fn tried(self, post: (Uuid, Kind), in_a_row: u32, held: &mut Held, now: Timestamp) -> Tried {
        let (Unsent { words: error, why }, (message, kind)) = (self, post);
        match (why, kind) {
            (Why::Failed(of), _) => {
                let next_try = held.failed(now, message, of, in_a_row);
                Tried::Failed { error, next_try }
            }
            (Why::Refused, Kind::Call) => {
                let known = held.is_held(message);
                let next_try = held.failed(now, message, Of::Message, in_a_row);
                match known {
                    true => Tried::Failed { error, next_try },
                    false => Tried::Refused { error, next_try: Some(next_try) },
                }
            }
            (Why::Refused, Kind::Report | Kind::Test) => Tried::Refused { error, next_try: None },
        }
    }
}

/// One way to tell somebody.
pub struct Channel {
    stored: NewChannel,
    pace: Pace,
    way: Way,
    public_url: Option<String>,
}

enum Way {
    Mail(Box<Mailer>),
    Webhook(Hook),
}

impl Channel {
    /// Its name: `mail:admin@example.org`, `webhook:pager`.
    pub fn name(&self) -> &str {
        &self.stored.name
    }

    /// Sends a letter that tells nothing, to see whether it arrives.
    ///
    /// # Errors
    /// Why it was not taken.
    pub async fn test(&self, at: Timestamp) -> Result<Sent, Unsent> {
        self.send(&Letter::test(Uuid::new_v4(), at, self.public_url.clone())).await
    }

    async fn send(&self, letter: &Letter) -> Result<Sent, Unsent> {
        match &self.way {
            Way::Mail(mailer) => mailer.send(letter).await,
            Way::Webhook(hook) => hook.send(letter).await,
        }
    }
}

/// The channels that are configured: one for each address, and each webhook.
///
/// # Errors
/// A certificate or an address that a library refuses although the configuration took it.
pub fn channels(told: &config::Told) -> anyhow::Result<Vec<Channel>> {
    let mut channels = Vec::new();
    let public_url = &told.public_url;
    if let Some(mail) = &told.mail {
        for to in &mail.to {
            let name = format!("mail:{to}");
            let way = Mailer::new(mail, to).with_context(|| name.clone())?;
            channels.push(Channel {
                stored: NewChannel { name, kind: ChannelKind::Mail, least: mail.least },
                pace: Pace::MAIL,
                way: Way::Mail(Box::new(way)),
                public_url: public_url.clone(),
            });
        }
    }
    for webhook in &told.webhooks {
        let name = format!("webhook:{}", webhook.name);
        let way = Hook::new(webhook).with_context(|| name.clone())?;
        channels.push(Channel {
            stored: NewChannel { name, kind: ChannelKind::Webhook, least: webhook.least },
            pace: Pace::WEBHOOK,
            way: Way::Webhook(way),
            public_url: public_url.clone(),
        });
    }
    Ok(channels)
}

/// As the store is told of them ([`Store::use_channels`]): from then on what is recorded is put in for them.
pub fn used(channels: &[Channel]) -> Vec<NewChannel> {
    channels.iter().map(|channel| channel.stored.clone()).collect()
}

/// Tells the store of the channels as soon as it takes something.
pub async fn use_later(store: Store, channels: Vec<NewChannel>, clock: Arc<Clock>, mut stop: Stop) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(STORE_AGAIN) => {}
            () = stop.asked() => return,
        }
        match store.use_channels(channels.clone(), clock.now()).await {
            Ok(()) => return tracing::info!("people are told of what happens from now on"),
            Err(StoreError::Closed) => return,
            Err(error) => tracing::debug!(%error, "the store does not take who is told"),
        }
    }
}

/// Tells what people were not told while somebody had asked for quiet and is still so, soon after that is over.
pub async fn unmute(store: Store, clock: Arc<Clock>, mut stop: Stop) {
    loop {
        match store.tell_unmuted(clock.now()).await {
            Ok(0) => {}
            Ok(incidents) => tracing::info!(incidents, "told what is still so after a time of quiet"),
            Err(StoreError::Closed) => return,
            Err(error) => tracing::error!("what is still so after a time of quiet cannot be told: {error}"),
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_AGAIN) => {}
            () = stop.asked() => return,
        }
    }
}

/// Sends what waits for a channel until the daemon stops; survives its own panics.
pub async fn deliver(channel: Arc<Channel>, store: Store, clock: Arc<Clock>, stop: Stop) {
    let name = format!("{} delivery", channel.name());
    let make = {
        let stop = stop.clone();
        move || run(Arc::clone(&channel), store.clone(), Arc::clone(&clock), stop.clone())
    };
    supervise::keep_alive(name, stop, make).await;
}

async fn run(channel: Arc<Channel>, store: Store, clock: Arc<Clock>, mut stop: Stop) -> anyhow::Result<()> {
    let mut committed = store.committed();
    let mut held = Held::default();
    while !stop.is_asked() {
        let until = match store.outbox(channel.name()).await {
            Ok(Some((state, waiting))) => {
                held.keep(&waiting);
                match plan::next(clock.now(), channel.pace, &state, &held, &waiting) {
                    Next::Send { ids, message, call, made } => {
                        let kind = if call { Kind::Call } else { Kind::Report };
                        let message = message.unwrap_or_else(Uuid::new_v4);
                        let post = Post { ids, message, kind, made };
                        post.send(&channel, &state, &mut held, &store, &clock, &mut stop).await;
                        continue;
                    }
                    Next::At(until) => Some(until),
                    Next::Idle => None,
                }
            }
            Ok(None) => None,
            Err(StoreError::Closed) => return Ok(()),
            Err(error) => {
                tracing::error!(channel = channel.name(), "the outbox cannot be read: {error}");
                tokio::time::sleep(STORE_AGAIN).await;
                continue;
            }
        };
        let due = async {
            match until {
                Some(until) => clock.sleep_until(until).await,
                None => tokio::time::sleep(LOOK_AGAIN).await,
            }
        };
        tokio::select! {
            () = due => {}
            told = committed.recv() => match told {
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return Ok(()),
            },
            () = stop.asked() => {}
        }
    }
    Ok(())
}

/// A message on its way.
struct Post {
    ids: Vec<i64>,
    message: Uuid,
    kind: Kind,
    made: Timestamp,
}

impl Post {
    async fn send(
        self,
        channel: &Channel,
        state: &ChannelRow,
        held: &mut Held,
        store: &Store,
        clock: &Clock,
        stop: &mut Stop,
    ) {
        let Post { ids, message, kind, made } = self;
        let begun = store.begin_message(&ids, message).await;
        let contents = match begun {
            Ok(contents) => contents,
            Err(error) => {
                tracing::error!(
                    channel = channel.name(),
                    "what waits cannot be sent, since that could not be recorded: {error}"
                );
                tokio::time::sleep(STORE_AGAIN).await;
                return;
            }
        };
        kill_point::at("tell.begun");
        let public_url = channel.public_url.clone();
        let untold = contents.iter().map(|content| content.given_up).sum();
        let letter = Letter { message, kind, made, contents, untold, public_url };
        let sent = channel.send(&letter).await;
        kill_point::at("tell.accepted");
        let tried = match sent {
            Ok(Sent { said }) => {
                tracing::info!(channel = channel.name(), %message, events = ids.len(), "told: {said}");
                Tried::Accepted
            }
            Err(unsent) => {
                let words = unsent.words.clone();
                let in_a_row = state.failures.saturating_add(1);
                let tried = unsent.tried((message, kind), in_a_row, held, clock.now());
                if let Tried::Refused { next_try: None, .. } = tried {
                    tracing::error!(channel = channel.name(), %message, "not told, and given up: {words}");
                } else {
                    tracing::warn!(channel = channel.name(), %message, "not told yet: {words}");
                }
                tried
            }
        };
        let report = kind == Kind::Report;
        // Until it is recorded nothing else is sent: what was accepted would be sent again.
        while let Err(error) =
            store.end_message(&channel.stored, &ids, report, tried.clone(), clock.now()).await
        {
            if matches!(error, StoreError::Closed) || stop.is_asked() {
                return;
            }
            tracing::error!(
                channel = channel.name(),
                "what became of a message could not be recorded: {error}"
            );
            tokio::time::sleep(STORE_AGAIN).await;
        }
        kill_point::at("tell.recorded");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_not_given_up_for_a_refusal() {
        use Why::{Failed, Refused};
        let at = |seconds: i64| Timestamp::from_second(1_795_000_000 + seconds).unwrap();
        let failed = |seconds| Tried::Failed { error: "no".into(), next_try: at(seconds) };
        let refused = |next_try| Tried::Refused { error: "no".into(), next_try };
        #[rustfmt::skip]
        let table = [
            ("a call refused is kept",     Kind::Call,   vec![Refused],                              refused(Some(at(10)))),
            ("and that is said once",      Kind::Call,   vec![Refused, Refused],                     failed(10)),
            ("also after an outage",       Kind::Call,   vec![Failed(Of::Channel), Refused],         refused(Some(at(10)))),
            ("a report refused is not",    Kind::Report, vec![Refused],                              refused(None)),
            ("a call on no way",           Kind::Call,   vec![Failed(Of::Channel)],                  failed(10)),
            ("which is tried more rarely", Kind::Call,   vec![Failed(Of::Channel); 3],               failed(60)),
            ("a report not taken for now", Kind::Report, vec![Failed(Of::Message)],                  failed(10)),
        ];
        for (name, kind, whys, expected) in table {
            let mut held = Held::default();
            let tries = whys.into_iter().zip(1..).map(|(why, in_a_row)| {
                let unsent = Unsent { words: "no".into(), why };
                unsent.tried((Uuid::from_u128(7), kind), in_a_row, &mut held, at(0))
            });
            assert_eq!(tries.last(), Some(expected), "{name}");
        }
    }
}
