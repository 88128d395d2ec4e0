//! Decides what becomes of one request to send: the limits first, then the account, then the faults on order.

use super::MessageKey;
use super::callback::{self, Message, Report};
use super::faults::{Act, Behaviour, Dice, RequestInfo};
use super::ledger::Arrived;
use super::server::{Shared, State};
use crate::clock;
use crate::model::Time;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// A request to send whose body was read.
pub struct Asked<'a> {
    pub path: &'a str,
    pub request_id: Option<&'a str>,
    pub body: &'a [u8],
}

/// What this request gets.
pub struct Decided {
    pub delay: Duration,
    pub act: Act,
    /// For the answer of a send that worked; in lower case.
    pub msg_id: Box<str>,
    /// The callback that comes before the answer.
    pub early: Option<JoinHandle<()>>,
}

type Fields<'a> = BTreeMap<String, &'a RawValue>;

/// Enters the request into the ledger on the way, and lets its callback begin.
pub fn decide(shared: &Arc<Shared>, asked: &Asked<'_>) -> Decided {
    let msg_id = clock::random_uuid().to_string().into_boxed_str();
    let without = |behaviour: Behaviour| {
        let Behaviour { delay, act, effect: _, report: _ } = behaviour;
        Decided { delay, act, msg_id: msg_id.clone(), early: None }
    };
    let fields: Fields<'_> = match serde_json::from_slice(asked.body) {
        Ok(fields) => fields,
        Err(_) => return without(Behaviour::code(400, "the body is not a JSON object")),
    };
    let Some(account) = text(&fields, "wxId") else { return without(Behaviour::code(400, "wxId is missing")) };
    let Some(conversation) = text(&fields, "conversationId") else {
        return without(Behaviour::code(400, "conversationId is missing"));
    };
    let message = message_token(&fields, asked.body, &shared.message_key);

    let mut state = shared.state();
    let state = &mut *state;
    let known = state.accounts.get(&*account);
    let corp = known.map_or(state.default_corp.as_deref(), |known| known.corp.as_deref());
    // Read under the lock, so that arrivals are entered in the order of their times.
    let at = shared.clock.now();
    let earlier = state.book.ledger().arrivals;
    let arrived = Arrived { at, message: message.clone(), request_id: asked.request_id.map(Box::from) };
    let mut dice = dice(shared, asked, at);
    let latency = dice.within(&shared.latency);
    if state.book.arrive(&account, corp, arrived).is_violation() {
        return without(Behaviour::too_frequent().after(latency));
    }
    match known {
        Some(known) if !known.online => return without(Behaviour::offline().after(latency)),
        Some(_) => {}
        None if state.default_corp.is_some() => {}
        None => return without(Behaviour::code(1, "账号不存在").after(latency)),
    }
    let request_id = asked.request_id.map(Box::from);
    let info = RequestInfo { account, path: Box::from(asked.path), message, request_id, earlier };
    let Behaviour { delay, effect, act, report } = state.faults.decide(&info, &mut dice);
    if effect {
        state.book.take_effect(&info.message, info.request_id.as_deref());
    }
    let early = if state.outbox.target.is_some() && report.is_made(effect) {
        let message = Reported { account: &info.account, conversation: &conversation, path: asked.path, at };
        report_send(shared, state, &message, &fields, &msg_id, &report, &mut dice)
    } else {
        None
    };
    Decided { delay: delay + latency, act, msg_id, early }
}

/// A message that a callback is about.
struct Reported<'a> {
    account: &'a str,
    conversation: &'a str,
    path: &'a str,
    at: Time,
}

/// The task of a callback that the answer has to wait for.
fn report_send(
    shared: &Arc<Shared>,
    state: &mut State,
    reported: &Reported<'_>,
    fields: &Fields<'_>,
    msg_id: &str,
    report: &Report,
    dice: &mut Dice,
) -> Option<JoinHandle<()>> {
    let Reported { account, conversation, path, at } = *reported;
    let settings = &shared.courier.settings;
    let content = callback::content(path, &|name| field::<Value>(fields, name))?;
    let server_id = state.next_server_id();
    let message = Message { account, conversation, at, server_id, msg_id, user: &settings.user };
    let made = callback::said(&message, content, report).made(settings, at);
    let latency = dice.within(&settings.latency);
    let task = callback::post(shared, state, made, report, latency)?;
    (report.when == callback::When::Early).then_some(task)
}

/// Drawn from the client's own number of the request; the time is a token only where it has none.
fn dice(shared: &Shared, asked: &Asked<'_>, at: Time) -> Dice {
    match asked.request_id {
        Some(request_id) => Dice::new(shared.seed, request_id.as_bytes()),
        None => Dice::new(shared.seed, &at.as_nanos().to_le_bytes()),
    }
}

fn message_token(fields: &Fields<'_>, body: &[u8], key: &MessageKey) -> Box<str> {
    let named = match key {
        MessageKey::Field(name) => text(fields, name),
        MessageKey::Digest => None,
    };
    named.unwrap_or_else(|| {
        let digest = Sha256::digest(body);
        let mut hex = String::with_capacity(32);
        for byte in &digest[..16] {
            write!(hex, "{byte:02x}").expect("a string takes everything");
        }
        hex.into_boxed_str()
    })
}

/// A field, whatever the case its name is written in.
fn raw<'a>(fields: &Fields<'a>, name: &str) -> Option<&'a str> {
    let (_, raw) = fields.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?;
    Some(raw.get())
}

fn field<T: DeserializeOwned>(fields: &Fields<'_>, name: &str) -> Option<T> {
    serde_json::from_str(raw(fields, name)?).ok()
}

/// The text of a field, or of the number in it.
fn text(fields: &Fields<'_>, name: &str) -> Option<Box<str>> {
    let raw = raw(fields, name)?;
    if raw.starts_with('"') {
        return field(fields, name);
    }
    raw.bytes().all(|byte| byte.is_ascii_digit()).then(|| Box::from(raw))
}
