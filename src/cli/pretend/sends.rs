//! Decides what becomes of one request to send: the limits first, then the account, then the faults on order.

use super::MessageKey;
use super::faults::{Behaviour, Dice, RequestInfo};
use super::ledger::Arrived;
use super::server::Shared;
use crate::model::Time;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write;

/// A request to send whose body was read.
pub struct Asked<'a> {
    pub path: &'a str,
    pub request_id: Option<&'a str>,
    pub body: &'a [u8],
}

/// What this request gets. Enters it into the ledger on the way.
pub fn decide(shared: &Shared, asked: &Asked<'_>) -> Behaviour {
    let fields: BTreeMap<String, &RawValue> = match serde_json::from_slice(asked.body) {
        Ok(fields) => fields,
        Err(_) => return Behaviour::code(400, "the body is not a JSON object"),
    };
    let Some(account) = text(&fields, "wxId") else { return Behaviour::code(400, "wxId is missing") };
    if text(&fields, "conversationId").is_none() {
        return Behaviour::code(400, "conversationId is missing");
    }
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
        return Behaviour::code(-1_000_999, "Abnormal request frequency").after(latency);
    }
    match known {
        Some(known) if !known.online => return Behaviour::offline().after(latency),
        Some(_) => {}
        None if state.default_corp.is_some() => {}
        None => return Behaviour::code(1, "账号不存在").after(latency),
    }
    let request_id = asked.request_id.map(Box::from);
    let info = RequestInfo { account, path: Box::from(asked.path), message, request_id, earlier };
    let behaviour = state.faults.decide(&info, &mut dice);
    if behaviour.effect {
        state.book.take_effect(&info.message);
    }
    Behaviour { delay: behaviour.delay + latency, ..behaviour }
}

/// Drawn from the client's own number of the request; the time is a token only where it has none.
fn dice(shared: &Shared, asked: &Asked<'_>, at: Time) -> Dice {
    match asked.request_id {
        Some(request_id) => Dice::new(shared.seed, request_id.as_bytes()),
        None => Dice::new(shared.seed, &at.as_nanos().to_le_bytes()),
    }
}

fn message_token(fields: &BTreeMap<String, &RawValue>, body: &[u8], key: &MessageKey) -> Box<str> {
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

/// The text of a field, or of the number in it, whatever the case its name is written in.
fn text(fields: &BTreeMap<String, &RawValue>, name: &str) -> Option<Box<str>> {
    let (_, raw) = fields.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?;
    let raw = raw.get();
    if raw.starts_with('"') {
        return serde_json::from_str::<String>(raw).ok().map(String::into_boxed_str);
    }
    raw.bytes().all(|byte| byte.is_ascii_digit()).then(|| Box::from(raw))
}
