//! Switches: the kill switch and the level, said on a socket at `/events` instead of by REST.
//!
//! A page that shows what happens has a connection already, and whoever stops everything does not wait for another one. The
//! message wants the same body as the call and is answered, where the client asks for it, with the same fields; a refusal has
//! its status beside its words. Who may what is asked anew at each message: a login may have become less since it came in.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use jiff::Timestamp;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use socketioxide::extract::{AckSender, SocketRef, TryData};

use super::auth::Pass;
use super::bucket::Bucket;
use super::caller::Caller;
use super::control::{self, KILL_SWITCH_SHAPE};
use super::login::BAD_TOKEN;
use super::refusal::Refusal;
use super::web::{Answer, App};

/// Each is a row of the journal: what a hand does at once, then one per so long.
const BURST: u32 = 10;
const EVERY: Duration = Duration::from_secs(1);

/// Listens to a socket until it goes. It must not keep what the server is made of.
pub(super) fn listen(app: &Arc<App>, socket: &SocketRef, pass: Pass) {
    let tries = Arc::new(Bucket::new(BURST, EVERY));
    let (here, own) = (Arc::downgrade(app), Arc::clone(&tries));
    socket.on("killSwitch", async move |ack: AckSender, TryData(body): TryData<Fields>| {
        let Some((app, caller)) = asks(&here, pass) else { return answer(ack, Err(ended())) };
        answer(ack, switch(&app, &caller, body.ok(), &own).await);
    });
    let here = Arc::downgrade(app);
    socket.on("autonomyLevel", async move |ack: AckSender, TryData(body): TryData<Fields>| {
        let Some((app, caller)) = asks(&here, pass) else { return answer(ack, Err(ended())) };
        answer(ack, level(&app, &caller, body.ok(), &tries).await);
    });
}

/// An object's fields, each as often as it was said. A list is none, whatever its length.
pub(super) struct Fields(Vec<(String, Value)>);

impl Fields {
    /// The value, where this is the only field.
    pub(super) fn only(&self, name: &str) -> Option<&Value> {
        let [(said, value)] = &self.0[..] else { return None };
        (said == name).then_some(value)
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Fields, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Fields;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Fields, M::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        from.deserialize_map(Object)
    }
}

/// Who it is, as they are now.
fn asks(app: &Weak<App>, pass: Pass) -> Option<(Arc<App>, Caller)> {
    let app = app.upgrade()?;
    let caller = app.auth.still(pass, Timestamp::now())?.caller;
    Some((app, caller))
}

fn ended() -> Refusal {
    Refusal::new(StatusCode::UNAUTHORIZED, BAD_TOKEN)
}

async fn switch(app: &App, caller: &Caller, body: Option<Fields>, tries: &Bucket) -> Answer<Value> {
    let active = body.as_ref().and_then(|body| body.only("active")?.as_bool());
    let Some(active) = active else {
        return Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            format!("The message must have one body: {KILL_SWITCH_SHAPE}"),
        ));
    };
    let on = if tries.take(Instant::now()).is_ok() {
        control::set_switch(app, caller, active).await?
    } else {
        control::stop_unstored(app, caller, active)?
    };
    Ok(json!({ "killSwitch": on }))
}

async fn level(app: &App, caller: &Caller, body: Option<Fields>, tries: &Bucket) -> Answer<Value> {
    let setting = control::level_said(app, body.as_ref())?;
    if tries.take(Instant::now()).is_err() {
        return Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, TOO_MANY));
    }
    Ok(json!({ "autonomyLevel": control::set_autonomy(app, caller, setting).await? }))
}

pub(super) const TOO_MANY: &str = "Too many changes at once, try again";

fn answer(ack: AckSender, answer: Answer<Value>) {
    let said = answer.unwrap_or_else(|refusal| refusal.as_message());
    if let Err(error) = ack.send(&said) {
        tracing::debug!("a socket is not told what came of its message: {error}");
    }
}
